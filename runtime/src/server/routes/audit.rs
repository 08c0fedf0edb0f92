//! Who used which account, where, and with what answer; and who did what to the workspace. An admin sees all of it; a member
//! sees what was done by them, to them, on their behalf, and with their accounts. Looking after it is for admins.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _, stream};
use keyhole_host_api::broker::audit::{Concerning, Filter, Follower, Page, Pruned, Told, Verified};
use tokio::sync::OwnedSemaphorePermit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::caller::{Act, Caller, LocalOperator};
use crate::server::extract::{Body, Query};
use crate::server::model::{AuditFilter, AuditQuery, Audited, MOST_LISTED, PruneAudit, VerifyAudit};
use crate::server::problem::Problem;
use crate::server::{Api, schema};

/// The media type of JSON lines.
const LINES: &str = "application/x-ndjson";
/// How often a follower looks for what is new.
const POLL: Duration = Duration::from_millis(200);
/// How often a quiet follower hears that the server is there still.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether a quiet follower may follow still.
const ASK: u32 = 5;
/// Records that one call removes at most: it has 90 s.
const PRUNED: usize = 20_000;
/// Longest line of an export.
const LINE: usize = 1 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(follow)).routes(routes!(export)).routes(routes!(prune))
}

/// Calls that take as long as the audit is.
pub(super) fn long() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(verify_export))
}

/// What of the audit the caller may see.
async fn visible(api: &Api, caller: &Caller, filter: Filter) -> Result<Filter, Problem> {
    if caller.may(Act::SeeAllAudit) {
        return Ok(filter);
    }
    let member = caller.member()?;
    let accounts = api.accounts.rows(member).await?;
    let own = accounts.iter().filter(|account| account.owner() == member).map(|account| account.id().to_string());
    Ok(Filter { concerning: Some(Concerning { member: member.to_string(), accounts: own.collect() }), ..filter })
}

/// List the requests that steps made and what was done to the workspace, the newest; a `Link` (RFC 8288) leads to those before them
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "audit_list", params(AuditQuery),
    responses((status = 200, body = [schema::Audited])))]
pub(in crate::server) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    let page = page(&api, &caller, &query, usize::MAX).await?;
    let told: Vec<Audited> = page.told.into_iter().map(Audited::from).collect();
    let mut response = Json(told).into_response();
    if let Some(before) = page.before {
        let next = AuditQuery { before: Some(before), ..query };
        let query = query_of(&next)?;
        let link = HeaderValue::try_from(format!("</api/audit?{query}>; rel=\"next\""));
        response.headers_mut().extend(link.ok().map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// The page that `query` asks for, of what the caller may see, for which at most so many records are looked at.
pub(in crate::server) async fn page(
    api: &Api,
    caller: &Caller,
    query: &AuditQuery,
    looks: usize,
) -> Result<Page, Problem> {
    let filter = visible(api, caller, query.filter()).await?;
    let limit = usize::try_from(query.limit.min(MOST_LISTED)).unwrap_or(usize::MAX);
    Ok(api.broker.audit().page_within(&filter, query.before.as_deref(), limit, looks).await?)
}

/// The query that says what `query` says.
fn query_of(query: &AuditQuery) -> Result<String, Problem> {
    let value = serde_json::to_value(query).map_err(|error| Problem::internal(&error))?;
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in value.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) => pairs.append_pair(name, text),
            None => pairs.append_pair(name, &value.to_string()),
        };
    }
    Ok(pairs.finish())
}

/// Tell of requests as they end, and of what is done to the workspace, as server-sent events
#[utoipa::path(get, path = "/api/audit/follow", tag = "audit", operation_id = "audit_follow", params(AuditFilter),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(in crate::server) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<AuditFilter>,
) -> Result<Response, Problem> {
    if query.since.is_some() || query.until.is_some() {
        return Err(Problem::wrong("what is still to come has neither since nor until")
            .help("leave them out; GET /api/audit lists what was"));
    }
    let place = api.followers.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many",
            "Too many at a time",
            "too many follow the audit at this moment",
        )
        .help("end one of them, or try again later")
    })?;
    let follower = api.broker.audit().follow().await?;
    let watch = Watch { api, caller, filter: query.filter(), follower, _place: place };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(watch.events()).keep_alive(keep_alive).into_response())
}

