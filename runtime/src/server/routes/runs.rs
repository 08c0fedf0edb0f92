//! Runs, which are their workflow's owner's alone: an event may hold whatever its sender knows.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, workflows};
use crate::server::Api;
use crate::server::caller::Caller;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{NewRun, RetryRun, RunDetail, RunView, RunsQuery, StartedRun, status_of};
use crate::server::problem::Problem;
use crate::workflow::Told;
use crate::workflow::history::{Listed, Of, Page, Within, came};
use crate::workflow::record::{Cause, Run, RunStatus, Waits, WorkflowId};

/// How long a caller who waits for a run is kept.
const WAIT: Duration = Duration::from_secs(60);

/// Longest event with what is around it, in bytes.
const EVENT: usize = 1 << 20;

/// Calls whose bodies may be long.
pub(super) fn long() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(start)).layer(DefaultBodyLimit::max(EVENT))
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(cancel)).routes(routes!(retry))
}

/// Start a workflow of yours by hand
#[utoipa::path(post, path = "/api/workflows/{owner}/{name}/runs", tag = "runs", operation_id = "runs_start",
    params(("owner" = String, Path, description = "The workflow's owner"), ("name" = String, Path, description = "The workflow's name")),
    request_body = NewRun, responses((status = 202, body = StartedRun)))]
pub(in crate::server) async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((owner, name)): Path<(String, String)>,
    Body(new): Body<NewRun>,
) -> Result<(StatusCode, Json<StartedRun>), Problem> {
    let workflow = workflows::own(&api, caller.member()?, &format!("{owner}/{name}")).await?;
    let event = match &new.event {
        Some(event) => to_raw_value(event).map_err(|error| Problem::internal(&error))?,
        None => RawValue::from_string("{}".to_owned()).map_err(|error| Problem::internal(&error))?,
    };
    api.begin_runs(new.wait).await?;
    if !new.wait {
        let accepted = api.runner.accept(&workflow, Cause::Manual, event, None).await?;
        return Ok((StatusCode::ACCEPTED, Json(StartedRun { run: accepted.run, status: "queued".to_owned() })));
    }
    let (accepted, told) = api.runner.accept_and_tell(&workflow, Cause::Manual, event, None).await?;
    let status = wait_for(&api, &accepted.run, told).await?;
    Ok((StatusCode::ACCEPTED, Json(StartedRun { run: accepted.run, status })))
}

async fn wait_for(api: &Api, run: &str, mut told: tokio::sync::oneshot::Receiver<Told>) -> Result<String, Problem> {
    let by = tokio::time::Instant::now() + WAIT;
    let mut look = Duration::from_millis(100);
    loop {
        match tokio::time::timeout(look, &mut told).await {
            Ok(Ok(Told::Ended(status, _))) if status != RunStatus::Failed => return Ok(status.word().to_owned()),
            // Others may have to be told of it before it has ended.
            Ok(Ok(Told::Ended(..))) => told = tokio::sync::oneshot::channel().1,
            // A response comes before the end, and nothing after it.
            Ok(_) => {
                told = tokio::sync::oneshot::channel().1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => look = (look * 2).min(Duration::from_secs(1)),
        }
        let run = api.runner.history().run(run).await?.ok_or_else(|| none(run))?;
        // What waits for a person may do so for long.
        let stays = match &run.waits {
            Some(Waits::Callback { until, .. }) => {
                until.duration_since(Timestamp::now()) > SignedDuration::from_mins(1)
            }
            Some(Waits::Reconnect(_)) => true,
            _ => false,
        };
        if run.ended.is_some() || stays || tokio::time::Instant::now() >= by {
            return Ok(run.status.word().to_owned());
        }
    }
}

/// Runs that one call looks at, to find those that fit.
const LOOKS: usize = 10_000;

/// A page of runs, and where the next one is.
pub(in crate::server) struct Runs(pub Vec<RunView>, Option<String>);

impl IntoResponse for Runs {
    fn into_response(self) -> Response {
        let link = self.1.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok());
        (link.map(|link| [(LINK, link)]), Json(self.0)).into_response()
    }
}

/// List the runs of your workflows, the newest first
///
/// One call looks at 10,000 runs at most. A header `Link: <...>; rel="next"` leads to those that are older.
#[utoipa::path(get, path = "/api/runs", tag = "runs", operation_id = "runs_list", params(RunsQuery),
    responses((status = 200, body = [RunView], headers(("link" = String, description = "The next page, if there may be one (RFC 8288)")))))]
pub(in crate::server) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<RunsQuery>,
) -> Result<Runs, Problem> {
    let listed = page(&api, &caller, &query, LOOKS, |_| true).await?;
    let next = listed.more.map(|before| address(RunsQuery { before: Some(before), ..query }));
    Ok(Runs(listed.runs.into_iter().map(RunView::from).collect(), next))
}

/// Where the runs are that `query` asks for.
fn address(query: RunsQuery) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    if let Ok(Value::Object(members)) = serde_json::to_value(query) {
        pairs.extend_pairs(members.iter().map(|(name, value)| match value {
            Value::String(text) => (name, text.clone()),
            other => (name, other.to_string()),
        }));
    }
    format!("/api/runs?{}", pairs.finish())
}

