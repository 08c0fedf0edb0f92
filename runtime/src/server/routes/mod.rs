//! The calls of the API, a file a resource. Each one reads, asks [`super::caller`] whether
//! it may, calls what does the work, and answers: nothing is decided in between.

pub(in crate::server) mod accounts;
pub mod apps;
pub(in crate::server) mod audit;
mod data;
pub(in crate::server) mod links;
pub(in crate::server) mod members;
pub(in crate::server) mod oauth;
pub(in crate::server) mod passkeys;
pub(in crate::server) mod runs;
pub(in crate::server) mod sessions;
pub(in crate::server) mod tokens;
pub(in crate::server) mod upkeep;
pub(in crate::server) mod workflows;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use keyhole_host_api::accounts::Summary;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::caller::Caller;
use super::model::{HealthReport, Me};
use super::problem::Problem;

pub(super) use accounts::tested;

type Answer<T> = Result<Json<T>, Problem>;

/// Calls that need no token.
pub(super) fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(openapi)).merge(workflows::open())
}

/// Calls that need one.
pub(super) fn closed() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .merge(members::routes())
        .merge(apps::routes())
        .merge(accounts::routes())
        .merge(oauth::routes())
        .merge(links::routes())
        .merge(tokens::routes())
        .merge(sessions::routes())
        .merge(passkeys::routes())
        .merge(audit::routes())
        .merge(data::routes())
        .merge(workflows::routes())
        .merge(runs::routes())
        .merge(upkeep::routes())
}

/// Calls that need one, whose bodies may be long and take their time.
pub(super) fn long() -> OpenApiRouter<Arc<Api>> {
    upkeep::long().merge(audit::long()).merge(workflows::long()).merge(runs::long())
}

/// Whether the server is there and can read its store
#[utoipa::path(get, path = "/api/health", tag = "server", operation_id = "health", responses((status = 200, body = HealthReport)))]
async fn health(State(api): State<Arc<Api>>) -> Answer<HealthReport> {
    // One read, whose answer nobody is told.
    let nobody = "health".parse().map_err(|_| Problem::wrong("the name of nobody is no name"))?;
    api.members.get(&nobody).await?;
    Ok(Json(HealthReport { ok: true, version: env!("CARGO_PKG_VERSION").to_owned() }))
}

/// This document
#[utoipa::path(get, path = "/api/openapi.json", tag = "server", operation_id = "openapi", responses((status = 200, body = Object)))]
async fn openapi() -> Json<OpenApi> {
    Json(super::document())
}

/// Who the token speaks for
#[utoipa::path(get, path = "/api/me", tag = "members", operation_id = "me", responses((status = 200, body = Me)))]
async fn me(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Me> {
    let id = caller.member()?;
    let member = api.members.get(id).await?.ok_or_else(|| Problem::not_there(format!("there is no member '{id}'")))?;
    Ok(Json(Me { name: member.id, role: member.role }))
}

/// The account that a path names, among those that the caller may see.
async fn account(api: &Api, caller: &Caller, named: &str) -> Result<Summary, Problem> {
    Ok(api.accounts.find(caller.member()?, named).await?)
}
