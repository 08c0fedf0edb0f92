//! What members give to programs and to others: API tokens, and links by which an account of theirs is connected. Each is
//! shown in the answer that made it, and never again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use keyhole_host_api::apps::{App, CUSTOM};
use maud::{Markup, html};

use super::accounts::Search;
use super::audit_table::tail;
use super::frame::{self, Part, Wrong};
use super::parts::{ago, matches, of_page, pages, title_of};
use super::session::{Posted, Visitor};
use super::settings;
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{LinkView, NewLink, NewToken, TokenView, TokensQuery};
use crate::server::problem::Problem;
use crate::server::routes;

const DAY: u32 = 24 * 3600;
/// How long a token may be valid, in days.
const TOKEN_DAYS: [u32; 5] = [1, 7, 30, 90, 366];
/// How long a link may be valid, in days.
const LINK_DAYS: [u32; 2] = [1, 7];

/// What the settings have of them.
pub(super) async fn part(api: &Arc<Api>, visitor: &Visitor, given: Option<&Posted>) -> Result<Markup, Problem> {
    let (state, caller) = (|| State(api.clone()), &visitor.caller);
    let tokens = routes::tokens::list(state(), caller.clone(), Query(TokensQuery { all: false })).await?.0;
    let links = routes::links::list(state(), caller.clone()).await?.0;
    let mut apps: Vec<&Arc<App>> = api.catalog().iter().filter(|app| app.name != CUSTOM).collect();
    apps.sort_by_key(|app| app.title.to_lowercase());
    let name = given.and_then(|posted| posted.one("token_name"));
    Ok(html! {
        h2 #tokens { "API tokens" }
        p { "A program that has one speaks for you: with the API, and with " code { "KEYHOLE_TOKEN" } " from a terminal elsewhere." }
        @if tokens.is_empty() { p .soft { "You have none." } } @else { (table(visitor, &tokens, false)) }
        @if visitor.is_admin() { p { a href="/settings/tokens" { "The tokens of every member" } } }
        h3 { "Make a token" }
        form .line method="post" action="/settings/tokens" {
            (visitor.key())
            div {
                label for="token_name" { "Name" }
                input #token_name name="token_name" value=[name] required maxlength="100" placeholder="laptop" autocomplete="off";
            }
            div {
                label for="token_days" { "Valid for" }
                select #token_days name="token_days" { (choices(&TOKEN_DAYS, 90)) }
            }
            button { "Make the token" }
        }
        h2 #links { "Connect links" }
        p { "Whoever opens one connects an account for you, once, without a login: for somebody who has the key. The account is yours, \
             and private." }
        @if links.is_empty() { p .soft { "There is none that nobody used." } } @else { (links_table(api, visitor, &links)) }
        h3 { "Make a link" }
        form .line method="post" action="/settings/links" {
            (visitor.key())
            div {
                label for="link_app" { "App" }
                select #link_app name="link_app" { @for app in &apps { option value=(app.name) { (app.title) } } }
            }
            div {
                label for="link_days" { "Valid for" }
                select #link_days name="link_days" { (choices(&LINK_DAYS, 1)) }
            }
            button { "Make the link" }
        }
    })
}

fn choices(days: &[u32], chosen: u32) -> Markup {
    html! {
        @for &count in days {
            option value=(count) selected[count == chosen] { (count) @if count == 1 { " day" } @else { " days" } }
        }
    }
}

/// The seconds of one of the choices that there are.
fn lifetime(posted: &Posted, field: &str, days: &[u32]) -> Result<u32, Problem> {
    let chosen = posted.one(field).and_then(|text| text.parse::<u32>().ok()).filter(|count| days.contains(count));
    chosen.map(|count| count * DAY).ok_or_else(|| Problem::wrong("it is not said for how long it is to be valid"))
}

