//! Workflows: what they are, how their last runs ended, and which account each step uses. Everything but that a workflow
//! exists is its owner's alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyhole_host_api::accounts::{Health, Row};
use maud::{Markup, html};
use toml_edit::{DocumentMut, Item, Value};

use super::accounts::Search;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{ago, matches, of_page, pages, title_of};
use super::runs::{dots, rows};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{NewRun, NewWorkflow, RunView, RunsQuery, SetWorkflow, WorkflowView};
use crate::server::problem::Problem;
use crate::server::routes;
use crate::workflow::DIGEST;
use crate::workflow::history::{Of, Page};
use crate::workflow::record::{PlannedStep, Version, WorkflowId};
use crate::workflow::scopes;

/// Runs of each workflow that the list tells of.
const MARKS: usize = 12;
/// Accounts that one choice lists. Of more, one is named.
const CHOICES: usize = 100;
/// Runs that a workflow's page lists.
const RUNS: u32 = 10;

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
                api.runner.history().list(&of, Page { before: None, limit: MARKS, looks: MARKS }, |_| true).await?.runs
            }
            false => Vec::new(),
        };
        shown.push((one, runs.into_iter().map(RunView::from).collect::<Vec<_>>()));
    }
    let content = html! {
        div .head { h1 { "Workflows" } }
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
            div #list {
                p .soft role="status" { (all.len()) @if all.len() == 1 { " workflow" } @else { " workflows" } }
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
                    (one.trigger) " · " (one.steps.len()) @if one.steps.len() == 1 { " step" } @else { " steps" }
                    @if one.owner != visitor.member.id.as_str() { " · " (one.owner) }
                    @if let Some(about) = &one.description { " · " (about) }
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

fn address(one: &WorkflowView) -> String {
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
async fn shown(
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
            @if let Some(about) = &one.description { p { (about) } }
            dl .facts {
                dt { "Owner" } dd { (one.owner) }
                dt { "Started by" } dd { (one.trigger) }
                @if let Some(next) = one.next { dt { "Next" } dd { (ago(next)) } }
                @if let Some(hook) = &one.hook { dt { "Its address" } dd .copy { code { (hook) } } }
                dt { "Version" } dd { (one.version) ", deployed " (ago(one.deployed)) }
            }
        }
        @if let Some(version) = &version {
            h2 { "Steps and their accounts" }
            (links(api, visitor, &one, version, &accounts))
            h2 { "Runs" }
            @if runs.is_empty() { p .soft { "It has not run yet." } }
            @else {
                (rows(&runs))
                p { a href=(format!("/runs?workflow={}", one.name)) { "All of its runs" } }
            }
            (start(visitor, &to, "Run it now", "{}", None))
            h2 { "File" }
            details open[draft.is_some()] {
                summary { "workflow.toml" }
                form method="post" action=(format!("{to}/file")) {
                    (visitor.key())
                    input type="hidden" name="version" value=(one.version);
                    label for="file" { "The file" }
                    textarea #file name="file" rows="24" spellcheck="false" { (draft.unwrap_or(&version.file)) }
                    p .soft { "A component that it names must have been deployed before; a new one is deployed from a terminal." }
                    div .buttons { button .act { "Deploy" } }
                }
            }
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

/// Which account each app prop uses, to be chosen from those that the owner may use.
fn links(api: &Api, visitor: &Visitor, one: &WorkflowView, version: &Version, accounts: &[Row]) -> Markup {
    let to = address(one);
    let any = version.steps.iter().any(|step| !step.links.is_empty());
    html! {
        form .card method="post" action=(format!("{to}/links")) {
            (visitor.key())
            input type="hidden" name="version" value=(one.version);
            ol {
                @for (at, step) in version.steps.iter().enumerate() {
                    li {
                        strong { (step.name) } " " span .soft { (short(&step.uses)) }
                        @for (prop, link) in &step.links {
                            @let id = format!("link-{at}-{prop}");
                            @let fitting = || accounts.iter().filter(|one| one.usable && one.app() == link.app);
                            @let there = link.account.as_ref().is_some_and(|id| fitting().any(|one| one.id() == id));
                            @let linked = link.account.as_ref().and_then(|id| accounts.iter().find(|one| one.id() == id));
                            @let lacking = linked.map(|one| scopes::lacking(&link.scopes, one.scopes())).unwrap_or_default();
                            label for=(id) { (prop) " " span .soft { "(" (title_of(api, &link.app)) ")" } }
                            @if fitting().nth(CHOICES).is_some() {
                                input id=(id) name=(format!("{at}.{prop}")) value=[&link.account] autocomplete="off"
                                    placeholder="nickname or id";
                            } @else { select id=(id) name=(format!("{at}.{prop}")) {
                                @match &link.account {
                                    None => { option value="" selected { "none" } }
                                    Some(id) if !there => {
                                        option value=(id) selected { (id) " (you may not use it)" }
                                    }
                                    Some(_) => {}
                                }
                                @for one in fitting() {
                                    option value=(one.id()) selected[link.account.as_ref() == Some(one.id())] {
                                        (one.nickname())
                                        @if *one.owner() != visitor.member.id { " (" (one.owner()) "’s)" }
                                        @if *one.health() != Health::Ok { " – reconnect needed" }
                                    }
                                }
                            } }
                            @if let Some(account) = linked.filter(|_| !lacking.is_empty()) {
                                p {
                                    span .mark .wait { "not granted" } " " (lacking.join(", ")) " – "
                                    a href=(format!("/accounts/{}", account.id())) { "see the account" }
                                }
                            }
                        }
                    }
                }
            }
            @if any { div .buttons { button .act { "Save and deploy" } } }
            @else { p .soft { "No step uses an account." } }
        }
    }
}

/// A component's digest as far as a person can tell it from another.
fn short(uses: &str) -> &str {
    match uses.len() {
        64.. => &uses[..12],
        _ => uses,
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

async fn owned(
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
    Ok(Redirect::to("/workflows").into_response())
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
                (start(visitor, &to, "Run it now", text, Some(&problem)))
            };
            return Ok(frame::again(visitor, Part::Workflows, &problem, &at.1, content));
        }
    };
    let (caller, new) = (posted.visitor.caller.clone(), NewRun { event: Some(event), wait: false });
    let (_, started) = routes::runs::start(State(api), caller, Path(at), Body(new)).await?;
    Ok(Redirect::to(&format!("/runs/{}", started.run)).into_response())
}

/// Puts the accounts that were chosen into the file, and deploys it.
pub(super) async fn set_links(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (one, version) = owned(&api, &posted.visitor, &at).await?;
    must_be_of(&posted, &one)?;
    let mut file = parsed(&version.file)?;
    for (number, step) in version.steps.iter().enumerate() {
        for (prop, link) in &step.links {
            let chosen = posted.one(&format!("{number}.{prop}"));
            if chosen != link.account.as_ref().map(|id| id.as_str())
                && let Some(chosen) = chosen
            {
                *links_of(&mut file, number)?.get(prop)? = chosen.into();
            }
        }
    }
    deploy(&api, &posted, &at, &version, file.to_string()).await
}

/// The table `links` of a step.
struct Links<'f>(&'f mut Item);

impl<'f> Links<'f> {
    fn get(self, prop: &str) -> Result<&'f mut Item, Problem> {
        let table = self.0.as_table_like_mut().ok_or_else(odd)?;
        if table.get(prop).is_none() {
            table.insert(prop, Item::Value(Value::from("")));
        }
        let Self(item) = self;
        item.get_mut(prop).ok_or_else(odd)
    }
}

