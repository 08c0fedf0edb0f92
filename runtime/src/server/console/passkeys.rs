//! Passkeys: on the sign-in page, and in the settings. A browser gives them to scripts alone, so `console.js` asks for
//! them and puts what comes into a form's hidden fields; the form is sent like any other, and judged here.
//!
//! The browser that answers must be the one that was asked: it has what names the challenge in a cookie, or its member's
//! session has.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::broker::audit;
use keyhole_host_api::passkeys::LIFETIME;
use keyhole_host_api::tokens::Basis;
use maud::{Markup, html};
use serde_json::json;

use super::frame::Wrong;
use super::parts::ago;
use super::session::{self, Posted, Visitor};
use super::settings;
use super::sign_in::{self, SIGN_IN, local, ours};
use super::words::said;
use crate::server::Api;
use crate::server::caller::{Act, Peer};
use crate::server::extract::Path;
use crate::server::model::PasskeyView;
use crate::server::problem::Problem;
use crate::server::routes;

/// The cookie that names the challenge.
const COOKIE: &str = "keyhole-passkey";

/// What signs in by passkey, for the sign-in page.
pub(super) fn way_in(api: &Api, next: Option<&str>) -> Markup {
    if !api.passkeys.are_possible() {
        return html! {};
    }
    html! {
        form method="post" action="/sign-in/passkey" data-passkey="get" data-begin="/sign-in/passkey/begin" {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            input type="hidden" name="answer";
            div .buttons { button .act hidden { "Sign in with a passkey" } }
            p role="status" data-said {}
        }
        noscript { p { "Signing in with a passkey needs a script, which this browser does not run." } }
    }
}

/// One's passkeys, for the settings page.
pub(super) async fn part(api: &Arc<Api>, visitor: &Visitor, given: Option<&Posted>) -> Result<Markup, Problem> {
    let passkeys = routes::passkeys::list(State(api.clone()), visitor.caller.clone()).await?.0;
    let name = given.and_then(|given| given.raw("passkey_name")).unwrap_or("");
    Ok(html! {
        h2 #passkeys { "Passkeys" }
        p { "With a passkey you sign in by what unlocks your device. Whoever can unlock it can sign in as you." }
        @if !passkeys.is_empty() { (table(visitor, &passkeys)) }
        @if api.passkeys.are_possible() {
            form method="post" action="/settings/passkeys" data-passkey="create" data-begin="/settings/passkeys/begin" {
                (visitor.key())
                input type="hidden" name="ticket";
                input type="hidden" name="answer";
                label for="passkey-name" { "Name of the passkey" }
                input #passkey-name name="passkey_name" value=(name) required maxlength="100" autocomplete="off";
                div .buttons { button hidden { "Add a passkey" } }
                p role="status" data-said {}
            }
            noscript { p { "Adding a passkey needs a script, which this browser does not run." } }
        } @else {
            p { "Browsers have passkeys for a Keyhole that has a name and TLS: its operator gives keyhole serve a --public-url." }
        }
    })
}

fn table(visitor: &Visitor, passkeys: &[PasskeyView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Passkeys" {
            table {
                thead {
                    tr {
                        th scope="col" { "Name" } th scope="col" { "Added" } th scope="col" { "Last used" }
                        th scope="col" { "Action" }
                    }
                }
                tbody {
                    @for one in passkeys {
                        tr {
                            td { (one.name) }
                            td { (ago(one.created)) }
                            td { @if let Some(at) = one.last_used { (ago(at)) } @else { "never" } }
                            td {
                                form method="post" action=(format!("/settings/passkeys/{}/remove", one.id)) .inline {
                                    (visitor.key())
                                    button .bad aria-label=(format!("Remove {}", one.name)) { "Remove" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the script needs to have a passkey made.
pub(super) async fn begin_register(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    // It will sign them in, so it is the same question as for a token.
    visitor.caller.must(Act::CreateTokenFor(&visitor.member.id))?;
    match api.passkeys.begin_register(&visitor.member).await.map_err(Problem::from) {
        Ok(begun) => Ok(Json(json!({ "publicKey": begun.options, "ticket": begun.ticket.expose() })).into_response()),
        Err(problem) if problem.code().is_server_error() => Err(problem.into()),
        // For the script, which is no reader of pages.
        Err(problem) => Ok((problem.code(), Json(json!({ "detail": said(&problem).detail }))).into_response()),
    }
}

/// Adds the passkey that was made.
pub(super) async fn register(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    visitor.caller.must(Act::CreateTokenFor(&visitor.member.id))?;
    let field = |name: &str| posted.raw(name).unwrap_or("");
    let name = field("passkey_name");
    match api.passkeys.register(&visitor.member, name, field("ticket"), field("answer")).await {
        Ok(added) => {
            let done = audit::Act::done("passkeys_add").about(&visitor.member.id).detail(&added.id);
            api.did(&visitor.caller, done).await?;
            Ok(Redirect::to("/settings?done=passkey").into_response())
        }
        Err(error) => settings::again(&api, &posted, error.into()).await,
    }
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let _ = routes::passkeys::remove(State(api.clone()), posted.visitor.caller.clone(), Path(id)).await?;
    Ok(Redirect::to("/settings?done=passkey-removed").into_response())
}

/// What the script needs to have a passkey used.
pub(super) async fn begin(State(api): State<Arc<Api>>, peer: Peer, request: Request) -> Result<Response, Problem> {
    ours(request, &api).await?;
    api.begun.count(peer.0)?;
    let begun = api.passkeys.begin_sign_in().await?;
    let mut response = Json(json!({ "publicKey": begun.options })).into_response();
    let ((name, secure), age) = (session::named(&api, COOKIE), LIFETIME.as_secs());
    // Strict: nothing but our own page sends it.
    let ticket = begun.ticket.expose();
    let cookie = format!("{name}={ticket}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))?;
    cookie.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Signs in whom the passkey is of.
pub(super) async fn sign_in(State(api): State<Arc<Api>>, peer: Peer, request: Request) -> Result<Response, Wrong> {
    let headers: HeaderMap = request.headers().clone();
    let fields = ours(request, &api).await?;
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let next = field("next");
    let (name, secure) = session::named(&api, COOKIE);
    let ticket = session::cookie(&headers, &name);
    let ticket = ticket.as_ref().map_or("", |ticket| ticket.expose());
    let mut response = match api.passkeys.sign_in(ticket, field("answer").unwrap_or("")).await {
        Ok((member, passkey)) => {
            let by = format!("passkey {passkey}");
            sign_in::begin(&api, &headers, peer, &member.id, Basis::Passkey(passkey), &by, local(next)).await?
        }
        Err(error) => {
            let problem = Problem::from(error);
            // What the store could not do is not theirs.
            if !problem.code().is_server_error() {
                api.failed_to(SIGN_IN, peer, "passkey", &problem.detail).await?;
            }
            sign_in::again(&api, next, Some(&problem))
        }
    };
    let gone = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}");
    let gone = HeaderValue::from_str(&gone).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}
