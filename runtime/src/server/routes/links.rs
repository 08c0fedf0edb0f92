//! Connect links: making them. Using one is a page's matter, see `console/connect_link.rs`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::accounts::ConnectError;
use keyhole_host_api::broker::audit;
use keyhole_host_api::oauth::OAuthError;
use keyhole_host_api::tokens::{ConnectAccount, Link, Purpose as _};
use keyhole_host_api::vault::Secret;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, apps};
use crate::server::Api;
use crate::server::caller::Caller;
use crate::server::extract::{Body, Path};
use crate::server::model::{CreatedLink, Hidden, LinkView, NewLink};
use crate::server::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// List the connect links that you made and nobody used yet
#[utoipa::path(get, path = "/api/connect-links", tag = "accounts", operation_id = "links_list",
    responses((status = 200, body = [LinkView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<LinkView>> {
    Ok(Json(api.links.list(caller.member()?).await?.into_iter().map(LinkView::from).collect()))
}

/// Make a link by which an account of yours can be connected in a browser, once
#[utoipa::path(post, path = "/api/connect-links", tag = "accounts", operation_id = "links_create",
    request_body = NewLink, responses((status = 201, body = CreatedLink)))]
pub(in crate::server) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewLink>,
) -> Result<(StatusCode, Json<CreatedLink>), Problem> {
    let member = caller.member()?;
    let Some(app) = api.catalog().get(&new.app) else {
        let nearest = api.catalog().nearest(&new.app).map(str::to_owned);
        return Err(ConnectError::UnknownApp { name: new.app, nearest }.into());
    };
    // Whoever is sent the link could do nothing about it.
    if !apps::is_ready(&api, app).await? {
        return Err(OAuthError::NotConfigured(new.app).into());
    }
    let lifetime = new.expires_in.map_or(ConnectAccount::LIFETIME, |seconds| Duration::from_secs(seconds.into()));
    let made = api.links.create(member, ConnectAccount { app: new.app }, lifetime).await?;
    api.did(&caller, done("links_create", &made.link)).await?;
    let path = format!("/connect/{}", made.text.expose());
    let url = api.address_of(&path).map_or(path, String::from);
    Ok((StatusCode::CREATED, Json(CreatedLink { link: made.link.into(), url: Hidden(Secret::new(url)) })))
}

/// Take a connect link of yours back
#[utoipa::path(delete, path = "/api/connect-links/{link}", tag = "accounts", operation_id = "links_revoke",
    params(("link" = String, Path, description = "The link's id")), responses((status = 200, body = LinkView)))]
pub(in crate::server) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<LinkView> {
    let revoked = api.links.revoke(caller.member()?, &id).await?;
    api.did(&caller, done("links_revoke", &revoked)).await?;
    Ok(Json(revoked.into()))
}

fn done(act: &str, link: &Link<ConnectAccount>) -> audit::Act {
    audit::Act::done(act).about(&link.member).app(&link.opens.app).detail(&link.id)
}