fn table(visitor: &Visitor, tokens: &[TokenView], everyones: bool) -> Markup {
    let now = Timestamp::now();
    html! {
        div .scroll tabindex="0" role="region" aria-label="API tokens" {
            table {
                thead {
                    tr {
                        th scope="col" { "Name" }
                        @if everyones { th scope="col" { "Member" } }
                        th scope="col" { "Made" } th scope="col" { "Valid" } th scope="col" { "Last used" } th scope="col" { "Id" }
                        th scope="col" { "Action" }
                    }
                }
                tbody {
                    @for one in tokens {
                        tr {
                            td { (one.name) }
                            @if everyones { td { (one.member) } }
                            td { (ago(one.created)) }
                            td {
                                @if one.expires <= now { span .mark .bad { "expired" } } @else { "ends " (ago(one.expires)) }
                            }
                            td { @match one.last_used { Some(used) => { (ago(used)) } None => { span .soft { "never" } } } }
                            td { code title=(one.id) { (tail(&one.id)) } }
                            td {
                                form method="post" action=(format!("/settings/tokens/{}/revoke", one.id)) .inline {
                                    (visitor.key())
                                    @if everyones { input type="hidden" name="of" value="everyone"; }
                                    button .bad aria-label=(format!("Revoke {} ({})", one.name, tail(&one.id))) { "Revoke" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn links_table(api: &Api, visitor: &Visitor, links: &[LinkView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Connect links" {
            table {
                thead {
                    tr {
                        th scope="col" { "App" } th scope="col" { "Made" } th scope="col" { "Valid" } th scope="col" { "Id" }
                        th scope="col" { "Action" }
                    }
                }
                tbody {
                    @for one in links {
                        @let title = title_of(api, &one.app);
                        tr {
                            td { (title) }
                            td { (ago(one.created)) }
                            td { "ends " (ago(one.expires)) }
                            td { code title=(one.id) { (tail(&one.id)) } }
                            td {
                                form method="post" action=(format!("/settings/links/{}/revoke", one.id)) .inline {
                                    (visitor.key())
                                    button .bad aria-label=(format!("Revoke the link for {title} ({})", tail(&one.id))) { "Revoke" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every member's tokens, for admins.
pub(super) async fn everyones(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    if !visitor.is_admin() {
        // Where the answer is that made a token, and where one's own are.
        return Ok(Redirect::to("/settings#tokens").into_response());
    }
    let all = Query(TokensQuery { all: true });
    let mut tokens = routes::tokens::list(State(api.clone()), visitor.caller.clone(), all).await?.0;
    tokens.retain(|one| matches(&search.q, &[&one.name, one.member.as_str(), &one.id]));
    let page = search.page.max(1);
    let content = html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "The tokens of every member" } }
        @if search.done == "revoked" { div .notice .good role="status" { p { "The token is revoked." } } }
        form .line role="search" action="/settings/tokens" data-list="list" {
            div .search {
                label for="q" { "Search" }
                input #q name="q" type="search" value=(search.q) placeholder="name, member or id" autocomplete="off";
            }
            button { "Search" }
        }
        p #found .soft role="status" { (tokens.len()) @if tokens.len() == 1 { " token" } @else { " tokens" } }
        div #list {
            @if !tokens.is_empty() { (table(&visitor, of_page(&tokens, page), true)) }
            (pages("/settings/tokens", &search.q, page, tokens.len()))
        }
    };
    Ok(frame::page(&visitor, Part::Settings, "The tokens of every member", content))
}

pub(super) async fn create(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let name = posted.one("token_name").unwrap_or("").to_owned();
    let made = match lifetime(&posted, "token_days", &TOKEN_DAYS) {
        Ok(seconds) => {
            let new = Body(NewToken { name, expires_in: Some(seconds) });
            routes::tokens::create(State(api.clone()), visitor.caller.clone(), new).await
        }
        Err(problem) => Err(problem),
    };
    let made = match made {
        Ok((_, Json(made))) => made,
        Err(problem) => return settings::again(&api, &posted, problem).await,
    };
    let content = html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "The token " (made.token.name) } }
        div .notice .good role="status" {
            p { "Copy it now: it is not shown again. It speaks for you, and ends " (ago(made.token.expires)) "." }
            p .copy { code { (made.text.0.expose()) } }
        }
        p { a href="/settings#tokens" { "Go to your tokens" } }
    };
    Ok(frame::page(visitor, Part::Settings, "A token is made", content))
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let _ = routes::tokens::revoke(State(api.clone()), posted.visitor.caller.clone(), Path(id)).await?;
    let to = match posted.one("of") {
        Some("everyone") => "/settings/tokens?done=revoked",
        _ => "/settings?done=token",
    };
    Ok(Redirect::to(to).into_response())
}

pub(super) async fn create_link(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let app = posted.one("link_app").unwrap_or("").to_owned();
    let made = match lifetime(&posted, "link_days", &LINK_DAYS) {
        Ok(seconds) => {
            let new = Body(NewLink { app, expires_in: Some(seconds) });
            routes::links::create(State(api.clone()), visitor.caller.clone(), new).await
        }
        Err(problem) => Err(problem),
    };
    let made = match made {
        Ok((_, Json(made))) => made,
        Err(problem) => return settings::again(&api, &posted, problem).await,
    };
    let content = html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "A link for " (title_of(&api, &made.link.app)) } }
        div .notice .good role="status" {
            p { "Send it to who has the key: it is not shown again. It connects an account for you, once, and ends "
                (ago(made.link.expires)) "." }
            p .copy { code { (made.url.0.expose()) } }
        }
        p { a href="/settings#links" { "Go to your links" } }
    };
    Ok(frame::page(visitor, Part::Settings, "A link is made", content))
}

pub(super) async fn revoke_link(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let _ = routes::links::revoke(State(api.clone()), posted.visitor.caller.clone(), Path(id)).await?;
    Ok(Redirect::to("/settings?done=link").into_response())
}
