//! One account: what is known of it, what used it, and what its owner can do with it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::accounts::{Access, Event, Health};
use keyhole_host_api::broker::audit::Page;
use maud::{Markup, html};

use super::accounts::{Search, actions};
use super::audit::LOOKS;
use super::audit_table;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{access, ago, health, icon, title_of};
use super::room::{Room, brief};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{AccountView, AuditQuery, Need, Rename, Tested};
use crate::server::problem::Problem;
use crate::server::routes;

/// Requests that an account's page shows.
const ACTIVITY: u32 = 20;

/// Bytes of the scopes that it shows, and workflows that it names for each.
const NEEDS: usize = 10_000;
const NEEDING: usize = 5;
/// Characters of the scopes that were granted, and of those that were not.
const SCOPES: usize = 3_000;

/// Names of workflows or members that one list has at most.
pub(super) const NAMED: usize = 50;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let said = match search.done.as_str() {
        "connected" => Some("The account is connected. Nobody else can use it until you let them."),
        "reconnected" => Some("The account is reconnected. Who may use it is as it was; what waited for it goes on."),
        "renamed" => Some("The account has its new nickname."),
        "access" => Some("Who may use it is changed. It holds from the next request on."),
        _ => None,
    };
    let notice = html! { @if let Some(said) = said { div .notice .good role="status" { p { (said) } } } };
    shown(&api, &visitor, &id, notice).await
}