fn links_of(file: &mut DocumentMut, step: usize) -> Result<Links<'_>, Problem> {
    let step = file.get_mut("steps").and_then(|steps| steps.get_mut(step)).ok_or_else(odd)?;
    let table = step.as_table_like_mut().ok_or_else(odd)?;
    if table.get("links").is_none() {
        table.insert("links", Item::Value(Value::InlineTable(toml_edit::InlineTable::new())));
    }
    step.get_mut("links").map(Links).ok_or_else(odd)
}

fn odd() -> Problem {
    Problem::conflict("the file has its links in a form that is not changed here").help("change the file itself")
}

fn parsed(file: &str) -> Result<DocumentMut, Problem> {
    file.parse().map_err(|error: toml_edit::TomlError| Problem::wrong(error.to_string()))
}

pub(super) async fn set_file(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (one, version) = owned(&api, &posted.visitor, &at).await?;
    // Browsers send lines' ends as CR LF.
    let file = posted.raw("file").unwrap_or("").replace("\r\n", "\n");
    if let Err(problem) = must_be_of(&posted, &one) {
        let content = shown(&api, &posted.visitor, &at, Some(&file), alert(&problem)).await?;
        return Ok(frame::again(&posted.visitor, Part::Workflows, &problem, &at.1, content));
    }
    deploy(&api, &posted, &at, &version, file).await
}

