//! Where members are signed in to the console, and the links that sign them in. A link speaks for its member, so nobody
//! may make one for anybody else. The one exception is a member who has nothing yet, see `members.rs`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::broker::audit;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::tokens::{Basis, KeyId, Purpose as _, Session, SignIn};
use keyhole_host_api::vault::Secret;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::members::oneself_or_any;
use crate::server::Api;
use crate::server::caller::{Act, Caller, Proof};
use crate::server::extract::{Body, Path};
use crate::server::model::{CreatedSignInLink, Hidden, NewSignInLink, SessionView, SignedOut};
use crate::server::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(end))
        .routes(routes!(end_all))
        .routes(routes!(create_link))
}

/// List where you are signed in to the console
#[utoipa::path(get, path = "/api/sessions", tag = "sessions", operation_id = "sessions_list",
    responses((status = 200, body = [SessionView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<SessionView>> {
    let sessions = api.sessions.list(caller.member()?).await?;
    Ok(Json(sessions.into_iter().map(|session| view(session, &caller)).collect()))
}

/// End a session of yours. It holds from the next request on
#[utoipa::path(delete, path = "/api/sessions/{session}", tag = "sessions", operation_id = "sessions_end",
    params(("session" = String, Path, description = "The session's id")),
    responses((status = 200, body = SessionView)))]
pub(in crate::server) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
) -> Answer<SessionView> {
    let own = api.sessions.list(caller.member()?).await?;
    let id = named.parse::<KeyId>().ok();
    let found = own.into_iter().find(|session| id.as_ref() == Some(&session.id));
    let Some(session) = found else {
        return Err(Problem::not_there(format!("there is no session {named}; see `keyhole sessions list`")));
    };
    api.sessions.end(&session.id).await?;
    api.did(&caller, audit::Act::done("sessions_end").detail(&session.id)).await?;
    Ok(Json(view(session, &caller)))
}

/// End every session of a member, and take back the links that would sign them in. They can, and an admin
#[utoipa::path(post, path = "/api/members/{member}/sign-out", tag = "sessions", operation_id = "sign_out",
    params(("member" = String, Path, description = "The member's name")), responses((status = 200, body = SignedOut)))]
pub(in crate::server) async fn end_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(member): Path<String>,
) -> Answer<SignedOut> {
    let there = oneself_or_any(&api, &caller, &member).await?;
    api.sign_ins.revoke_all(&there.id).await?;
    let ended = api.sessions.list(&there.id).await?.len();
    api.sessions.end_all(&there.id).await?;
    api.did(&caller, audit::Act::done("sign_out").about(&there.id)).await?;
    Ok(Json(SignedOut { member: there.id, ended }))
}

fn view(session: Session, caller: &Caller) -> SessionView {
    let current = matches!(caller, Caller::Member(_, Proof::Session(id), _) if *id == session.id);
    SessionView::new(session, current)
}

/// Make a link that signs you in to the console, once
#[utoipa::path(post, path = "/api/sign-in-links", tag = "sessions", operation_id = "sign_in_links_create",
    request_body = NewSignInLink, responses((status = 201, body = CreatedSignInLink)))]
pub(in crate::server) async fn create_link(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewSignInLink>,
) -> Result<(StatusCode, Json<CreatedSignInLink>), Problem> {
    let member = caller.member()?;
    // Whoever is signed in can make a token, so this is the same question.
    caller.must(Act::CreateTokenFor(member))?;
    let lifetime = new.expires_in.map_or(SignIn::LIFETIME, |seconds| Duration::from_secs(seconds.into()));
    // What a token made must not outlive it, nor what else its maker's session rests on.
    let basis = match &caller {
        Caller::Member(_, Proof::Token(id), _) => Basis::Token(id.clone()),
        Caller::Member(_, Proof::Session(id), _) => {
            let gone = || Problem::not_allowed("you are signed out");
            api.sessions.basis_of(id).await?.ok_or_else(gone)?
        }
        Caller::Operator(_) => Basis::Itself,
    };
    Ok((StatusCode::CREATED, Json(link(&api, &caller, member, SignIn { basis, invite: false }, lifetime).await?)))
}

/// A link that signs `member` in once. Whether `caller` may have it is for whoever calls this to see to.
pub(super) async fn link(
    api: &Api,
    caller: &Caller,
    member: &MemberId,
    opens: SignIn,
    lifetime: Duration,
) -> Result<CreatedSignInLink, Problem> {
    let made = api.sign_ins.create(member, opens, lifetime).await?;
    api.did(caller, audit::Act::done("sign_in_links_create").about(member).detail(&made.link.id)).await?;
    let path = format!("/sign-in/{}", made.text.expose());
    let url = api.address_of(&path).map_or(path, String::from);
    Ok(CreatedSignInLink::new(made, Hidden(Secret::new(url))))
}
