//! One member, as admins look after them: their role, another invite, and their removal, of which it is told what it
//! means before it is done.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::accounts::{AccountId, Row};
use keyhole_host_api::members::{Member, Role};
use maud::{Markup, html};

use super::account::NAMED;
use super::frame::{self, Part, Wrong, alert};
use super::members::{invited, role, role_field};
use super::parts::{ago, icon, title_of};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::extract::{Body, Path};
use crate::server::model::{DeletedWithMember, Removed, SetRole};
use crate::server::problem::Problem;
use crate::server::routes;

/// The member, for an admin. Whoever is none is answered the same, whoever it is about.
async fn found(api: &Api, visitor: &Visitor, name: &str) -> Result<Member, Problem> {
    visitor.caller.must(Act::ChangeMembers)?;
    routes::members::known(api, name).await
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Wrong> {
    let member = found(&api, &visitor, &name).await?;
    let content = about(&api, &visitor, &member, None).await?;
    Ok(frame::page(&visitor, Part::Members, member.id.as_str(), content))
}

async fn about(api: &Api, visitor: &Visitor, member: &Member, problem: Option<&Problem>) -> Result<Markup, Problem> {
    let new = routes::members::belongings(api, member).await?.is_none();
    let (at, own) = (format!("/members/{}", member.id), member.id == visitor.member.id);
    let provider = api.oidc.label().filter(|_| api.oidc.gives_roles());
    Ok(html! {
        p .crumb { a href="/members" { "Members" } }
        div .head {
            div { (icon(member.id.as_str())) h1 { (member.id) } span .mark { (member.role) } }
            a .button href=(format!("{at}/remove")) { "Remove " (member.id) }
        }
        @if let Some(problem) = problem { (alert(problem)) }
        p .soft { "Added " (ago(member.added)) @if own { ". This is you." } }
        h2 { "Role" }
        form .card method="post" action=(format!("{at}/role")) {
            (visitor.key())
            (role_field(member.role == Role::Admin))
            @if let Some(provider) = provider {
                p .soft { "Roles follow the groups at " (provider) ": who signs in there has the role that those give, whatever is \
                           said here." }
            }
            div .buttons { button .act { "Change the role" } }
        }
        @if new {
            h2 { "Invite" }
            form .card method="post" action=(format!("{at}/invite")) {
                (visitor.key())
                p { (member.id) " has nothing here yet. If their invite has expired or is lost, make another one; those before \
                     open nothing any more." }
                div .buttons { button { "Invite again" } }
            }
        }
    })
}

/// The page again, with why it was not done.
async fn refused(api: &Api, visitor: &Visitor, member: &Member, problem: Problem) -> Result<Response, Wrong> {
    if problem.code().is_server_error() {
        return Err(problem.into());
    }
    let content = about(api, visitor, member, Some(&problem)).await?;
    Ok(frame::again(visitor, Part::Members, &problem, member.id.as_str(), content))
}

pub(super) async fn set_role(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let member = found(&api, visitor, &name).await?;
    let set = match role(&posted) {
        Ok(role) => {
            let set = Body(SetRole { role });
            routes::members::set_role(State(api.clone()), visitor.caller.clone(), Path(name), set).await
        }
        Err(problem) => Err(problem),
    };
    match set {
        // Who is no admin any more sees the list, and this page not.
        Ok(_) => Ok(Redirect::to(&format!("/members?q={}&done=role", member.id)).into_response()),
        Err(problem) => refused(&api, visitor, &member, problem).await,
    }
}

pub(super) async fn invite(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let member = found(&api, visitor, &name).await?;
    let made = match routes::members::invite(State(api.clone()), visitor.caller.clone(), Path(name)).await {
        Ok((_, made)) => made.0,
        Err(problem) => return refused(&api, visitor, &member, problem).await,
    };
    let content = html! {
        p .crumb { a href="/members" { "Members" } }
        div .head { h1 { (member.id) " is invited again" } }
        @if let Some(invite) = &made.invite { (invited(&member.id, invite)) }
    };
    Ok(frame::page(visitor, Part::Members, "A member is invited", content))
}

pub(super) async fn ask_remove(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Wrong> {
    let member = found(&api, &visitor, &name).await?;
    let mut accounts = api.accounts.rows(&visitor.member.id).await?;
    accounts.retain(|account| *account.owner() == member.id);
    let ids: HashSet<&AccountId> = accounts.iter().map(Row::id).collect();
    let mut workflows = routes::workflows::heads(&api, &visitor.caller).await?;
    workflows.retain(|one| one.owner == member.id || one.accounts.iter().any(|id| ids.contains(id)));
    let workflows: Vec<String> = workflows.iter().map(|one| one.id().to_string()).collect();
    let content = confirm(&api, &visitor, &member, &accounts, &workflows);
    Ok(frame::page(&visitor, Part::Members, "Remove a member", content))
}

fn confirm(api: &Api, visitor: &Visitor, member: &Member, accounts: &[Row], workflows: &[String]) -> Markup {
    let accounts: Vec<String> =
        accounts.iter().map(|one| format!("{} ({})", one.nickname(), title_of(api, one.app()))).collect();
    let at = format!("/members/{}", member.id);
    html! {
        p .crumb { a href=(at) { (member.id) } }
        div .head { h1 { "Remove " (member.id) "?" } }
        form .card method="post" {
            (visitor.key())
            @if member.id == visitor.member.id {
                p { strong { "This is you." } " You are signed out at once, and come back only if another admin adds you." }
            }
            p { "From then on nothing works for " (member.id) ": their tokens, links and sessions end, and so do the grants \
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
            div .buttons { button .bad { "Remove " (member.id) } a href=(at) { "Cancel" } }
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
    let failed = |one: &DeletedWithMember| Some(format!("{}: {}", one.nickname, one.upstream_error.as_ref()?));
    let failed: Vec<String> = removed.deleted.iter().filter_map(failed).collect();
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
                // All of them: nobody is told again.
                ul { @for one in &failed { li { (one) } } }
            }
        }
        @if !deleted.is_empty() { h2 { "Accounts deleted" } (named(&deleted)) }
        @if !revoked.is_empty() { h2 { "Accounts of others that they can't use any more" } (named(&revoked)) }
        @if !removed.workflows.is_empty() { h2 { "Workflows stopped" } (named(&removed.workflows)) }
    }
}
