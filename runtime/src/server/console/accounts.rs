//! The accounts that a member may see. Those that must be reconnected stand first.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keyhole_host_api::accounts::Health;
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{self, Part, Wrong};
use super::parts::{access, ago, health, icon, matches, of_page, pages, title_of};
use super::session::Visitor;
use crate::server::Api;
use crate::server::extract::Query;
use crate::server::model::AccountView;
use crate::server::routes;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Search {
    pub(super) q: String,
    pub(super) page: usize,
    /// What was just done, of what there is a word for.
    pub(super) done: String,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let mut found = api.accounts.rows(&visitor.member.id).await?;
    let none = found.is_empty();
    found.retain(|one| {
        matches(&search.q, &[one.nickname(), one.app(), &title_of(&api, one.app()), one.owner().as_str()])
    });
    found.sort_by_cached_key(|one| (*one.health() == Health::Ok, one.nickname().to_lowercase()));
    let page = search.page.max(1);
    let accounts = routes::accounts::views(&api, &visitor.caller, of_page(&found, page)).await?;
    let content = html! {
        div .head {
            h1 { "Accounts" }
            a .button .act href="/accounts/new" { "Connect an account" }
        }
        @if search.done == "deleted" { div .notice .good role="status" { p { "The account is deleted." } } }
        @if none {
            div .card .empty {
                h2 { "No accounts yet" }
                p { "Connect an account of an app, and your workflows can use it. Nobody else can until you let them, and no \
                     step ever sees its key." }
                p { a .button .act href="/accounts/new" { "Connect your first account" } }
            }
        } @else {
            form .line role="search" action="/accounts" data-list="list" {
                div .search {
                    label for="q" { "Search" }
                    input #q name="q" type="search" value=(search.q) placeholder="nickname, app or owner" autocomplete="off";
                }
                button { "Search" }
            }
            p #found .soft role="status" { (found.len()) @if found.len() == 1 { " account" } @else { " accounts" } }
            div #list {
                @if !accounts.is_empty() {
                    ul .rows { @for one in &accounts { (row(&api, &visitor, one)) } }
                }
                (pages("/accounts", &search.q, page, found.len()))
            }
        }
    };
    Ok(frame::page(&visitor, Part::Accounts, "Accounts", content))
}

fn row(api: &Api, visitor: &Visitor, one: &AccountView) -> Markup {
    let title = title_of(api, &one.app);
    let at = format!("/accounts/{}", one.id);
    let own = one.owner == visitor.member.id;
    html! {
        li {
            (icon(&title))
            div .what {
                a href=(at) { (one.nickname) }
                small { (title) " · " @if own { "yours" } @else { (one.owner) } }
            }
            div .facts {
                small {
                    @match one.last_used {
                        Some(used) => { "used " (ago(used)) }
                        None => { "not used yet" }
                    }
                    @match one.workflows.len() {
                        0 => {}
                        1 => { " · 1 workflow" }
                        count => { " · " (count) " workflows" }
                    }
                }
                (access(&one.access))
                (health(&one.health))
            }
            details .menu {
                summary aria-label=(format!("Actions for {}", one.nickname)) { "⋯" }
                ul { (actions(visitor, one)) }
            }
            @if let Health::ReconnectNeeded { reason } = &one.health { p .why { (reason) } }
        }
    }
}

/// What can be done with an account, as entries of a menu.
pub(super) fn actions(visitor: &Visitor, one: &AccountView) -> Markup {
    let at = format!("/accounts/{}", one.id);
    let own = one.owner == visitor.member.id;
    html! {
        @if own {
            li { a href=(format!("{at}/access")) { "Manage access" } }
            li { a href=(format!("{at}/reconnect")) { "Reconnect" } }
        }
        @if one.usable {
            li { form method="post" action=(format!("{at}/test")) { (visitor.key()) button { "Test" } } }
        }
        @if own { li { a href=(format!("{at}/name")) { "Rename" } } }
        li { a href=(format!("{at}#activity")) { "See activity" } }
        @if own || visitor.is_admin() { li { a href=(format!("{at}/delete")) { "Delete" } } }
    }
}
