//! Telling the audit what was done, and by whom, before it is answered: a call that can't be recorded fails, and one
//! whose caller goes away is recorded all the same.

use std::panic::resume_unwind;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::LengthLimitError;
use keyhole_host_api::accounts::{Connected, What};
use keyhole_host_api::broker::audit::{Act, Decision};
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::Origin;

use super::Api;
use super::caller::{Caller, LocalOperator, Peer};
use super::guard::ToldFailures;
use super::problem::Problem;
use super::{extract, guard};

impl Api {
    /// Records what `caller` did.
    pub(super) async fn did(&self, caller: &Caller, act: Act) -> Result<(), Problem> {
        self.record(match caller {
            Caller::Member(member, proof, peer) => act.member(&member.id).by(proof).from(peer.address()),
            Caller::Operator(LocalOperator { acting_as: Some(member) }) => act.member(member).by("operator"),
            Caller::Operator(LocalOperator { acting_as: None }) => act.by("operator"),
        })
        .await
    }

    /// Records what was done by somebody who is no caller of the API.
    pub(super) async fn record(&self, act: Act) -> Result<(), Problem> {
        let done = act.decision == Decision::Allowed;
        self.broker.audit().act(act).await.map_err(|error| match done {
            true => Problem::not_recorded(&error),
            false => error.into(),
        })
    }

    /// Counts what somebody failed to prove, and records it, unless there was too much of that.
    pub(super) async fn failed_to(
        &self,
        act: &str,
        peer: Peer,
        by: &str,
        reason: impl ToString,
    ) -> Result<(), Problem> {
        self.failed.note(peer.0)?;
        self.tell(&self.told, Act::refused(act, reason).by(by).from(peer.address())).await
    }

    /// Records that a connection came to nothing, unless there was too much of that. It is no limit of the others: whoever
    /// has a link must not keep a failed sign-in from being told of.
    pub(super) async fn came_to_nothing(&self, act: Act) -> Result<(), Problem> {
        self.tell(&self.told_connecting, act).await
    }

    async fn tell(&self, within: &ToldFailures, act: Act) -> Result<(), Problem> {
        let Some(untold) = within.count() else { return Ok(()) };
        self.record(match untold {
            0 => act,
            more => act.detail(format!("{more} more before it are not recorded")),
        })
        .await
    }
}

/// That an account was connected, or connected anew.
pub(super) fn connected(connected: &Connected) -> Act {
    let account = &connected.account;
    let again = account.history.iter().any(|event| event.what == What::Reconnected);
    Act::done(connecting(again)).account(&account.id, &account.app).about(&account.owner)
}

/// That what set out from `origin`, for `owner`, came to nothing.
pub(super) fn not_connected(origin: &Origin, owner: &MemberId, problem: &Problem) -> Act {
    let act = Act::refused(connecting(origin.account.is_some()), &problem.detail).about(owner);
    match &origin.account {
        Some(account) => act.account(account, &origin.app),
        None => act.app(&origin.app),
    }
}

fn connecting(again: bool) -> &'static str {
    if again { "accounts_reconnect" } else { "accounts_connect" }
}

/// Works until it is done, whether or not somebody waits for it: a call that is dropped when the caller hangs up would
/// leave something done and nobody told.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The process ends, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Has a call go on to its end. Its body is read before, while nothing is done yet, so that one that never comes keeps
/// nothing going.
pub(super) async fn call_to_its_end(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match to_bytes(body, guard::MAX_BODY).await {
        Ok(bytes) => to_its_end(next.run(Request::from_parts(parts, Body::from(bytes)))).await,
        Err(error) if is_too_long(&error) => guard::too_long().into_response(),
        Err(_) => extract::not_whole().into_response(),
    }
}

/// The same for calls of which those that only look may as well be dropped.
pub(super) async fn act_to_its_end(request: Request, next: Next) -> Response {
    match request.method().is_safe() {
        true => next.run(request).await,
        false => call_to_its_end(request, next).await,
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use axum::Router;
    use axum::http::{Method, StatusCode};
    use axum::middleware::from_fn;
    use axum::routing::any;
    use tokio::sync::Semaphore;
    use tower::ServiceExt as _;

    use super::*;

    /// What a handler has begun, waits for, and has done.
    #[derive(Clone)]
    struct Steps(Arc<[Semaphore; 3]>);

    impl Steps {
        fn router(&self) -> Router {
            let steps = self.clone();
            let handler = move |body: String| {
                let steps = steps.clone();
                async move {
                    steps.0[0].add_permits(1);
                    steps.0[1].acquire().await.unwrap().forget();
                    steps.0[2].add_permits(1);
                    body
                }
            };
            Router::new().route("/", any(handler)).layer(from_fn(act_to_its_end))
        }
    }

    fn call(method: Method, body: impl Into<Body>) -> Request {
        Request::builder().method(method).uri("/").body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn what_was_begun_is_done_also_when_the_caller_hangs_up() {
        let steps = Steps(Arc::new([const { Semaphore::const_new(0) }; 3]));
        let mut answer = Box::pin(steps.router().oneshot(call(Method::POST, "a body")));
        let begun = steps.0[0].acquire();
        tokio::pin!(begun);
        // Until it is begun, and no further.
        poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            begun.as_mut().poll(context).map(|begun| begun.unwrap().forget())
        })
        .await;
        drop(answer);
        steps.0[1].add_permits(1);
        steps.0[2].acquire().await.unwrap().forget();

        // A call that only looks ends with its caller.
        let mut answer = Box::pin(steps.router().oneshot(call(Method::GET, Body::empty())));
        poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            match steps.0[0].available_permits() {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        drop(answer);
        assert_eq!(Arc::strong_count(&steps.0), 1);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_or_does_not_come_whole_begins_nothing() {
        let steps = Steps(Arc::new([const { Semaphore::const_new(0) }; 3]));
        let cut = futures_util::stream::iter([Ok("a half"), Err(std::io::Error::other("gone"))]);
        for (body, status) in [
            (Body::from(vec![b' '; guard::MAX_BODY + 1]), StatusCode::PAYLOAD_TOO_LARGE),
            (Body::from_stream(cut), StatusCode::BAD_REQUEST),
        ] {
            let answer = steps.router().oneshot(call(Method::POST, body)).await.unwrap();
            assert_eq!(answer.status(), status);
        }
        assert_eq!(steps.0[0].available_permits(), 0);
    }
}