/// The runs that `query` asks for and `also` takes, of which at most so many are looked at.
pub(in crate::server) async fn page(
    api: &Api,
    caller: &Caller,
    query: &RunsQuery,
    looks: usize,
    also: impl Fn(&Run) -> bool,
) -> Result<Listed, Problem> {
    let caller = caller.bearer(api).await?;
    let member = &caller.id;
    let of = match &query.workflow {
        Some(named) => {
            let (owner, name) = named.split_once('/').unwrap_or((member.as_str(), named));
            if owner != member.as_str() {
                return Ok(Listed::default());
            }
            Of::Workflow(WorkflowId(format!("{owner}/{name}")))
        }
        None => Of::Owner(member.to_string()),
    };
    let status = match &query.status {
        Some(word) => Some(status_of(word).ok_or_else(|| {
            Problem::wrong(format!("there is no status '{word}'"))
                .help("one of queued, running, waiting, ok, failed, cancelled")
        })?),
        None => None,
    };
    let limit = usize::try_from(query.limit.clamp(1, 1000)).unwrap_or(1000);
    let wanted = |run: &Run| {
        status.is_none_or(|status| run.status == status)
            && query.since.is_none_or(|since| came(run) >= since)
            && query.until.is_none_or(|until| came(run) < until)
            && run.is_of(&caller)
            && also(run)
    };
    // No run came before the time in its id, so those with a later one need not be read.
    let first = query.until.and_then(first_id_after);
    let before = query.before.as_ref().into_iter().chain(&first).min();
    let page = Page { before: before.map(String::as_str), limit, looks };
    let open = status.is_some_and(|status| status.is_open());
    let since = query.since.max(Some(caller.added));
    Ok(api.runner.history().list_within(&of, page, Within { since, open }, wanted).await?)
}

/// An id before which all ids are of `time` or earlier.
fn first_id_after(time: Timestamp) -> Option<String> {
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    Some(ulid::Ulid::from_parts(millis + 1, 0).to_string())
}

/// Show a run: its event, and what each step was given, did and left
#[utoipa::path(get, path = "/api/runs/{run}", tag = "runs", operation_id = "runs_show",
    params(("run" = String, Path, description = "The run's id")), responses((status = 200, body = RunDetail)))]
pub(in crate::server) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<RunDetail> {
    own(&api, &caller, &id).await?;
    // First: a step that ends meanwhile is among the others then.
    let live = api.runner.history().live_of(&id).await?;
    let (run, details) = api.runner.history().details(&id).await?.ok_or_else(|| none(&id))?;
    Ok(Json(RunDetail::new(run, details, live)))
}

/// End a run
#[utoipa::path(post, path = "/api/runs/{run}/cancel", tag = "runs", operation_id = "runs_cancel",
    params(("run" = String, Path, description = "The run's id")), responses((status = 200, body = StartedRun)))]
pub(in crate::server) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StartedRun> {
    own(&api, &caller, &id).await?;
    if !api.runner.cancel(&id).await? {
        return Err(Problem::conflict(format!("the run {id} has ended already")));
    }
    Ok(Json(StartedRun { run: id, status: "cancelled".to_owned() }))
}

/// Run the same event once more, by the workflow as it is now
#[utoipa::path(post, path = "/api/runs/{run}/retry", tag = "runs", operation_id = "runs_retry",
    params(("run" = String, Path, description = "The run's id")), request_body = RetryRun,
    responses((status = 202, body = StartedRun)))]
pub(in crate::server) async fn retry(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(how): Body<RetryRun>,
) -> Result<(StatusCode, Json<StartedRun>), Problem> {
    own(&api, &caller, &id).await?;
    let (run, details) = api.runner.history().details(&id).await?.ok_or_else(|| none(&id))?;
    let workflow = api.workflows.get(&run.workflow).await?.ok_or_else(|| workflows::none(&run.workflow))?;
    api.begin_runs(how.wait).await?;
    let cause = Cause::Retry(id);
    if !how.wait {
        let accepted = api.runner.accept(&workflow, cause, details.event, None).await?;
        return Ok((StatusCode::ACCEPTED, Json(StartedRun { run: accepted.run, status: "queued".to_owned() })));
    }
    let (accepted, told) = api.runner.accept_and_tell(&workflow, cause, details.event, None).await?;
    let status = wait_for(&api, &accepted.run, told).await?;
    Ok((StatusCode::ACCEPTED, Json(StartedRun { run: accepted.run, status })))
}

/// Whether the caller can look at the run.
pub(in crate::server) async fn is_open(api: &Api, caller: &Caller, id: &str) -> Result<bool, Problem> {
    match own(api, caller, id).await {
        Ok(_) => Ok(true),
        Err(problem) if problem.is("not-there") => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// The run, if it is of a workflow of the caller's own.
async fn own(api: &Api, caller: &Caller, id: &str) -> Result<Run, Problem> {
    let member = caller.bearer(api).await?;
    let run = match id.parse::<ulid::Ulid>() {
        Ok(_) => api.runner.history().run(id).await?,
        Err(_) => None,
    };
    run.filter(|run| run.is_of(&member)).ok_or_else(|| none(id))
}

fn none(id: &str) -> Problem {
    Problem::not_there(format!("there is no run {id}")).help("keyhole runs list shows yours")
}
