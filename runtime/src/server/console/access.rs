//! Who may use an account. What would stop is said before anything is taken away, and what somebody else changed
//! meanwhile is not written over.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::accounts::Access;
use keyhole_host_api::members::{Member, MemberId};
use maud::{Markup, html};

use super::account::{NAMED, found};
use super::frame::{self, Part, Wrong, alert};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::extract::{Body, Path};
use crate::server::model::{AccountView, SetAccess};
use crate::server::problem::Problem;
use crate::server::routes;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let one = own(&api, &visitor, &id).await?;
    let members = api.members.list().await?;
    let content = choose(&visitor, &one, &members, &one.access, None);
    Ok(frame::page(&visitor, Part::Accounts, "Manage access", content))
}

async fn own(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<AccountView, Problem> {
    let one = found(api, visitor, id).await?;
    if one.owner != visitor.member.id {
        return Err(Problem::not_allowed(format!("only its owner, {}, says who may use it", one.owner)));
    }
    Ok(one)
}

fn choose(
    visitor: &Visitor,
    one: &AccountView,
    members: &[Member],
    chosen: &Access,
    problem: Option<&Problem>,
) -> Markup {
    let at = format!("/accounts/{}", one.id);
    let others: Vec<&Member> = members.iter().filter(|member| member.id != one.owner).collect();
    let granted = |member: &MemberId| matches!(chosen, Access::Members(members) if members.contains(member));
    html! {
        p .crumb { a href=(at) { (one.nickname) } }
        div .head { h1 { "Who may use " bdi { (one.nickname) } "?" } }
        @if let Some(problem) = problem {
            (alert(problem))
            @if problem.is("proof-needed") {
                p { a .button href=(format!("{at}/reconnect")) { "Reconnect it" } " and come back: that proves that it is yours." }
            }
        }
        form .card method="post" {
            (visitor.key())
            input type="hidden" name="was" value=(one.access);
            fieldset {
                legend { "Access" }
                label .choice {
                    input type="radio" name="access" value="private" checked[*chosen == Access::Private];
                    span { strong { "Private" } br; "Only your own workflows use it." }
                }
                label .choice {
                    input type="radio" name="access" value="workspace" checked[*chosen == Access::Workspace];
                    span { strong { "The whole workspace" } br; "Workflows of every member use it, of those who join later, too." }
                }
                label .choice {
                    input type="radio" name="access" value="members" checked[matches!(chosen, Access::Members(_))];
                    span { strong { "Members by name" } br; "Workflows of those whom you choose here use it." }
                }
            }
            fieldset {
                legend { "Members" }
                @if others.is_empty() { p .soft { "You are the only member." } }
                @for member in others {
                    label .choice {
                        input type="checkbox" name="member" value=(member.id) checked[granted(&member.id)];
                        span { (member.id) }
                    }
                }
            }
            p .soft { "Nobody is shown its keys, whatever you choose. A change holds from the next request on, of runs under way, too." }
            div .buttons { button .act { "Save" } a href=(at) { "Cancel" } }
        }
    }
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let one = own(&api, visitor, &id).await?;
    let members = api.members.list().await?;
    let wanted = match asked(&posted) {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(retry(visitor, &one, &members, &one.access, &problem)),
    };
    if posted.raw("was").is_some_and(|was| was != one.access.to_string()) {
        let problem = Problem::conflict("its access was changed in the meantime, perhaps by you in another window")
            .help("this is how it is now; nothing of yours was saved");
        return Ok(retry(visitor, &one, &members, &one.access, &problem));
    }
    let stops = stopped(&api, &one, &wanted).await?;
    if !stops.is_empty() && posted.one("sure").is_none() {
        return Ok(frame::page(visitor, Part::Accounts, "Manage access", confirm(visitor, &one, &wanted, &stops)));
    }
    let set = Body(SetAccess { access: wanted.clone() });
    match routes::accounts::access(State(api.clone()), visitor.caller.clone(), Path(id), set).await {
        Ok(_) => Ok(Redirect::to(&format!("/accounts/{}?done=access", one.id)).into_response()),
        Err(problem) => Ok(retry(visitor, &one, &members, &wanted, &problem)),
    }
}

fn retry(visitor: &Visitor, one: &AccountView, members: &[Member], chosen: &Access, problem: &Problem) -> Response {
    let content = choose(visitor, one, members, chosen, Some(problem));
    frame::again(visitor, Part::Accounts, problem, "Manage access", content)
}

fn asked(posted: &Posted) -> Result<Access, Problem> {
    match posted.one("access") {
        Some("private") => Ok(Access::Private),
        Some("workspace") => Ok(Access::Workspace),
        Some("members") => {
            let members: Result<BTreeSet<MemberId>, _> = posted.all("member").map(str::parse).collect();
            let members = members.map_err(|_| Problem::wrong("there is no such member"))?;
            match members.is_empty() {
                true => Err(Problem::wrong("no member is chosen").help("choose some, or Private")),
                false => Ok(Access::Members(members)),
            }
        }
        _ => Err(Problem::wrong("nothing is chosen")),
    }
}

/// The workflows of others that use it now and could not any more.
async fn stopped(api: &Api, one: &AccountView, wanted: &Access) -> Result<Vec<String>, Problem> {
    let using = api.workflows.using(&one.id).await?;
    let stops = using.into_iter().filter(|workflow| {
        workflow.owner != one.owner && one.access.includes(&workflow.owner) && !wanted.includes(&workflow.owner)
    });
    Ok(stops.map(|workflow| workflow.id().to_string()).collect())
}

fn confirm(visitor: &Visitor, one: &AccountView, wanted: &Access, stops: &[String]) -> Markup {
    html! {
        p .crumb { a href=(format!("/accounts/{}", one.id)) { (one.nickname) } }
        div .head { h1 { "This stops workflows" } }
        form .card method="post" {
            (visitor.key())
            input type="hidden" name="was" value=(one.access);
            input type="hidden" name="sure" value="yes";
            @match wanted {
                Access::Private => { input type="hidden" name="access" value="private"; }
                Access::Workspace => { input type="hidden" name="access" value="workspace"; }
                Access::Members(members) => {
                    input type="hidden" name="access" value="members";
                    @for member in members { input type="hidden" name="member" value=(member); }
                }
            }
            p { "Without access to " bdi { (one.nickname) } " these can't go on:" }
            ul {
                @for workflow in stops.iter().take(NAMED) { li { (workflow) } }
                @if stops.len() > NAMED { li { "and " (stops.len() - NAMED) " more" } }
            }
            div .buttons {
                button .bad { "Take the access away" }
                a href=(format!("/accounts/{}/access", one.id)) { "Cancel" }
            }
        }
    }
}
