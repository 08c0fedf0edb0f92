//! The store as a whole: its master key, a copy of it, and putting that back. For admins.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body as RawBody, BodyDataStream};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use keyhole_host_api::broker::audit;
use keyhole_host_api::upkeep::{self, backup};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Query};
use crate::server::model::{ForgottenKey, MasterKey, RestoreQuery, RestoredView, RotatedView, VaultReport};
use crate::server::problem::Problem;
use crate::server::{Api, acts};

/// The media type of a backup.
pub const BACKUP: &str = "application/octet-stream";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(rotate)).routes(routes!(check)).routes(routes!(forget)).routes(routes!(take))
}

/// Calls whose bodies may be long, and take their time.
pub(in crate::server) fn long() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(put_back))
}

/// Make another master key the one that seals, and wrap every account's data key anew. Admins can
#[utoipa::path(post, path = "/api/vault/rotate", tag = "vault", operation_id = "vault_rotate",
    responses((status = 200, body = RotatedView)))]
pub(in crate::server) async fn rotate(State(api): State<Arc<Api>>, caller: Caller) -> Answer<RotatedView> {
    caller.must(Act::KeepStore)?;
    acts::to_its_end(async move {
        let rotated = upkeep::rotate(&api.accounts, api.oauth()).await?;
        api.did(&caller, audit::Act::done("vault_rotate").detail(&rotated.rotation.to)).await?;
        Ok(Json(rotated.into()))
    })
    .await
}

/// Open everything that is sealed, and say what does not open. Admins can
#[utoipa::path(post, path = "/api/vault/check", tag = "vault", operation_id = "vault_check",
    responses((status = 200, body = VaultReport)))]
pub(in crate::server) async fn check(State(api): State<Arc<Api>>, caller: Caller) -> Answer<VaultReport> {
    caller.must(Act::KeepStore)?;
    let report = upkeep::check(&api.accounts, api.oauth()).await?;
    Ok(Json(VaultReport::new(api.accounts.master_key().await?, report)))
}

/// Take an old master key, which nothing needs any more, out of the key file. Admins can
#[utoipa::path(post, path = "/api/vault/forget", tag = "vault", operation_id = "vault_forget",
    request_body = MasterKey, responses((status = 200, body = ForgottenKey)))]
pub(in crate::server) async fn forget(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(key): Body<MasterKey>,
) -> Answer<ForgottenKey> {
    caller.must(Act::KeepStore)?;
    upkeep::forget(&api.accounts, api.oauth(), &key.key).await?;
    api.did(&caller, audit::Act::done("vault_forget").detail(&key.key)).await?;
    Ok(Json(ForgottenKey { forgotten: key.key }))
}

/// Take a backup: every record, encrypted under the master key. Admins can
#[utoipa::path(get, path = "/api/backup", tag = "vault", operation_id = "backup",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(in crate::server) async fn take(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Act::KeepStore)?;
    let pieces = backup::backup(api.store.clone(), api.accounts.vault().0.clone()).await?;
    Ok(([(header::CONTENT_TYPE, BACKUP)], RawBody::from_stream(pieces)).into_response())
}

/// Put a backup's records in the place of all that there are, but the audit. Admins can
#[utoipa::path(post, path = "/api/restore", tag = "vault", operation_id = "restore", params(RestoreQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = RestoredView)))]
pub(in crate::server) async fn put_back(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<RestoreQuery>,
    body: RawBody,
) -> Answer<RestoredView> {
    caller.must(Act::KeepStore)?;
    let pieces: BodyDataStream = body.into_data_stream();
    acts::to_its_end(async move {
        let restored = backup::restore(&api.store, api.accounts.vault().0, pieces, query.replace).await?;
        api.did(&caller, audit::Act::done("restore")).await?;
        Ok(Json(restored.into()))
    })
    .await
}