/// The account as the visitor may see it.
pub(super) async fn found(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<AccountView, Problem> {
    Ok(routes::accounts::show(State(api.clone()), visitor.caller.clone(), Path(id.to_owned())).await?.0)
}

async fn shown(api: &Arc<Api>, visitor: &Visitor, id: &str, notice: Markup) -> Result<Response, Wrong> {
    let one = found(api, visitor, id).await?;
    let query = AuditQuery {
        account: Some(one.id.to_string()),
        limit: ACTIVITY,
        // Nothing used it before it was there, and the audit may be long.
        since: Some(one.created),
        ..AuditQuery::default()
    };
    let page = routes::audit::page(api, &visitor.caller, &query, LOOKS).await?;
    let used = audit_table::table(api, visitor, &page.uses).await?;
    let content = html! {
        p .crumb { a href="/accounts" { "Accounts" } }
        (heading(api, visitor, &one))
        (notice)
        @if let Health::ReconnectNeeded { reason } = &one.health {
            div .notice .bad {
                p { strong { "It must be reconnected: " } (reason) }
                @if one.owner == visitor.member.id {
                    p { a .button .act href=(format!("/accounts/{}/reconnect", one.id)) { "Reconnect" } }
                } @else { p { "Its owner, " (one.owner) ", can do that. Runs that need it wait." } }
            }
        }
        div .card { (facts(api, visitor, &one)) }
        h2 { "Workflows" }
        @if one.workflows.is_empty() { p .soft { "No workflow uses it." } }
        @else {
            ul {
                @for workflow in one.workflows.iter().take(NAMED) { li { (link(visitor, workflow)) } }
                @if one.workflows.len() > NAMED { li { "and " (one.workflows.len() - NAMED) " more" } }
            }
        }
        @if !one.history.is_empty() { h2 #history { "History" } (happened(&one.history)) }
        h2 #activity { "Activity" }
        (activity(&one, &page, &used))
    };
    Ok(frame::page(visitor, Part::Accounts, &one.nickname, content))
}

fn heading(api: &Api, visitor: &Visitor, one: &AccountView) -> Markup {
    let title = title_of(api, &one.app);
    html! {
        div .head {
            div { (icon(&title)) h1 { (one.nickname) } (health(&one.health)) }
            details .menu { summary { "Actions" } ul { (actions(visitor, one)) } }
        }
    }
}

fn facts(api: &Api, visitor: &Visitor, one: &AccountView) -> Markup {
    let asked = api.catalog().get(&one.app).and_then(|app| app.oauth.as_ref().map(|def| def.scopes.clone()));
    html! {
        dl .facts {
            dt { "App" }
            dd {
                @if api.catalog().get(&one.app).is_some() { a href=(format!("/apps/{}", one.app)) { (title_of(api, &one.app)) } }
                @else { (one.app) }
            }
            dt { "Owner" } dd { (one.owner) }
            dt { "Who may use it" }
            dd {
                (access(&one.access))
                @if let Access::Members(members) = &one.access {
                    " " @for (at, member) in members.iter().take(NAMED).enumerate() { @if at > 0 { ", " } (member) }
                    @if members.len() > NAMED { " and " (members.len() - NAMED) " more" }
                }
            }
            @if let Some(uid) = &one.uid { dt { "At the service" } dd { (uid) } }
            @for (name, value) in &one.plain { dt { (name) } dd { (value) } }
            @if !one.secrets.is_empty() {
                dt { "Secrets" } dd { (one.secrets.join(", ")) " " span .soft { "(sealed; nobody is shown them)" } }
            }
            @if let Some(tokens) = &one.oauth {
                dt { "Scopes granted" }
                dd {
                    @if tokens.scopes.is_empty() { span .soft { "the service did not say" } }
                    @else { (brief(&tokens.scopes.join(", "), SCOPES)) }
                    @let missing: Vec<&str> = asked.iter().flatten().map(String::as_str)
                        .filter(|scope| !tokens.scopes.is_empty() && !tokens.scopes.iter().any(|has| has == scope)).collect();
                    @if !missing.is_empty() {
                        p { span .mark .wait { "not granted" } " " (brief(&missing.join(", "), SCOPES)) }
                    }
                }
                dt { "Access token" }
                dd {
                    "from " (ago(tokens.obtained))
                    @if let Some(expires) = tokens.expires { ", expires " (ago(expires)) }
                    @if tokens.refreshes > 0 { ", refreshed " (tokens.refreshes) " times since it was connected" }
                }
            }
            @if !one.needs.is_empty() { dt { "Scopes needed" } dd { (needs(visitor, one)) } }
            dt { "Connected" } dd { (ago(one.created)) }
            dt { "Last changed" } dd { (ago(one.updated)) }
            dt { "Used" }
            dd {
                (one.uses) @if one.uses == 1 { " request" } @else { " requests" }
                @if let Some(used) = one.last_used { ", the last " (ago(used)) }
            }
        }
    }
}

/// What happened to it, the newest first.
fn happened(history: &[Event]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="History" {
            table {
                thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Who" } } }
                tbody {
                    @for event in history.iter().rev() {
                        tr {
                            td { (ago(event.at)) }
                            td { (event.what) @if event.times > 1 { ", " (event.times) " times in a row" } }
                            td { @match &event.by { Some(by) => (by), None => { span .soft { "Keyhole" } } } }
                        }
                    }
                }
            }
        }
    }
}

/// A workflow by its name, and the way to it for who can open it.
fn link(visitor: &Visitor, workflow: &str) -> Markup {
    let own = workflow.split_once('/').is_some_and(|(owner, _)| owner == visitor.member.id.as_str());
    html! {
        @if own || visitor.is_admin() { a href=(format!("/workflows/{workflow}")) { (workflow) } } @else { (workflow) }
    }
}

/// The scopes that its workflows need, and whether they were granted: first those that were not.
fn needs(visitor: &Visitor, one: &AccountView) -> Markup {
    let mut all: Vec<&Need> = one.needs.iter().collect();
    all.sort_by_key(|need| need.granted != Some(false));
    let rows = Room::new(NEEDS).rows(NEEDS, all, |need| row_of_need(visitor, need));
    html! {
        ul {
            @for row in &rows { (row) }
            @if rows.len() < one.needs.len() {
                li { "and " (one.needs.len() - rows.len()) " more: " code { "keyhole accounts show " (one.id) } }
            }
        }
        @if one.needs.iter().any(|need| need.granted == Some(false)) {
            @if one.owner == visitor.member.id { p { a href=(format!("/accounts/{}/reconnect", one.id)) { "Reconnect to grant them" } } }
            @else { p .soft { "Its owner, " (one.owner) ", is asked for them when they reconnect it." } }
        }
    }
}

fn row_of_need(visitor: &Visitor, need: &Need) -> Markup {
    html! {
        li {
            code { (need.scope) } " for "
            @for (at, workflow) in need.workflows.iter().take(NEEDING).enumerate() {
                @if at > 0 { ", " } (link(visitor, workflow))
            }
            @if need.workflows.len() > NEEDING { " and " (need.workflows.len() - NEEDING) " more" }
            " "
            @match need.granted {
                Some(true) => { span .mark .good { "granted" } }
                Some(false) => { span .mark .wait { "not granted" } }
                None => { span .soft { "whether it was granted is not known" } }
            }
        }
    }
}

fn activity(one: &AccountView, page: &Page, used: &Markup) -> Markup {
    html! {
        @if page.uses.is_empty() && page.before.is_some() {
            p .soft { "None of the " (LOOKS) " newest records of the audit is of it." }
            p { a href=(format!("/audit?account={}", one.id)) { "Look further back" } }
        } @else if page.uses.is_empty() { p .soft { "Nothing that you may see has used it." } }
        @else {
            (used)
            p { a href=(format!("/audit?account={}", one.id)) { "All of it, with filters" } }
        }
    }
}

pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = posted.visitor;
    let tested = routes::accounts::test(State(api.clone()), visitor.caller.clone(), Path(id.clone())).await;
    let notice = match tested {
        Ok(axum::Json(Tested { works: Some(true), .. })) => {
            html! { div .notice .good role="status" { p { "It works: the service takes its credentials." } } }
        }
        Ok(axum::Json(Tested { works: Some(false), reason, .. })) => html! {
            div .notice .bad role="alert" {
                p { strong { "The service does not take its credentials." } }
                @if let Some(reason) = reason { p { (reason) } }
            }
        },
        Ok(axum::Json(Tested { works: None, reason, .. })) => html! {
            div .notice .wait role="status" {
                p { "Whether it works can't be told." } @if let Some(reason) = reason { p { (reason) } }
            }
        },
        Err(problem) if problem.code().is_server_error() || problem.is("not-there") => return Err(problem.into()),
        Err(problem) => alert(&problem),
    };
    shown(&api, &visitor, &id, notice).await
}

