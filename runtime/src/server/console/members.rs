//! Who shares the workspace. Everybody sees who; admins add members, and look after each on a page of their own. An invite
//! link is shown in the answer that made it, and never again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use keyhole_host_api::members::{Member, MemberId, Role};
use maud::{Markup, html};

use super::accounts::Search;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{ago, icon, matches, of_page, pages};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::extract::{Body, Query};
use crate::server::model::{Hidden, NewMember};
use crate::server::problem::Problem;
use crate::server::routes;

/// Admins who are named to who has to ask one.
const ADMINS: usize = 5;

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
    visitor.caller.must(Act::SeeMembers)?;
    let members = api.members.list().await?;
    let fits = |one: &&Arc<Member>| matches(&search.q, &[one.id.as_str(), &one.role.to_string()]);
    let found: Vec<&Arc<Member>> = members.iter().filter(fits).collect();
    let page = search.page.max(1);
    Ok(html! {
        div .head {
            h1 { "Members" }
            @if visitor.is_admin() { a .button .act href="#add" { "Add a member" } }
        }
        @if let Some((_, problem)) = again { (alert(problem)) }
        @if search.done == "role" { div .notice .good role="status" { p { "The role is changed. It holds from the next request on." } } }
        @if !visitor.is_admin() { p .soft { "Admins add and remove members. Ask " (admins(&members)) "." } }
        form .line role="search" action="/members" data-list="list" {
            div .search {
                label for="q" { "Search" }
                input #q name="q" type="search" value=(search.q) placeholder="name or role" autocomplete="off";
            }
            button { "Search" }
        }
        p #found .soft role="status" { (found.len()) @if found.len() == 1 { " member" } @else { " members" } }
        div #list {
            @if !found.is_empty() {
                ul .rows { @for one in of_page(&found, page) { (row(visitor, one)) } }
            }
            (pages("/members", &search.q, page, found.len()))
        }
        @if visitor.is_admin() { (add_form(visitor, again.map(|(posted, _)| posted))) }
    })
}

/// Whom to ask for what an admin does.
pub(super) fn admins(members: &[Arc<Member>]) -> String {
    let admins = members.iter().filter(|one| one.role == Role::Admin).take(ADMINS);
    admins.map(|one| one.id.as_str()).collect::<Vec<_>>().join(" or ")
}

fn row(visitor: &Visitor, one: &Member) -> Markup {
    html! {
        li {
            (icon(one.id.as_str()))
            div .what {
                @if visitor.is_admin() { a href=(format!("/members/{}", one.id)) { (one.id) } } @else { strong { (one.id) } }
                @if one.id == visitor.member.id { " " span .soft { "(you)" } }
                small { "added " (ago(one.added)) }
            }
            div .facts { span .mark { (one.role) } }
            @if visitor.is_admin() {
                a href=(format!("/members/{}/remove", one.id)) aria-label=(format!("Remove {}", one.id)) { "Remove" }
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
            (role_field(admin))
            label .choice {
                input type="checkbox" name="invite" value="yes" checked[invite];
                span { strong { "Make an invite link" } br; "Whoever opens it is signed in as the new member, once, within 7 days." }
            }
            div .buttons { button .act { "Add the member" } }
        }
    }
}

/// Asks for the role.
pub(super) fn role_field(admin: bool) -> Markup {
    html! {
        label for="role" { "Role" }
        select #role name="role" aria-describedby="role-help" {
            option value="member" selected[!admin] { "member" }
            option value="admin" selected[admin] { "admin" }
        }
        small #role-help {
            "A member connects accounts and runs workflows. An admin also adds and removes members, sets OAuth clients, sees \
             the whole audit and keeps the vault; others' accounts they see and delete, and do not use."
        }
    }
}

/// The role that was chosen.
pub(super) fn role(posted: &Posted) -> Result<Role, Problem> {
    match posted.one("role") {
        Some("admin") => Ok(Role::Admin),
        Some("member") => Ok(Role::Member),
        _ => Err(Problem::wrong("no role is chosen").help("choose member or admin")),
    }
}

/// An invite that was just made, for this once.
pub(super) fn invited(name: &MemberId, invite: &Hidden) -> Markup {
    html! {
        div .notice .good role="status" {
            p { "Send " (name) " this link. Whoever opens it is signed in as " (name) ", once, within 7 days. It is not shown \
                 again." }
            p .copy { code { (invite.0.expose()) } }
        }
        p { a href="/members" { "Go to the members" } }
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
        @if let Some(invite) = &added.invite { (invited(name, invite)) }
        @else {
            div .notice .good role="status" {
                p { (name) " is " (added.member.role) " from now on. Their first token or link is made where the data directory is:" }
                p .copy { code { "keyhole sign-in --as " (name) } }
            }
            p { a href="/members" { "Go to the members" } }
        }
    };
    Ok(frame::page(visitor, Part::Members, "A member is added", content))
}

fn asked(posted: &Posted) -> Result<NewMember, Problem> {
    let name = posted.one("name").unwrap_or("").to_owned();
    Ok(NewMember { name, role: Some(role(posted)?), invite: posted.one("invite").is_some() })
}