/// Refuses what was chosen or written on a page of another version: it may have had other steps.
fn must_be_of(posted: &Posted, one: &WorkflowView) -> Result<(), Problem> {
    if posted.one("version") == Some(one.version.to_string().as_str()) {
        return Ok(());
    }
    Err(Problem::conflict("another version was deployed in the meantime, perhaps by you in another window")
        .help("this is how it is now; nothing of yours was deployed"))
}

/// Deploys `file` in the place of `version`, with its components.
async fn deploy(
    api: &Arc<Api>,
    posted: &Posted,
    at: &(String, String),
    version: &Version,
    file: String,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let problem = match named(&file, &at.1) {
        Err(problem) => problem,
        Ok(()) => {
            let (components, files) = (components(version)?, files(api, version).await?);
            let new = NewWorkflow { file: file.clone(), components, files, check: false };
            match routes::workflows::deploy(State(api.clone()), visitor.caller.clone(), Body(new)).await {
                Ok(deployed) => {
                    let to = format!("{}?done=deployed", address(&deployed.0.workflow));
                    return Ok(Redirect::to(&to).into_response());
                }
                Err(problem) => problem,
            }
        }
    };
    let place = html! { (alert(&problem)) @if let Some(place) = &problem.place { p .soft { "At " (place) } } };
    let content = shown(api, visitor, at, Some(&file), place).await?;
    Ok(frame::again(visitor, Part::Workflows, &problem, &at.1, content))
}

/// Refuses a file that is another workflow's: it would be put in that one's place.
fn named(file: &str, name: &str) -> Result<(), Problem> {
    let parsed = parsed(file)?;
    match parsed.get("name").and_then(Item::as_str) {
        Some(other) if other != name => {
            Err(Problem::wrong(format!("the file is named '{other}', and this workflow '{name}'"))
                .help("a workflow keeps its name; deploy another one from a terminal"))
        }
        _ => Ok(()),
    }
}

/// The files that were deployed with `version`.
async fn files(api: &Api, version: &Version) -> Result<BTreeMap<String, String>, Problem> {
    let mut files = BTreeMap::new();
    for file in version.steps.iter().filter_map(|step| step.file.as_ref()) {
        let bytes = api.workflows.work().files.get(file).await?;
        files.insert(file.path.clone(), STANDARD.encode(bytes));
    }
    Ok(files)
}

/// The component that each path in the file of `version` led to.
fn components(version: &Version) -> Result<BTreeMap<String, String>, Problem> {
    let file = parsed(&version.file)?;
    let uses = |step: usize| file.get("steps")?.get(step)?.get("uses")?.as_str();
    let paths = version.steps.iter().enumerate().filter_map(|(number, step): (usize, &PlannedStep)| {
        let path = uses(number).filter(|path| *path != step.uses && !path.starts_with(DIGEST))?;
        Some((path.to_owned(), step.uses.trim_start_matches(DIGEST).to_owned()))
    });
    Ok(paths.collect())
}
