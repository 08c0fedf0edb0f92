//! Workflows: what they are, how their last runs ended, and which account each step uses. Everything but that a workflow
//! exists is its owner's alone.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::accounts::Search;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{ago, matches, of_page, pages};
use super::room::{brief, weight};
use super::runs::{dots, rows};
use super::session::{Posted, Visitor};
use super::{workflow_file, workflow_links};
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{NewRun, RunView, RunsQuery, SetWorkflow, WorkflowView};
use crate::server::problem::Problem;
use crate::server::routes;
use crate::workflow::history::{Of, Page};
use crate::workflow::record::{Version, WorkflowId};

/// Runs of each workflow that the list tells of.
const MARKS: usize = 12;
/// Runs that a workflow's page lists.
const RUNS: u32 = 10;
/// Characters that a row of the list says of what a workflow does, and of what starts it.
const ABOUT: usize = 200;
const TRIGGER: usize = 80;
/// Characters of a description on the workflow's page.
const DESCRIPTION: usize = 500;
/// Longest text that a page has to be edited.
pub(super) const EDITED: usize = 40_000;
/// What stands in the place of a longer one that was not taken.
pub(super) const TOO_LONG: &str =
    "What you typed is too long to be shown again: your browser’s Back leads to where it stands still.";

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let mut all = routes::workflows::heads(&api, &visitor.caller).await?;
    let none = all.is_empty();
    all.retain(|one| matches(&search.q, &[&one.name, one.owner.as_str(), one.description.as_deref().unwrap_or("")]));
    let page = search.page.max(1);
    let mut shown = Vec::new();
    for one in routes::workflows::views(&api, &visitor.caller, of_page(&all, page))? {
        let own = one.owner == visitor.member.id.as_str();
        let runs = match own {
            true => {
                let of = Of::Workflow(WorkflowId(format!("{}/{}", one.owner, one.name)));
                api.runner
                    .history()
                    .list(&of, Page { before: None, limit: MARKS, looks: MARKS }, |run| run.is_of(&visitor.member))
                    .await?
                    .runs
            }
            false => Vec::new(),
        };
        shown.push((one, runs.into_iter().map(RunView::from).collect::<Vec<_>>()));
    }
    let content = html! {
        div .head { h1 { "Workflows" } }
        @if search.done == "deleted" {
            div .notice .good role="status" { p { "The workflow is deleted. The history of its runs stays." } }
        }
        @if none {
            div .card .empty {
                h2 { "No workflows yet" }
                p { "A workflow is a file: what starts it, and its steps. Write one, and deploy it from a terminal:" }
                pre { "keyhole workflows deploy workflow.toml" }
            }
        } @else {
            form .line role="search" action="/workflows" data-list="list" {
                div .search {
                    label for="q" { "Search" }
                    input #q name="q" type="search" value=(search.q) placeholder="name or owner" autocomplete="off";
                }
                button { "Search" }
            }
            p #found .soft role="status" { (all.len()) @if all.len() == 1 { " workflow" } @else { " workflows" } }
            div #list {
                @if !shown.is_empty() { ul .rows { @for (one, runs) in &shown { (row(&visitor, one, runs)) } } }
                (pages("/workflows", &search.q, page, all.len()))
            }
        }
    };
    Ok(frame::page(&visitor, Part::Workflows, "Workflows", content))
}

fn row(visitor: &Visitor, one: &WorkflowView, runs: &[RunView]) -> Markup {
    html! {
        li {
            (super::parts::icon(&one.name))
            div .what {
                a href=(address(one)) { (one.name) }
                small {
                    (brief(&one.trigger, TRIGGER)) " · " (one.steps.len()) @if one.steps.len() == 1 { " step" } @else { " steps" }
                    @if one.owner != visitor.member.id.as_str() { " · " (one.owner) }
                    @if let Some(about) = &one.description { " · " (brief(about, ABOUT)) }
                }
            }
            div .facts {
                (dots(runs))
                @if let Some(last) = runs.first() { small { "last run " (ago(last.accepted)) } }
                (state(one))
            }
        }
    }
}

fn state(one: &WorkflowView) -> Markup {
    html! { @if one.enabled { span .mark .good { "on" } } @else { span .mark { "off" } } }
}

pub(super) fn address(one: &WorkflowView) -> String {
    format!("/workflows/{}/{}", one.owner, one.name)
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(at): Path<(String, String)>,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let said = match search.done.as_str() {
        "deployed" => Some("The new version is deployed. Runs under way end on the one before."),
        "on" => Some("Its triggers are on."),
        "off" => Some("Its triggers are off. It can be started by hand."),
        _ => None,
    };
    let notice = html! { @if let Some(said) = said { div .notice .good role="status" { p { (said) } } } };
    let content = shown(&api, &visitor, &at, None, notice).await?;
    Ok(frame::page(&visitor, Part::Workflows, &at.1, content))
}