pub(super) async fn ask_name(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let one = found(&api, &visitor, &id).await?;
    let content = name_form(&visitor, &one, &one.nickname, None);
    Ok(frame::page(&visitor, Part::Accounts, "Rename", content))
}

fn name_form(visitor: &Visitor, one: &AccountView, name: &str, problem: Option<&Problem>) -> Markup {
    let at = format!("/accounts/{}", one.id);
    html! {
        p .crumb { a href=(at) { (one.nickname) } }
        div .head { h1 { "Rename" } }
        @if let Some(problem) = problem { (alert(problem)) }
        form .card method="post" {
            (visitor.key())
            label for="nickname" { "Nickname" }
            input #nickname name="nickname" value=(name) required maxlength="100" aria-describedby="nickname-help";
            small #nickname-help { "Workflows that name it by its nickname must be changed, too; those deployed already go on." }
            div .buttons { button .act { "Rename" } a href=(at) { "Cancel" } }
        }
    }
}

pub(super) async fn rename(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let one = found(&api, visitor, &id).await?;
    let nickname = posted.one("nickname").unwrap_or("").to_owned();
    let to = Body(Rename { nickname: nickname.clone() });
    match routes::accounts::rename(State(api.clone()), visitor.caller.clone(), Path(id), to).await {
        Ok(_) => Ok(Redirect::to(&format!("/accounts/{}?done=renamed", one.id)).into_response()),
        Err(problem) => {
            let content = name_form(visitor, &one, &nickname, Some(&problem));
            Ok(frame::again(visitor, Part::Accounts, &problem, "Rename", content))
        }
    }
}

pub(super) async fn ask_delete(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let one = found(&api, &visitor, &id).await?;
    let at = format!("/accounts/{}", one.id);
    let content = html! {
        p .crumb { a href=(at) { (one.nickname) } }
        div .head { h1 { "Delete " (one.nickname) "?" } }
        form .card method="post" {
            (visitor.key())
            p { "Its credentials are erased here, and revoked at " (title_of(&api, &one.app)) " where that is possible. \
                 This can't be undone." }
            @if one.workflows.is_empty() { p { "No workflow uses it." } }
            @else {
                p { strong { "These workflows stop working:" } }
                ul {
                    @for workflow in one.workflows.iter().take(NAMED) { li { (workflow) } }
                    @if one.workflows.len() > NAMED { li { "and " (one.workflows.len() - NAMED) " more" } }
                }
            }
            div .buttons { button .bad { "Delete the account" } a href=(at) { "Cancel" } }
        }
    };
    Ok(frame::page(&visitor, Part::Accounts, "Delete", content))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = posted.visitor;
    let deleted = routes::accounts::delete(State(api.clone()), visitor.caller.clone(), Path(id)).await?.0;
    let Some(why) = deleted.upstream_error else {
        return Ok(Redirect::to("/accounts?done=deleted").into_response());
    };
    let content = html! {
        div .head { h1 { "Deleted here, and not revoked" } }
        div .notice .wait role="alert" {
            p { (deleted.nickname) " is deleted here. The service did not revoke its tokens: do that there." }
            p { (why) }
        }
        p { a href="/accounts" { "Go to your accounts" } }
    };
    Ok(frame::page(&visitor, Part::Accounts, "Deleted", content))
}