/// Someone who follows the audit. It looks for what is new only while they read.
struct Watch {
    api: Arc<Api>,
    caller: Caller,
    filter: Filter,
    follower: Follower,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let told = stream::unfold(self, |mut watch| async move {
            let mut stopping = watch.api.stopping.subscribe();
            let told = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => None,
                told = watch.next() => told,
            };
            told.map(|told| (stream::iter(told), watch))
        });
        let event = |told| Event::default().json_data(Audited::from(told)).ok().map(Ok);
        told.flatten().filter_map(move |told| async move { event(told) })
    }

    /// What is new and theirs to see; `None` once they may see nothing more, or nothing can be seen.
    async fn next(&mut self) -> Option<Vec<Told>> {
        let mut quiet: u32 = 0;
        loop {
            let told =
                self.follower.poll().await.inspect_err(|error| tracing::error!(%error, "following ended")).ok()?;
            if told.is_empty() && !quiet.is_multiple_of(ASK) {
                quiet += 1;
                tokio::time::sleep(POLL).await;
                continue;
            }
            quiet += 1;
            // Asked each time: a token may have been revoked, a role or an account changed.
            let caller = self.caller.again(&self.api).await.ok()??;
            let filter = visible(&self.api, &caller, self.filter.clone()).await.ok()?;
            let theirs: Vec<Told> = told.into_iter().filter(|told| filter.takes(told)).collect();
            if !theirs.is_empty() {
                return Some(theirs);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Export records as they lie in the store, as JSON lines. Admins can
#[utoipa::path(get, path = "/api/audit/export", tag = "audit", operation_id = "audit_export", params(AuditFilter),
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(in crate::server) async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<AuditFilter>,
) -> Result<Response, Problem> {
    caller.must(Act::SeeAllAudit)?;
    let lines = api.broker.audit().export(query.filter());
    Ok(([(header::CONTENT_TYPE, LINES)], RawBody::from_stream(lines)).into_response())
}

/// Read every record, and say whether it is as it was written and whether all are there. Admins can
#[utoipa::path(post, path = "/api/audit/verify", tag = "audit", operation_id = "audit_verify",
    request_body = VerifyAudit, responses((status = 200, body = schema::Verified)))]
pub(in crate::server) async fn verify(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(asked): Body<VerifyAudit>,
) -> Answer<Verified> {
    caller.must(Act::SeeAllAudit)?;
    Ok(Json(api.broker.audit().verify(asked.heads).await?))
}

/// Read an export, and say whether its records are as they were written. Admins can
#[utoipa::path(post, path = "/api/audit/verify/export", tag = "audit", operation_id = "audit_verify_export",
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = schema::Verified)))]
pub(in crate::server) async fn verify_export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: RawBody,
) -> Answer<Verified> {
    caller.must(Act::SeeAllAudit)?;
    let mut verifier = api.broker.audit().verifier();
    let mut pieces = body.into_data_stream();
    let mut rest = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Problem::wrong("the export did not come whole"))?;
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1);
            verifier.line(&line[..end]).await?;
        }
        if rest.len() > LINE {
            return Err(Problem::wrong("a line has more than 1 MiB; an export has none that long"));
        }
    }
    if !rest.is_empty() {
        verifier.line(&rest).await?;
    }
    Ok(Json(verifier.end_of_export()))
}

/// Remove what was recorded before a time, some of it at a time, and leave a mark. Admins can
#[utoipa::path(post, path = "/api/audit/prune", tag = "audit", operation_id = "audit_prune",
    request_body = PruneAudit, responses((status = 200, body = schema::Pruned)))]
pub(in crate::server) async fn prune(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(asked): Body<PruneAudit>,
) -> Answer<Pruned> {
    caller.must(Act::KeepStore)?;
    let by = match &caller {
        Caller::Member(member, ..) => member.id.to_string(),
        Caller::Operator(LocalOperator { .. }) => "operator".to_owned(),
    };
    Ok(Json(api.broker.audit().prune(asked.before, &by, PRUNED).await?))
}
