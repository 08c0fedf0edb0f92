//! Who shares the workspace. Everybody sees who; admins add and remove, and are told what that means before it is done.
//! An invite link is shown in the answer that made it, and never again.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use keyhole_host_api::accounts::{AccountId, Row};
use keyhole_host_api::members::Role;
use maud::{Markup, html};

use super::accounts::Search;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{ago, icon, matches, of_page, pages, title_of};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{DeletedWithMember, MemberView, NewMember, Removed};
use crate::server::problem::Problem;
use crate::server::routes;

/// Names of accounts or workflows that one list of a page has at most.
const NAMED: usize = 50;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let content = everybody(&api, &visitor, &search, None).await?;
    Ok(frame::page(&visitor, Part::Members, "Members", content))
}

async fn everybody(
    api: &Arc<Api>,
    visitor: &Visitor,
    search: &Search,
    again: Option<(&Posted, &Problem)>,
) -> Result<Markup, Problem> {
    let members = routes::members::list(State(api.clone()), visitor.caller.clone()).await?.0;
    let admins: Vec<&str> =
        members.iter().filter(|one| one.role == Role::Admin).map(|one| one.name.as_str()).take(NAMED).collect();
    let fits = |one: &&MemberView| matches(&search.q, &[one.name.as_str(), &one.role.to_string()]);
    let found: Vec<&MemberView> = members.iter().filter(fits).collect();
    let page = search.page.max(1);
    Ok(html! {
        div .head {
            h1 { "Members" }
            @if visitor.is_admin() { a .button .act href="#add" { "Add a member" } }
        }
        @if let Some((_, problem)) = again { (alert(problem)) }
        @if !visitor.is_admin() { p .soft { "Admins add and remove members. Ask " (admins.join(" or ")) "." } }
        form .line role="search" action="/members" data-list="list" {
            div .search {
                label for="q" { "Search" }
                input #q name="q" type="search" value=(search.q) placeholder="name or role" autocomplete="off";
            }
            button { "Search" }
        }
        div #list {
            p .soft role="status" { (found.len()) @if found.len() == 1 { " member" } @else { " members" } }
            @if !found.is_empty() {
                ul .rows { @for one in of_page(&found, page) { (row(visitor, one)) } }
            }
            (pages("/members", &search.q, page, found.len()))
        }
        @if visitor.is_admin() { (add_form(visitor, again.map(|(posted, _)| posted))) }
    })
}

fn row(visitor: &Visitor, one: &MemberView) -> Markup {
    html! {
        li {
            (icon(one.name.as_str()))
            div .what {
                strong { (one.name) }
                @if one.name == visitor.member.id { " " span .soft { "(you)" } }
                small { "added " (ago(one.added)) }
            }
            div .facts { span .mark { (one.role) } }
            @if visitor.is_admin() {
                a href=(format!("/members/{}/remove", one.name)) aria-label=(format!("Remove {}", one.name)) { "Remove" }
            }
        }
    }
}

fn add_form(visitor: &Visitor, given: Option<&Posted>) -> Markup {
    let name = given.and_then(|posted| posted.one("name"));
    let admin = given.is_some_and(|posted| posted.one("role") == Some("admin"));
    let invite = given.is_none_or(|posted| posted.one("invite").is_some());
    html! {
        h2 #add { "Add a member" }
        form .card method="post" action="/members" {
            (visitor.key())
            label for="name" { "Name" }
            input #name name="name" value=[name] required maxlength="63" autocapitalize="none" autocomplete="off"
                spellcheck="false" aria-describedby="name-help";
            small #name-help { "Small letters, digits, '.', '_' and '-', such as " code { "bob" } ". It can't be changed later." }
            label for="role" { "Role" }
            select #role name="role" aria-describedby="role-help" {
                option value="member" selected[!admin] { "member" }
                option value="admin" selected[admin] { "admin" }
            }
            small #role-help {
                "A member connects accounts and runs workflows. An admin also adds and removes members, sets OAuth clients, sees \
                 the whole audit and keeps the vault; others' accounts they see and delete, and do not use."
            }
            label .choice {
                input type="checkbox" name="invite" value="yes" checked[invite];
                span { strong { "Make an invite link" } br; "Whoever opens it is signed in as the new member, once, within 7 days." }
            }
            div .buttons { button .act { "Add the member" } }
        }
    }
}

pub(super) async fn add(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let added = match asked(&posted) {
        Ok(new) => routes::members::add(State(api.clone()), visitor.caller.clone(), Body(new)).await,
        Err(problem) => Err(problem),
    };
    let added = match added {
        Ok((_, Json(added))) => added,
        Err(problem) if problem.code().is_server_error() => return Err(problem.into()),
        Err(problem) => {
            let content = everybody(&api, visitor, &Search::default(), Some((&posted, &problem))).await?;
            return Ok(frame::again(visitor, Part::Members, &problem, "Members", content));
        }
    };
    let name = &added.member.name;
    let content = html! {
        p .crumb { a href="/members" { "Members" } }
        div .head { h1 { (name) " is added" } }
        @if let Some(invite) = &added.invite {
            div .notice .good role="status" {
                p { "Send " (name) " this link. Whoever opens it is signed in as " (name) ", once, within 7 days. It is not \
                     shown again." }
                p .copy { code { (invite.0.expose()) } }
            }
        } @else {
            div .notice .good role="status" {
                p { (name) " is " (added.member.role) " from now on. Their first token or link is made where the data directory is:" }
                p .copy { code { "keyhole sign-in --as " (name) } }
            }
        }
        p { a href="/members" { "Go to the members" } }
    };
    Ok(frame::page(visitor, Part::Members, "A member is added", content))
}

