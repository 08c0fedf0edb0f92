//! The way in: by a link that is used once, by a token, and on a fresh install as the first member; and the way out.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use data_encoding::BASE64URL_NOPAD;
use keyhole_host_api::broker::audit::Act;
use keyhole_host_api::members::{MemberId, MemberIdError, Role};
use keyhole_host_api::tokens::{Basis, Link, SignIn};
use keyhole_host_api::vault::Secret;
use maud::{Markup, html};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::frame::{Wrong, alert, bare};
use super::session::{self, Form, Posted, form, is_foreign};
use super::{oidc, passkeys};
use crate::server::Api;
use crate::server::caller::{NOT_VALID, Peer};
use crate::server::extract::{Path, Query};
use crate::server::problem::Problem;
use crate::server::routes;

/// What the audit calls it.
pub(super) const SIGN_IN: &str = "sign_in";
/// What it calls the link of a fresh install.
const SET_UP: &str = "set-up link";

/// What makes the first member, while there is none: made at the start of a server, and forgotten with its end.
#[derive(Default)]
pub struct SetUp(Mutex<Option<Secret>>);

impl SetUp {
    /// The path of the page that makes the first member.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn begin(&self) -> Result<String, getrandom::Error> {
        let mut bits = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bits)?;
        let key = BASE64URL_NOPAD.encode(&*bits);
        let path = format!("/set-up/{key}");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Secret::new(key));
        Ok(path)
    }

    fn fits(&self, given: &str) -> bool {
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().is_some_and(|key| bool::from(key.expose().as_bytes().ct_eq(given.as_bytes())))
    }

    /// Takes the key away if `given` is it, so that of several who try at once one succeeds.
    fn take(&self, given: &str) -> Option<Secret> {
        let mut key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = key.as_ref().is_some_and(|key| bool::from(key.expose().as_bytes().ct_eq(given.as_bytes())));
        if fits { key.take() } else { None }
    }

    fn put_back(&self, taken: Secret) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
    }
}

#[derive(Deserialize)]
pub(super) struct Next {
    pub(super) next: Option<String>,
}

impl Next {
    /// The page of ours that it names.
    pub(super) fn local(&self) -> Option<&str> {
        self.next.as_deref().filter(|path| is_local(path))
    }
}

/// Asks for a token, and says how else one gets in.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Query(to): Query<Next>,
) -> Result<Response, Wrong> {
    if session::signed_in(&api, &headers).await?.is_some() {
        return Ok(Redirect::to(local(to.next.as_deref())).into_response());
    }
    Ok(again(&api, to.next.as_deref(), None))
}

/// The page, with why the last attempt came to nothing.
pub(super) fn again(api: &Api, next: Option<&str>, problem: Option<&Problem>) -> Response {
    let status = problem.map_or(StatusCode::OK, Problem::code);
    bare(status, "Sign in", ways(api, next, problem))
}

fn ways(api: &Api, next: Option<&str>, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { "Sign in to Keyhole" }
        @if let Some(problem) = problem { (alert(problem)) }
        (oidc::way_in(api, next))
        (passkeys::way_in(api, next))
        p { "Open the link that you were sent. Whoever has a terminal with Keyhole makes one:" }
        pre { "keyhole sign-in" }
        form method="post" action="/sign-in" {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            label for="token" { "Or sign in with a token" }
            input #token name="token" type="password" autocomplete="off" required aria-describedby="token-help";
            small #token-help { "It begins with " code { "kht_" } ". Make one with " code { "keyhole tokens create" } "." }
            div .buttons { button .act { "Sign in" } }
        }
    }
}

pub(super) async fn by_token(State(api): State<Arc<Api>>, peer: Peer, request: Request) -> Result<Response, Wrong> {
    let headers = request.headers().clone();
    let fields = ours(request, &api).await?;
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim());
    let next = field("next");
    let Some((member, token)) = api.tokens.verify(field("token").unwrap_or("")).await? else {
        api.failed_to(SIGN_IN, peer, "token", NOT_VALID).await?;
        let title = "This token does not sign in";
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "token", title, "it is not valid, or no longer");
        return Ok(again(&api, next, Some(&problem)));
    };
    let by = format!("token {token}");
    begin(&api, &headers, peer, &member.id, Basis::Token(token), &by, local(next)).await
}

/// Says whom a link signs in. It is not used up yet: mail filters and chats look at links, too.
pub(super) async fn ask_link(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path(text): Path<String>,
) -> Result<Response, Wrong> {
    let link = look(&api, peer, &text).await?;
    let content = html! {
        h1 { "Sign in to Keyhole" }
        p { "This link signs you in as " strong { (link.member) } ". It can be used once." }
        form method="post" { div .buttons { button .act { "Sign in as " (link.member) } } }
    };
    Ok(bare(StatusCode::OK, "Sign in", content))
}

pub(super) async fn by_link(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path(text): Path<String>,
    request: Request,
) -> Result<Response, Wrong> {
    let headers = request.headers().clone();
    ours(request, &api).await?;
    look(&api, peer, &text).await?;
    match api.sign_ins.redeem(&text).await {
        Ok(link) => {
            let by = format!("link {}", link.id);
            begin(&api, &headers, peer, &link.member, link.opens.basis, &by, "/accounts").await
        }
        Err(error) => {
            api.failed_to(SIGN_IN, peer, "link", &error).await?;
            Err(error.into())
        }
    }
}

