//! Where others have a run go on that a step suspended, or end it: `/callbacks/RUN/resume/TOKEN`, and `cancel`.
//!
//! Only a `POST` does either: what looks at links before people do (mail filters, chat previews) sends `GET`, and
//! gets a page with a button.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{Router, get};
use maud::html;
use serde_json::value::to_raw_value;

use super::caller::Peer;
use super::console::{Wrong, bare};
use super::extract::Path;
use super::problem::Problem;
use super::{Api, guard};
use crate::workflow::CALLBACKS;
use crate::workflow::callback::{Call, Called};
use crate::workflow::trigger::{event_of, is_too_deep};

/// Bytes of a body, as many as an event may have unless its workflow says otherwise.
const BODY: usize = 512 << 10;

/// How long a body may take to come.
const WITHIN: Duration = Duration::from_secs(30);

/// What a caller wants of a run.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Resume,
    Cancel,
}

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route(&format!("{CALLBACKS}/{{run}}/{{verb}}/{{token}}"), get(ask).post(call))
}

/// A page with a button, for who follows the link.
async fn ask(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path((run, verb, token)): Path<(String, String, String)>,
) -> Result<Response, Wrong> {
    let verb = known(&verb)?;
    found(&api, peer, api.runner.waits_for(&run, &token, verb == Verb::Cancel).await?)?;
    let (title, button) = match verb {
        Verb::Resume => ("A workflow waits for you", "Go on"),
        Verb::Cancel => ("A workflow waits for you", "End it"),
    };
    let content = html! {
        h1 { (title) }
        p {
            @match verb {
                Verb::Resume => { "It goes on with its next step." }
                Verb::Cancel => { "It ends here, and its next steps do not run." }
            }
        }
        form method="post" { button { (button) } }
    };
    Ok(bare(StatusCode::OK, title, content))
}

async fn call(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path((run, verb, token)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let verb = known(&verb)?;
    // Before anything is read.
    found(&api, peer, api.runner.waits_for(&run, &token, verb == Verb::Cancel).await?)?;
    let (mut parts, body) = request.into_parts();
    // What a caller proves to others who it is with is none of the run's business.
    for secret in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
        parts.headers.remove(secret);
    }
    let body: Bytes = tokio::time::timeout(WITHIN, to_bytes(body, BODY))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "time", "It took too long", "the body did not come"))?
        .map_err(|_| guard::too_long())?;
    let call = match verb {
        Verb::Cancel => Call::Cancel,
        Verb::Resume if is_too_deep(&parts, &body) => return Err(guard::too_deep()),
        Verb::Resume => {
            let request = event_of(&parts, "/", &body);
            Call::Resume(to_raw_value(&request).map_err(|error| Problem::internal(&error))?)
        }
    };
    found(&api, peer, api.runner.call_back(&run, &token, call).await?)?;
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        let said = if verb == Verb::Resume { "The workflow goes on" } else { "The workflow has ended" };
        return Ok(bare(StatusCode::OK, said, html! { h1 { (said) } p { "You can close this page." } }));
    }
    let status = if verb == Verb::Resume { "resumed" } else { "cancelled" };
    Ok(axum::Json(serde_json::json!({ "run": run, "status": status })).into_response())
}

fn known(verb: &str) -> Result<Verb, Problem> {
    match verb {
        "resume" => Ok(Verb::Resume),
        "cancel" => Ok(Verb::Cancel),
        _ => Err(Problem::not_there("there is nothing at this address")),
    }
}

/// Whoever tries tokens is slowed down like whoever tries to sign in.
fn found(api: &Api, peer: Peer, called: Called) -> Result<(), Problem> {
    match called {
        Called::Done => Ok(()),
        // One answer, whether there is such a run or not.
        Called::Unknown => {
            api.failed.note(peer.0)?;
            let why = "nothing waits for this address: it was called before, its time is over, or the step that gave it out still runs";
            Err(Problem::not_there(why).retry_after(1))
        }
    }
}
