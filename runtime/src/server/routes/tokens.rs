//! Members' tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::broker::audit;
use keyhole_host_api::tokens::{LIFETIME, Token};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::Api;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{CreatedToken, Hidden, NewToken, TokenView, TokensQuery};
use crate::server::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// List your tokens, or everyone's if you are an admin. Their texts are never shown
#[utoipa::path(get, path = "/api/tokens", tag = "tokens", operation_id = "tokens_list", params(TokensQuery),
    responses((status = 200, body = [TokenView])))]
pub(in crate::server) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<TokensQuery>,
) -> Answer<Vec<TokenView>> {
    let of = match query.all {
        true => {
            caller.must(Act::SeeAllTokens)?;
            None
        }
        false => Some(caller.member()?),
    };
    Ok(Json(api.tokens.list(of).await?.into_iter().map(TokenView::from).collect()))
}

/// Make a token of your own. Its text is in this answer and never again
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", operation_id = "tokens_create", request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
pub(in crate::server) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let member = caller.member()?;
    caller.must(Act::CreateTokenFor(member))?;
    let lifetime = new.expires_in.map_or(LIFETIME, |seconds| Duration::from_secs(seconds.into()));
    let made = api.tokens.create(member, &new.name, lifetime).await?;
    // The member has a way in from now on, even if it ends before their invite does.
    api.sign_ins.revoke_invites(member).await?;
    api.did(&caller, done("tokens_create", &made.token)).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: made.token.into(), text: Hidden(made.text) })))
}

/// Revoke a token of yours, or anyone's if you are an admin. It holds from the next request on
#[utoipa::path(delete, path = "/api/tokens/{token}", tag = "tokens", operation_id = "tokens_revoke",
    params(("token" = String, Path, description = "The token's id")), responses((status = 200, body = TokenView)))]
pub(in crate::server) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<TokenView> {
    let of = if caller.may(Act::SeeAllTokens) { None } else { Some(caller.member()?) };
    let revoked = api.tokens.revoke(of, &id).await?;
    api.did(&caller, done("tokens_revoke", &revoked)).await?;
    Ok(Json(revoked.into()))
}

fn done(act: &str, token: &Token) -> audit::Act {
    audit::Act::done(act).about(&token.member).detail(format!("{}, {}", token.id, token.name))
}