/// The workflow's page. `draft`: the text of its file as it was typed and not taken.
pub(super) async fn shown(
    api: &Arc<Api>,
    visitor: &Visitor,
    at: &(String, String),
    draft: Option<&str>,
    notice: Markup,
) -> Result<Markup, Problem> {
    let (one, version) = found(api, visitor, at).await?;
    let to = address(&one);
    let runs = match &version {
        Some(_) => {
            let query = RunsQuery {
                workflow: Some(format!("{}/{}", one.owner, one.name)),
                status: None,
                since: None,
                until: None,
                before: None,
                limit: RUNS,
            };
            routes::runs::list(State(api.clone()), visitor.caller.clone(), Query(query)).await?.0
        }
        None => Vec::new(),
    };
    let accounts = match &version {
        Some(_) => api.accounts.rows(&visitor.member.id).await?,
        None => Vec::new(),
    };
    let is_there = HashSet::from([one.name.clone()]);
    Ok(html! {
        p .crumb { a href="/workflows" { "Workflows" } }
        div .head {
            div { h1 { (one.name) } (state(&one)) }
            div {
                form method="post" action=(format!("{to}/state")) {
                    (visitor.key())
                    input type="hidden" name="enabled" value=(if one.enabled { "no" } else { "yes" });
                    button { @if one.enabled { "Turn off" } @else { "Turn on" } }
                }
                a .button .bad href=(format!("{to}/delete")) { "Delete" }
            }
        }
        (notice)
        div .card {
            @if let Some(about) = &one.description { p { (brief(about, DESCRIPTION)) } }
            dl .facts {
                dt { "Owner" } dd { (one.owner) }
                dt { "Started by" } dd { (brief(&one.trigger, ABOUT)) }
                @if let Some(next) = one.next { dt { "Next" } dd { (ago(next)) } }
                @if let Some(hook) = &one.hook { dt { "Its address" } dd .copy { code { (hook) } } }
                dt { "Version" } dd { (one.version) ", deployed " (ago(one.deployed)) }
            }
        }
        @if let Some(version) = &version {
            h2 { "Steps and their accounts" }
            (workflow_links::form(api, visitor, &one, version, &accounts))
            h2 { "Runs" }
            @if runs.is_empty() { p .soft { "It has not run yet." } }
            @else {
                (rows(&runs, &is_there))
                p { a href=(format!("/runs?workflow={}", one.name)) { "All of its runs" } }
            }
            (start(visitor, &to, "Run it now", "{}", None))
            h2 #file { "File" }
            (workflow_file::form(visitor, &one, version, draft))
        } @else { p .soft { "What it does, and its runs, are its owner's alone." } }
    })
}

/// A form that starts a run with an event.
pub(super) fn start(visitor: &Visitor, workflow: &str, title: &str, event: &str, problem: Option<&Problem>) -> Markup {
    html! {
        @if let Some(problem) = problem { (alert(problem)) }
        details .card open[problem.is_some()] {
            summary { (title) }
            form method="post" action=(format!("{workflow}/runs")) {
                (visitor.key())
                label for="event" { "Event (JSON)" }
                textarea #event name="event" rows="8" spellcheck="false" { (event) }
                div .buttons { button .act { "Run" } }
            }
        }
    }
}

/// The workflow as the visitor may see it; with the version that runs, if it is theirs.
async fn found(
    api: &Arc<Api>,
    visitor: &Visitor,
    at: &(String, String),
) -> Result<(WorkflowView, Option<Arc<Version>>), Problem> {
    let one = routes::workflows::show(State(api.clone()), visitor.caller.clone(), Path(at.clone())).await?.0;
    let own = one.owner == visitor.member.id.as_str();
    let id = WorkflowId::new(&visitor.member.id, &one.name);
    let version = if own { api.workflows.version(&id, one.version).await? } else { None };
    Ok((one, version))
}

pub(super) async fn owned(
    api: &Arc<Api>,
    visitor: &Visitor,
    at: &(String, String),
) -> Result<(WorkflowView, Arc<Version>), Problem> {
    match found(api, visitor, at).await? {
        (one, Some(version)) => Ok((one, version)),
        (one, None) => Err(Problem::not_allowed(format!("only its owner, {}, can do that", one.owner))),
    }
}

pub(super) async fn set_state(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let enabled = posted.one("enabled") == Some("yes");
    let (caller, set) = (posted.visitor.caller.clone(), Body(SetWorkflow { enabled }));
    let one = routes::workflows::set(State(api), caller, Path(at), set).await?.0;
    let done = if enabled { "on" } else { "off" };
    Ok(Redirect::to(&format!("{}?done={done}", address(&one))).into_response())
}

pub(super) async fn ask_delete(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(at): Path<(String, String)>,
) -> Result<Response, Wrong> {
    let (one, _) = found(&api, &visitor, &at).await?;
    let content = html! {
        p .crumb { a href=(address(&one)) { (one.name) } }
        div .head { h1 { "Delete " (one.name) "?" } }
        form .card method="post" {
            (visitor.key())
            p { "Its triggers end, and runs under way, too. The history of its runs stays. This can't be undone." }
            div .buttons { button .bad { "Delete the workflow" } a href=(address(&one)) { "Cancel" } }
        }
    };
    Ok(frame::page(&visitor, Part::Workflows, "Delete", content))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let _ = routes::workflows::delete(State(api), posted.visitor.caller.clone(), Path(at)).await?;
    Ok(Redirect::to("/workflows?done=deleted").into_response())
}

pub(super) async fn run(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let text = posted.one("event").unwrap_or("{}");
    let event = match serde_json::from_str(text) {
        Ok(event) => event,
        Err(error) => {
            let (visitor, to) = (&posted.visitor, format!("/workflows/{}/{}", at.0, at.1));
            let problem =
                Problem::wrong(format!("the event is not JSON: {error}")).help("correct it, and send it again");
            let content = html! {
                p .crumb { a href=(to) { (at.1) } }
                div .head { h1 { "Run " (at.1) } }
                @if weight(text) <= EDITED { (start(visitor, &to, "Run it now", text, Some(&problem))) }
                @else { (alert(&problem)) p .soft { (TOO_LONG) } }
            };
            return Ok(frame::again(visitor, Part::Workflows, &problem, &at.1, content));
        }
    };
    let (caller, new) = (posted.visitor.caller.clone(), NewRun { event: Some(event), wait: false });
    let (_, started) = routes::runs::start(State(api), caller, Path(at), Body(new)).await?;
    Ok(Redirect::to(&format!("/runs/{}", started.run)).into_response())
}
