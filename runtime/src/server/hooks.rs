//! HTTP triggers: `/hooks/OWNER/NAME/SECRET`. Whoever knows the address may start the workflow, and learns
//! nothing else: any address that is none answers alike.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, any};
use jiff::Timestamp;
use keyhole_host_api::accounts::{AccountId, UseError};
use serde_json::json;
use serde_json::value::to_raw_value;
use subtle::ConstantTimeEq as _;

use super::extract::Path;
use super::problem::Problem;
use super::{Api, guard};
use crate::engine::FlowResponse;
use crate::workflow::Told;
use crate::workflow::record::{Cause, RunStatus, Workflow, WorkflowId};
use crate::workflow::trigger::{HttpTrigger, RespondWith, event_of, is_too_deep};

/// How long a caller is kept who waits for what the workflow answers.
const WAIT: Duration = Duration::from_secs(30);
/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);
/// Bytes that are read of a body that is too long.
const DISCARDED: usize = 8 << 20;
/// The field of the app `webhook` that has the secret.
const SECRET: &str = "secret";

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/hooks/{owner}/{name}/{secret}", any(take))
        .route("/hooks/{owner}/{name}/{secret}/{*rest}", any(take_below))
}

async fn take(
    State(api): State<Arc<Api>>,
    Path((owner, name, secret)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    accept(&api, WorkflowId(format!("{owner}/{name}")), &secret, "/", request).await
}

async fn take_below(
    State(api): State<Arc<Api>>,
    Path((owner, name, secret, rest)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    accept(&api, WorkflowId(format!("{owner}/{name}")), &secret, &format!("/{rest}"), request).await
}

async fn accept(api: &Api, id: WorkflowId, secret: &str, path: &str, request: Request) -> Result<Response, Problem> {
    let none = || Problem::not_there("there is nothing at this address");
    let workflow = api.workflows.get(&id).await?.ok_or_else(none)?;
    if !bool::from(workflow.hook.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(none());
    }
    let trigger = workflow.trigger.http.clone().filter(|_| workflow.enabled).ok_or_else(none)?;
    let (parts, body) = request.into_parts();
    let limit = usize::try_from(trigger.body_limit).unwrap_or(usize::MAX);
    let stated = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if stated.is_some_and(|stated: u64| stated > trigger.body_limit) {
        // Read all the same, if it is not without end: most clients look at an answer when they have sent all.
        let _ = tokio::time::timeout(BODY, to_bytes(body, DISCARDED)).await;
        return Err(too_long(&trigger));
    }
    let body = tokio::time::timeout(BODY, to_bytes(body, limit)).await;
    let body = body
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "time", "It took too long", "the body did not come"))?
        .map_err(|error| match std::error::Error::source(&error) {
            Some(source) if source.is::<http_body_util::LengthLimitError>() => too_long(&trigger),
            _ => Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed",
                "The request can't be read",
                "the body did not come whole",
            ),
        })?;
    signed(api, &workflow, &trigger, &parts.headers, &body).await?;
    if is_too_deep(&parts, &body) {
        return Err(guard::too_deep());
    }
    let event = to_raw_value(&event_of(&parts, path, &body)).map_err(|error| Problem::internal(&error))?;
    let parent = api.runner.tracer().and_then(|tracer| tracer.named_by_caller(&parts.headers));
    if trigger.respond == RespondWith::Accepted {
        let accepted = api.runner.accept(&workflow, Cause::Http, event, parent).await?;
        return Ok(taken(&accepted.run));
    }
    let (accepted, told) = api.runner.accept_and_tell(&workflow, Cause::Http, event, parent).await?;
    Ok(match tokio::time::timeout(WAIT, told).await {
        Ok(Ok(Told::Response(response))) => respond(response),
        Ok(Ok(Told::Ended(RunStatus::Ok, Some(value)))) => {
            ([(header::CONTENT_TYPE, "application/json")], Body::from(value.get().to_owned())).into_response()
        }
        Ok(Ok(Told::Ended(RunStatus::Ok, None))) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(Told::Ended(..))) => {
            // What went wrong is its owner's to know.
            let problem = Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "run",
                "The workflow failed",
                format!("the run {} did not end well; its owner can see why", accepted.run),
            );
            problem.into_response()
        }
        Ok(Err(_)) | Err(_) => taken(&accepted.run),
    })
}

fn taken(run: &str) -> Response {
    (StatusCode::ACCEPTED, axum::Json(json!({ "run": run }))).into_response()
}

fn too_long(trigger: &HttpTrigger) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-long",
        "The request is too long",
        format!("this workflow takes bodies of up to {} bytes", trigger.body_limit),
    )
}

/// Refuses a request without the signature that the workflow wants.
async fn signed(
    api: &Api,
    workflow: &Workflow,
    trigger: &HttpTrigger,
    headers: &axum::http::HeaderMap,
    body: &[u8],
) -> Result<(), Problem> {
    let Some(signature) = &trigger.signature else { return Ok(()) };
    let refused =
        |detail: String| Problem::new(StatusCode::UNAUTHORIZED, "signature", "The signature is not right", detail);
    let id: AccountId = signature
        .secret
        .parse()
        .map_err(|_| refused("this workflow's secret is not known; it must be deployed again".to_owned()))?;
    let account = match api.accounts.usable(&id, &workflow.owner).await {
        Ok(account) if account.app == "webhook" => account,
        Err(UseError::Store(error)) => return Err(error.into()),
        _ => return Err(refused("this workflow's secret can't be used".to_owned())),
    };
    let secret = api.accounts.secret(&account, SECRET)?;
    signature
        .verify(secret.expose().as_bytes(), headers, body, Timestamp::now())
        .map_err(|error| refused(error.to_string()))
}

/// Headers of an answer that are the connection's, or the server's own.
const NOT_THEIRS: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
    header::SERVER,
];

fn respond(response: FlowResponse) -> Response {
    let mut answer = Response::new(Body::from(response.body));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
    for (name, value) in response.headers {
        // The engine has checked them.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !NOT_THEIRS.contains(&name)
        {
            answer.headers_mut().append(name, value);
        }
    }
    // A step's page must not act as one of this server's.
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    answer
}