fn asked(posted: &Posted) -> Result<NewMember, Problem> {
    let role = match posted.one("role") {
        Some("admin") => Role::Admin,
        Some("member") => Role::Member,
        _ => return Err(Problem::wrong("no role is chosen").help("choose member or admin")),
    };
    let name = posted.one("name").unwrap_or("").to_owned();
    Ok(NewMember { name, role: Some(role), invite: posted.one("invite").is_some() })
}

pub(super) async fn ask_remove(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Wrong> {
    // The same answer whoever it is about, to who may not.
    visitor.caller.must(Act::ChangeMembers)?;
    let members = routes::members::list(State(api.clone()), visitor.caller.clone()).await?.0;
    let found = members.into_iter().find(|one| one.name.as_str() == name);
    let member = found.ok_or_else(|| Problem::not_there(format!("there is no member {name}")))?;
    let mut accounts = api.accounts.rows(&visitor.member.id).await?;
    accounts.retain(|account| *account.owner() == member.name);
    let ids: HashSet<&AccountId> = accounts.iter().map(Row::id).collect();
    let mut workflows = routes::workflows::heads(&api, &visitor.caller).await?;
    workflows.retain(|one| one.owner == member.name || one.accounts.iter().any(|id| ids.contains(id)));
    let workflows: Vec<String> = workflows.iter().map(|one| one.id().to_string()).collect();
    let content = confirm(&api, &visitor, &member, &accounts, &workflows);
    Ok(frame::page(&visitor, Part::Members, "Remove a member", content))
}

fn confirm(api: &Api, visitor: &Visitor, member: &MemberView, accounts: &[Row], workflows: &[String]) -> Markup {
    let accounts: Vec<String> =
        accounts.iter().map(|one| format!("{} ({})", one.nickname(), title_of(api, one.app()))).collect();
    html! {
        p .crumb { a href="/members" { "Members" } }
        div .head { h1 { "Remove " (member.name) "?" } }
        form .card method="post" {
            (visitor.key())
            @if member.name == visitor.member.id {
                p { strong { "This is you." } " You are signed out at once, and come back only if another admin adds you." }
            }
            p { "From then on nothing works for " (member.name) ": their tokens, links and sessions end, and so do the grants \
                 by which they use others' accounts. This can't be undone." }
            @if accounts.is_empty() { p { "They own no account." } }
            @else {
                p { strong { "These accounts are deleted, and revoked at the services where that is possible:" } }
                (named(&accounts))
            }
            @if workflows.is_empty() { p { "No workflow stops." } }
            @else {
                p { strong { "These workflows stop:" } }
                (named(workflows))
            }
            div .buttons { button .bad { "Remove " (member.name) } a href="/members" { "Cancel" } }
        }
    }
}

/// The first of them, and how many more there are.
fn named(names: &[String]) -> Markup {
    html! {
        ul {
            @for name in names.iter().take(NAMED) { li { (name) } }
            @if names.len() > NAMED { li { "and " (names.len() - NAMED) " more" } }
        }
    }
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let removed = routes::members::remove(State(api.clone()), visitor.caller.clone(), Path(name)).await?.0;
    let content = html! {
        p .crumb { a href="/members" { "Members" } }
        div .head { h1 { (removed.removed) " is removed" } }
        (done(&removed))
        p { a href="/members" { "Go to the members" } }
    };
    Ok(frame::page(visitor, Part::Members, "A member is removed", content))
}

fn done(removed: &Removed) -> Markup {
    let failed: Vec<&DeletedWithMember> = removed.deleted.iter().filter(|one| one.upstream_error.is_some()).collect();
    let deleted: Vec<String> = removed
        .deleted
        .iter()
        .map(|one| match one.upstream.as_str() {
            "revoked" => format!("{}, revoked at the service", one.nickname),
            "failed" => format!("{}, not revoked at the service", one.nickname),
            _ => format!("{}; its service has no call that revokes it, so end its key there", one.nickname),
        })
        .collect();
    let revoked: Vec<String> = removed.revoked.iter().map(|one| one.nickname.clone()).collect();
    html! {
        div .notice .good role="status" { p { "Their tokens, links and sessions are ended." } }
        @if !failed.is_empty() {
            div .notice .wait role="alert" {
                p { strong { "Not revoked at the service" } }
                p { "These are deleted here, and their services did not revoke them: do that there." }
                ul {
                    @for one in &failed {
                        li { bdi { (one.nickname) } @if let Some(why) = &one.upstream_error { ": " (why) } }
                    }
                }
            }
        }
        @if !deleted.is_empty() { h2 { "Accounts deleted" } (named(&deleted)) }
        @if !revoked.is_empty() { h2 { "Accounts of others that they can't use any more" } (named(&revoked)) }
        @if !removed.workflows.is_empty() { h2 { "Workflows stopped" } (named(&removed.workflows)) }
    }
}
