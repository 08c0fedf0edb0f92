//! What tells the page of a run that there is more to see of it, until the run has ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use keyhole_host_api::store::Revision;

use super::frame::Wrong;
use super::run::detail;
use super::session::Visitor;
use crate::server::Api;
use crate::server::extract::Path;
use crate::server::guard::Place;
use crate::server::problem::Problem;

/// How often it is looked whether there is more to see.
const POLL: Duration = Duration::from_millis(400);
/// How long a browser follows before it has to ask again.
const FOLLOWED: Duration = Duration::from_secs(5 * 60);

/// Says when there is more to see of a run, as server-sent events, until it has ended.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let place = api.watchers.take(&visitor.member.id).ok_or_else(|| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many at a time", "too many follow something here")
    })?;
    let steps = detail(&api, &visitor, &id).await?.steps.len();
    // The page may be older than this call, so that there is more to see already.
    let seen = [None, None, Some(Revision::MAX)];
    let until = tokio::time::Instant::now() + FOLLOWED;
    let watch = Watch { api, visitor, id, steps, seen: Some(seen), until, _place: place };
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new()).into_response())
}

struct Watch {
    api: Arc<Api>,
    visitor: Visitor,
    id: String,
    /// Steps that were done when it was last looked.
    steps: usize,
    /// What was there then. None once the run has ended.
    seen: Option<[Option<Revision>; 3]>,
    /// When the browser is to ask again, so that nobody has a place for ever.
    until: tokio::time::Instant,
    _place: Place,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        let mut stopping = self.api.stopping.subscribe();
        loop {
            let seen = self.seen?;
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep(POLL) => {}
            }
            // Asked each time: the session may have ended, and the member been removed.
            self.visitor.caller = self.visitor.caller.again(&self.api).await.ok()??;
            let now = self.api.runner.history().mark(&self.id, self.steps).await.ok()?;
            if now == seen {
                continue;
            }
            if now[0].is_none() {
                self.seen = None;
            } else {
                // Read only now, and once for each step that is done.
                self.steps = detail(&self.api, &self.visitor, &self.id).await.ok()?.steps.len();
                self.seen = Some(self.api.runner.history().mark(&self.id, self.steps).await.ok()?);
            }
            return Some(Event::default().event("changed").data("changed"));
        }
    }
}