/// The link. An invite whose member came in by another way opens nothing: whoever made it could use what they have by now.
async fn look(api: &Api, peer: Peer, text: &str) -> Result<Link<SignIn>, Problem> {
    let link = match api.sign_ins.look(text).await {
        Ok(link) => link,
        Err(error) => {
            api.failed_to(SIGN_IN, peer, "link", &error).await?;
            return Err(error.into());
        }
    };
    if link.opens.invite {
        let member = routes::members::known(api, link.member.as_str()).await?;
        if let Some(what) = routes::members::came_in(api, &member).await? {
            api.sign_ins.revoke_invites(&member.id).await?;
            let over = Problem::not_there(format!("this invite is over: {} has {what} by now", member.id))
                .help(format!("whoever has the data directory makes a link: keyhole sign-in --as {}", member.id));
            api.failed_to(SIGN_IN, peer, "link", &over.detail).await?;
            return Err(over);
        }
    }
    Ok(link)
}

/// Asks who the first member is.
pub(super) async fn ask_set_up(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path(key): Path<String>,
) -> Result<Response, Wrong> {
    must_set_up(&api, peer, &key).await?;
    Ok(bare(StatusCode::OK, "Set up Keyhole", with_name("", None)))
}

fn with_name(name: &str, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { "Set up Keyhole" }
        @if let Some(problem) = problem { (alert(problem)) }
        p { "You are its first member, and an admin: you add the others." }
        form method="post" {
            label for="name" { "Your name" }
            input #name name="name" value=(name) required maxlength="63" autocomplete="username" autocapitalize="none"
                spellcheck="false" aria-describedby="name-help";
            small #name-help { "Small letters, digits, '.', '_' and '-', such as " code { "alice" } ". It can't be changed later." }
            div .buttons { button .act { "Begin" } }
        }
    }
}

pub(super) async fn set_up(
    State(api): State<Arc<Api>>,
    peer: Peer,
    Path(key): Path<String>,
    request: Request,
) -> Result<Response, Wrong> {
    must_set_up(&api, peer, &key).await?;
    let headers = request.headers().clone();
    let fields = ours(request, &api).await?;
    let name = fields.iter().find(|(field, _)| field == "name").map_or("", |(_, value)| value.trim());
    let member: MemberId = match name.parse() {
        Ok(member) => member,
        Err(error) => {
            let error: MemberIdError = error;
            let problem = Problem::wrong(error.to_string());
            return Ok(bare(problem.code(), "Set up Keyhole", with_name(name, Some(&problem))));
        }
    };
    let Some(taken) = api.set_up.take(&key) else { return Err(over().into()) };
    if let Err(error) = api.members.add(member.clone(), Some(Role::Admin)).await {
        api.set_up.put_back(taken);
        return Err(error.into());
    }
    api.record(Act::done("members_add").by(SET_UP).about(&member).detail(Role::Admin).from(peer.address())).await?;
    begin(&api, &headers, peer, &member, Basis::Itself, SET_UP, "/accounts").await
}

async fn must_set_up(api: &Api, peer: Peer, key: &str) -> Result<(), Problem> {
    if api.set_up.fits(key) && api.members.list().await?.is_empty() {
        return Ok(());
    }
    api.failed_to(SIGN_IN, peer, SET_UP, over().detail).await?;
    Err(over())
}

fn over() -> Problem {
    Problem::not_there("this link is not valid, or no longer: Keyhole has its first member")
        .help("sign in with a link of your own: keyhole sign-in")
}

/// Signs out, here.
pub(super) async fn out(State(api): State<Arc<Api>>, headers: HeaderMap, _: Posted) -> Result<Response, Wrong> {
    session::end(&api, &headers).await?;
    Ok(signed_out(&api))
}

/// Signs out, everywhere.
pub(super) async fn out_everywhere(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let member = Path(posted.visitor.member.id.to_string());
    let _ = routes::sessions::end_all(State(api.clone()), posted.visitor.caller.clone(), member).await?;
    Ok(signed_out(&api))
}

fn signed_out(api: &Api) -> Response {
    let mut response = Redirect::to("/sign-in").into_response();
    session::forget_cookie(api, &mut response);
    response
}

/// The fields of a form that no other site's page sent: it could sign a browser in as somebody else, or connect for
/// somebody else what whoever sits at it has at a service.
pub(super) async fn ours(request: Request, api: &Arc<Api>) -> Result<Form, Problem> {
    if is_foreign(api, request.headers()) {
        return Err(Problem::not_allowed("another site's page sent this").help("nothing was done"));
    }
    form(request, api).await
}

/// Signs in, with what `by` names. Whoever was signed in with this browser before is no longer, and other links that would sign the member in
/// are taken back: an invite that is still in some chat must not stay a way in.
pub(super) async fn begin(
    api: &Api,
    headers: &HeaderMap,
    peer: Peer,
    member: &MemberId,
    basis: Basis,
    by: &str,
    to: &str,
) -> Result<Response, Wrong> {
    session::end(api, headers).await?;
    let browser = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let key = api.sessions.begin(member, browser, basis).await?;
    api.sign_ins.revoke_all(member).await?;
    api.record(Act::done(SIGN_IN).member(member).by(by).from(peer.address())).await?;
    let mut response = Redirect::to(to).into_response();
    session::set_cookie(api, &mut response, &key);
    Ok(response)
}

/// Where to go on, if that is a page of ours.
pub(super) fn local(next: Option<&str>) -> &str {
    next.filter(|path| is_local(path)).unwrap_or("/accounts")
}

/// Whether a path leads to a page of ours, and not away.
pub(super) fn is_local(path: &str) -> bool {
    path.starts_with('/') && !path[1..].starts_with(['/', '\\']) && !path.contains(|c: char| c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away() {
        for ours in ["/runs?status=failed", "/", "/accounts/x"] {
            assert_eq!(local(Some(ours)), ours);
        }
        for other in ["//example.com", "/\\example.com", "https://example.com", "", "accounts", "/\t/example.com"] {
            assert_eq!(local(Some(other)), "/accounts", "{other}");
        }
    }
}
