//! Who used which account, where, and with what answer. An admin sees all of it; a member
//! sees what was done on their behalf, and with their accounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use keyhole_host_api::broker::Use;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::caller::{Act, Caller};
use crate::server::extract::Query;
use crate::server::model::AuditQuery;
use crate::server::{Api, schema};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List the requests that steps made
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "audit_list", params(AuditQuery),
    responses((status = 200, body = [schema::Use])))]
async fn list(State(api): State<Arc<Api>>, caller: Caller, Query(query): Query<AuditQuery>) -> Answer<Vec<Use>> {
    let mut uses = api.broker.audit().uses(query.since).await?;
    if !caller.may(Act::SeeAllAudit) {
        let member = caller.member()?;
        let accounts = api.accounts.list(member).await?;
        let own: BTreeSet<&str> =
            accounts.iter().filter(|account| account.owner == *member).map(|account| account.id.as_str()).collect();
        uses.retain(|used| {
            used.member == member.as_str() || used.account.as_deref().is_some_and(|account| own.contains(account))
        });
    }
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    uses.retain(|used| {
        query.decision.is_none_or(|decision| used.decision == decision)
            && is(&query.account, used.account.as_deref().unwrap_or_default())
            && is(&query.member, &used.member)
            && is(&query.run, &used.run)
    });
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    uses.drain(..uses.len().saturating_sub(limit));
    Ok(Json(uses))
}
