//! Signing in with the operator's OpenID provider: the way there, and the way back.
//!
//! The browser that comes back must be the one that left: it has a value in a cookie for as long as that may take. Whoever
//! is led here by another site's page is shown the sign-in page, and begins by themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::members::Member;
use keyhole_host_api::oidc::{Begun, Came, LIFETIME, Oidc, OidcError};
use maud::{Markup, html};
use url::Url;

use super::frame::{self, Part, Wrong};
use super::parts::ago;
use super::session::{self, Posted, Visitor, is_foreign, with_next};
use super::sign_in::{self, Next, SIGN_IN, local};
use crate::server::Api;
use crate::server::caller::Peer;
use crate::server::extract::{Path, Query};
use crate::server::problem::Problem;
use crate::server::routes;

/// The cookie that the browser has on its way.
const COOKIE: &str = "keyhole-oidc";
/// Where the provider sends browsers back to.
const CALLBACK: &str = "/sign-in/oidc/callback";

/// What the provider is called, if there is one that can send browsers back.
fn label(api: &Api) -> Option<String> {
    callback(api).ok().filter(Oidc::may_come_to).and_then(|_| api.oidc.label())
}

/// The way to the provider, for the sign-in page.
pub(super) fn way_in(api: &Api, next: Option<&str>) -> Markup {
    let Some(label) = label(api) else { return html! {} };
    html! { div .buttons { a .button .act href=(with_next("/sign-in/oidc", next)) { "Sign in with " (label) } } }
}

/// Whom one is bound to, for the settings page.
pub(super) async fn part(api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
    let Some(label) = label(api) else { return Ok(html! {}) };
    let member = &visitor.member;
    let binding = api.oidc.bindings().of(&member.id, member.added).await?;
    Ok(html! {
        h2 #oidc { (label) }
        @match &binding {
            Some(binding) => {
                p { "You sign in with " (label) " as " strong { (binding.called) } ", connected " (ago(binding.since)) "." }
                form method="post" action="/settings/oidc/remove" {
                    (visitor.key())
                    p { "If you disconnect it, whatever browser is signed in by it is signed out. Be sure that you can sign in another way." }
                    div .buttons { button .bad { "Disconnect " (label) } }
                }
            }
            None => {
                p { "Sign in with " (label) " in future: say there who you are." }
                form method="post" action="/settings/oidc" {
                    (visitor.key())
                    div .buttons { button { "Connect " (label) } }
                }
            }
        }
    })
}

/// Leads to the provider.
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    peer: Peer,
    headers: HeaderMap,
    Query(to): Query<Next>,
) -> Result<Response, Wrong> {
    let next = local(to.next.as_deref());
    // Another site must not choose when one is signed in, nor as whom.
    if is_foreign(&api, &headers) {
        return Ok(sign_in::again(&api, Some(next), None));
    }
    // Before anything is kept for it.
    if let Err(problem) = api.begun.count(peer.0) {
        return Ok(sign_in::again(&api, Some(next), Some(&problem)));
    }
    match leave(&api, Some(next), None).await {
        Ok(begun) => with_cookie(&api, Redirect::to(begun.url.as_str()).into_response(), &begun),
        Err(problem) => Ok(sign_in::again(&api, Some(next), Some(&problem))),
    }
}

/// Leads who is signed in to the provider, to be bound to who they are there. By a link on a page: the form may lead to no
/// other site.
pub(super) async fn connect(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let begun = leave(&api, None, Some(&visitor.member)).await?;
    let label = api.oidc.label().unwrap_or_default();
    let content = html! {
        div .head { h1 { "Connect " (label) } }
        p { "Say there who you are. From then on, who signs in as that person signs in as " strong { (visitor.member.id) } "." }
        @if api.oidc.gives_roles() {
            p { "Your role here follows your groups there, from now on and at each sign-in: an admin whom no group makes one becomes a member." }
        }
        div .buttons { a .button .act href=(begun.url) { "Go to " (label) } a .button href="/settings" { "Cancel" } }
    };
    let page = frame::page(visitor, Part::Settings, &format!("Connect {label}"), content);
    with_cookie(&api, page, &begun)
}

/// Forgets who the member is at the provider. It may end the very session that asks.
pub(super) async fn disconnect(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let member = Path(visitor.member.id.to_string());
    let _ = routes::members::unbind(State(api.clone()), visitor.caller.clone(), member).await?;
    let still = visitor.caller.again(&api).await?.is_some();
    Ok(Redirect::to(if still { "/settings?done=oidc-removed" } else { "/sign-in" }).into_response())
}

async fn leave(api: &Api, next: Option<&str>, member: Option<&Member>) -> Result<Begun, Problem> {
    Ok(api.oidc.begin(&callback(api)?, next, member).await?)
}

fn callback(api: &Api) -> Result<Url, Problem> {
    api.address_of(CALLBACK).ok_or_else(|| {
        Problem::conflict("this Keyhole has no address that a browser could come back to").help("start keyhole serve")
    })
}

/// Signs in who came back.
pub(super) async fn come_back(
    State(api): State<Arc<Api>>,
    peer: Peer,
    headers: HeaderMap,
    Query(came): Query<Came>,
) -> Result<Response, Wrong> {
    let (name, secure) = session::named(&api, COOKIE);
    let browser = session::cookie(&headers, &name);
    let signed_in = session::signed_in(&api, &headers).await?;
    let browser = browser.as_ref().map(|value| value.expose());
    let mut over = true;
    let mut response = match api.oidc.finish(&came, browser, signed_in.as_ref()).await {
        Ok(entered) => {
            let to = if entered.bound { "/settings?done=oidc" } else { local(entered.next.as_deref()) };
            sign_in::begin(&api, &headers, peer, &entered.member.id, entered.basis, "oidc", to).await?
        }
        Err(error) => {
            // What another's link leads here with must not end what this browser has under way.
            over = !matches!(error, OidcError::NotUnderWay | OidcError::OtherBrowser);
            let problem = Problem::from(error);
            // What the provider or the store could not do is not theirs.
            if problem.code() == StatusCode::FORBIDDEN {
                api.failed_to(SIGN_IN, peer, "oidc", &problem.detail).await?;
            }
            // They stay who they are.
            if signed_in.is_some() {
                return Err(problem.into());
            }
            sign_in::again(&api, None, Some(&problem))
        }
    };
    if !over {
        return Ok(response);
    }
    let gone = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}");
    let gone = HeaderValue::from_str(&gone).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}

/// Gives the browser what only it is to have. Lax: the provider sends it back from another site, by a link.
fn with_cookie(api: &Api, mut response: Response, begun: &Begun) -> Result<Response, Wrong> {
    let ((name, secure), age) = (session::named(api, COOKIE), LIFETIME.as_secs());
    let cookie = format!("{name}={}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", begun.browser.expose());
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))?;
    cookie.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}
