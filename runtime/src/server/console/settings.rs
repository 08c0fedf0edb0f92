//! What concerns oneself: who one is, where one is signed in, one's tokens and links; and for admins the vault. What was
//! made is shown once, by what made it, and nothing here shows it again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{self, Part, Wrong, alert};
use super::parts::{self, ago};
use super::session::{Posted, Visitor};
use super::{oidc, passkeys, tokens, vault};
use crate::server::Api;
use crate::server::extract::{Path, Query};
use crate::server::model::SessionView;
use crate::server::problem::Problem;
use crate::server::routes;

/// Which pages of its lists are shown, and what was just done.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct At {
    done: String,
    sessions: usize,
    pub(super) tokens: usize,
    pub(super) links: usize,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(at): Query<At>,
) -> Result<Response, Wrong> {
    let said = match at.done.as_str() {
        "session" => Some("The session is ended."),
        "token" => Some("The token is revoked. It holds from the next request on."),
        "link" => Some("The link is taken back."),
        "passkey" => Some("The passkey is added. You can sign in with it from now on."),
        "passkey-removed" => Some("The passkey is removed. Remove it from your device, too."),
        "oidc" => Some("It is connected. You can sign in with it from now on."),
        "oidc-removed" => Some("It is disconnected. You can't sign in with it any more."),
        _ => None,
    };
    let notice = html! { @if let Some(said) = said { div .notice .good role="status" { p { (said) } } } };
    let content = content(&api, &visitor, &notice, None, &at).await?;
    Ok(frame::page(&visitor, Part::Settings, "Settings", content))
}

/// The same with what could not be done above it.
pub(super) async fn again(api: &Arc<Api>, posted: &Posted, problem: Problem) -> Result<Response, Wrong> {
    if problem.code().is_server_error() {
        return Err(problem.into());
    }
    let content = content(api, &posted.visitor, &alert(&problem), Some(posted), &At::default()).await?;
    Ok(frame::again(&posted.visitor, Part::Settings, &problem, "Settings", content))
}

async fn content(
    api: &Arc<Api>,
    visitor: &Visitor,
    notice: &Markup,
    given: Option<&Posted>,
    at: &At,
) -> Result<Markup, Problem> {
    let mut sessions = routes::sessions::list(State(api.clone()), visitor.caller.clone()).await?.0;
    sessions.sort_by_key(|one| (!one.current, std::cmp::Reverse(one.last_used)));
    let sessions = parts::Part::of(&sessions, "/settings", "sessions", at.sessions);
    let tokens = tokens::part(api, visitor, given, at).await?;
    let oidc = oidc::part(api, visitor).await?;
    let passkeys = passkeys::part(api, visitor, given).await?;
    Ok(html! {
        div .head { h1 { "Settings" } }
        (notice)
        h2 { "You" }
        div .card {
            dl .facts {
                dt { "Name" } dd { (visitor.member.id) }
                dt { "Role" } dd { (visitor.member.role) }
                dt { "Member since" } dd { (ago(visitor.member.added)) }
            }
        }
        h2 #sessions { "Sessions" }
        p { "Browsers that are signed in as you. One that nobody uses for a day is signed out." }
        (sessions_table(visitor, sessions.rows))
        (sessions.pages)
        form method="post" action="/sign-out/everywhere" {
            (visitor.key())
            div .buttons { button .bad { "Sign out everywhere" } }
        }
        (passkeys)
        (oidc)
        (tokens)
        @if visitor.is_admin() { (vault::part(api, visitor)) }
        h2 { "Keyhole" }
        p { "Version " (env!("CARGO_PKG_VERSION")) ". What programs can ask of it: " a href="/api/openapi.json" { "its OpenAPI document" } "." }
    })
}

fn sessions_table(visitor: &Visitor, sessions: &[SessionView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Sessions" {
            table {
                thead {
                    tr {
                        th scope="col" { "Browser" } th scope="col" { "Signed in" } th scope="col" { "Last used" }
                        th scope="col" { "Action" }
                    }
                }
                tbody {
                    @for one in sessions {
                        @let browser = if one.browser.is_empty() { "a browser without a name" } else { one.browser.as_str() };
                        tr {
                            td { (browser) }
                            td { (ago(one.created)) }
                            td { (ago(one.last_used)) }
                            td {
                                @if one.current { span .mark .good { "this one" } }
                                @else {
                                    @let since = one.created.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
                                    form method="post" action=(format!("/settings/sessions/{}/end", one.id)) .inline {
                                        (visitor.key())
                                        button .bad aria-label=(format!("End the session since {since}")) { "End" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn end_session(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let _ = routes::sessions::end(State(api.clone()), posted.visitor.caller.clone(), Path(id)).await?;
    Ok(Redirect::to("/settings?done=session").into_response())
}
