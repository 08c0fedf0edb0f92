//! One's passkeys. They are added where a browser is, on the settings page of the console.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use keyhole_host_api::broker::audit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::Api;
use crate::server::caller::Caller;
use crate::server::extract::Path;
use crate::server::model::PasskeyView;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(remove))
}

/// List your passkeys
#[utoipa::path(get, path = "/api/passkeys", tag = "sessions", operation_id = "passkeys_list",
    responses((status = 200, body = [PasskeyView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<PasskeyView>> {
    let passkeys = api.passkeys.list(caller.member()?).await?;
    Ok(Json(passkeys.into_iter().map(PasskeyView::from).collect()))
}

/// Remove a passkey of yours: it signs nobody in any more, and the sessions that it began end
#[utoipa::path(delete, path = "/api/passkeys/{passkey}", tag = "sessions", operation_id = "passkeys_remove",
    params(("passkey" = String, Path, description = "The passkey's id")),
    responses((status = 200, body = PasskeyView)))]
pub(in crate::server) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
) -> Answer<PasskeyView> {
    let member = caller.member()?;
    let removed = api.passkeys.remove(member, &named).await?;
    api.did(&caller, audit::Act::done("passkeys_remove").about(member).detail(&removed.id)).await?;
    Ok(Json(removed.into()))
}
