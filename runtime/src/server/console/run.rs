//! One run: what each of its steps was given, did and left. It is its workflow's owner's alone; what it shows came from
//! the engine with labels in the place of secrets.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::broker::Brokered;
use keyhole_host_api::broker::audit::Decision;
use maud::{Markup, html};

use super::audit_table::{seen_accounts, tail};
use super::frame::{self, Part, Wrong};
use super::parts::{exact, lasted, size, when};
use super::room::{PIECE, Room, brief, laid_out, more};
use super::runs::{mark, took, workflows};
use super::session::{Posted, Visitor};
use super::workflows::start;
use crate::engine::LogLine;
use crate::server::Api;
use crate::server::extract::{Body, Path};
use crate::server::model::{ErrorView, RetryRun, RunDetail, RunView, StepView};
use crate::server::problem::Problem;
use crate::server::routes;

/// Bytes of steps, events, values, requests and logs that the page shows in all.
const SHOWN: usize = 70_000;
/// Bytes of an error's message, and of its trace.
const TOLD: usize = 5_000;
/// Characters of one line of a log.
const LINE: usize = 1_000;
/// Characters of where a request went.
const ADDRESS: usize = 600;

/// What the page links to, as far as the visitor can open it.
struct Links {
    accounts: HashSet<String>,
    /// The workflow, unless it was deleted.
    workflow: Option<String>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let detail = detail(&api, &visitor, &id).await?;
    let run = &detail.run;
    let used = detail.steps.iter().flat_map(|step| &step.requests).filter_map(|one| one.account.as_deref());
    let links = Links {
        accounts: seen_accounts(&api, &visitor, used.chain(run.waits_for.as_deref())).await?,
        workflow: workflows(&api, &visitor)
            .await?
            .contains(&run.workflow)
            .then(|| format!("/workflows/{}/{}", run.owner, run.workflow)),
    };
    let under_way = run.ended.is_none();
    // In the order of what one can't do without.
    let mut room = Room::new(SHOWN);
    let rows = room.rows(SHOWN, &detail.steps, |one| step(one, &detail.steps, &more()));
    let shown = &detail.steps[..rows.len()];
    let facts = facts(run, detail.exit.as_deref(), &links, &mut room);
    let event = room.part(|room| room.json(detail.event.get()));
    let again = links.workflow.as_deref().map(|to| again(&visitor, to, &detail, &mut room));
    let live = detail.live.as_ref().map(|live| {
        let newest = room.part(|room| newest(&live.log, room));
        html! { div .card { p { strong { (live.step) } " " (mark("running")) } (newest.unwrap_or_else(more)) } }
    });
    let insides = insides(shown, run, &links, &mut room);
    let content = html! {
        p .crumb {
            a href="/runs" { "Runs" } " · "
            @match &links.workflow {
                Some(to) => { a href=(to) { (run.workflow) } }
                None => { (run.workflow) }
            }
        }
        div .head {
            div { h1 { "Run " (tail(&run.id)) } span #said role="status" data-live { (mark(&run.status)) } }
            div #does data-live { (does(&visitor, run, links.workflow.is_some())) }
        }
        @if under_way { p #stale .wrong role="alert" {} }
        div #live data-live data-events=[under_way.then(|| format!("/runs/{}/events", run.id))] {
            (facts)
            h2 { "Steps" }
            @if detail.steps.is_empty() && detail.live.is_none() { p .soft { "No step has ended yet." } }
            @for (one, inside) in shown.iter().zip(&insides) { (step(one, &detail.steps, inside)) }
            @if shown.len() < detail.steps.len() { p .soft { "and " (detail.steps.len() - shown.len()) " more steps" } (more()) }
            @if let Some(live) = &live { (live) }
            h2 { "Event" }
            (event.unwrap_or_else(more))
        }
        @match &again {
            Some(again) => { (again) }
            None => { p .soft { "Its workflow is deleted, so it can’t be run again." } }
        }
        p #whole .soft tabindex="-1" {
            "Its id: " code { (run.id) } ". Everything of it: " a href=(format!("/runs/{}/run.json", run.id)) { "as a file" }
            ", or in a terminal with " code { "keyhole --json runs show " (run.id) } "."
        }
    };
    Ok(frame::page(&visitor, Part::Runs, &format!("Run {}", tail(&run.id)), content))
}

pub(super) async fn detail(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<RunDetail, Problem> {
    Ok(routes::runs::show(State(api.clone()), visitor.caller.clone(), Path(id.to_owned())).await?.0)
}

/// Everything of a run, as the API has it.
pub(super) async fn whole(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let detail = detail(&api, &visitor, &id).await?;
    let text = serde_json::to_string_pretty(&detail).map_err(|error| Problem::internal(&error))?;
    Ok(frame::file("application/json", &format!("run-{}.json", detail.run.id), text))
}

/// What can be done with it.
fn does(visitor: &Visitor, run: &RunView, is_deployed: bool) -> Markup {
    html! {
        @if run.ended.is_none() {
            form method="post" action=(format!("/runs/{}/cancel", run.id)) { (visitor.key()) button #cancel .bad { "Cancel" } }
        } @else if is_deployed {
            form method="post" action=(format!("/runs/{}/retry", run.id)) { (visitor.key()) button { "Run again" } }
        }
    }
}

/// A form with the event to be edited. A part of one that is too long would be another event.
fn again(visitor: &Visitor, workflow: &str, detail: &RunDetail, room: &mut Room) -> Markup {
    let (event, is_whole) = laid_out(detail.event.get(), PIECE);
    let form = is_whole.then(|| start(visitor, workflow, "Run again with another event", &event, None));
    form.filter(|form| room.holds(form)).unwrap_or_else(|| {
        html! {
            p .soft {
                "The event is too long to be edited here. "
                @if detail.run.ended.is_some() { "“Run again” takes it as it is. " }
                "With another one: " code { "keyhole workflows run " (detail.run.workflow) " --event event.json" }
            }
        }
    })
}

fn facts(run: &RunView, exit: Option<&str>, links: &Links, room: &mut Room) -> Markup {
    let error = run.error.as_ref().map(|error| room.part(|room| failure(error, room)).unwrap_or_else(more));
    let exit = exit.map(|exit| room.text(exit, TOLD));
    html! {
        div .card {
            @if let Some(error) = &error { (error) }
            dl .facts {
                dt { "Workflow" } dd { (run.owner) "/" (run.workflow) ", version " (run.version) }
                dt { "Started by" } dd { (run.cause) }
                dt { "Accepted" } dd { (when(run.accepted)) }
                @if let Some(took) = took(run) { dt { "Took" } dd { (lasted(took)) } }
                @if let Some(exit) = exit { dt { "Ended early" } dd { (exit) } }
                @if let Some(account) = &run.waits_for {
                    dt { "Waits for" }
                    dd {
                        @if links.accounts.contains(account) {
                            a href=(format!("/accounts/{account}")) { "an account to be reconnected" }
                        } @else { "an account to be reconnected" }
                    }
                }
                @if run.waits_for_call { dt { "Waits for" } dd { "a call of its resume URL" } }
                @if let Some(other) = &run.waits_for_run {
                    dt { "Waits for" } dd { a href=(format!("/runs/{other}")) { "the run " (tail(other)) } }
                }
                @if let Some(until) = run.waits_until { dt { "Waits until" } dd { (when(until)) } }
            }
        }
    }
}

fn failure(error: &ErrorView, room: &mut Room) -> Markup {
    let message = room.text(&error.message, TOLD);
    let trace = error.trace.as_ref().map(|trace| room.text(trace, TOLD));
    let is_whole = message == error.message && trace == error.trace.as_deref();
    html! {
        div .notice .bad {
            p { strong { @if let Some(step) = &error.step { (step) ": " } (message) } " " span .mark { (error.kind) } }
            @if let Some(trace) = trace { pre { (trace) } }
            @if !is_whole { (more()) }
        }
    }
}

/// A step with what it did.
fn step(one: &StepView, all: &[StepView], inside: &Markup) -> Markup {
    html! {
        details .step id=(format!("step-{}", one.name)) open[one.error.is_some()] {
            summary {
                strong { (one.name) }
                (mark(&one.status))
                (bar(one, all))
                small { (lasted(one.duration_ms)) @if one.attempts > 1 { ", " (one.attempts) " attempts" } }
            }
            div { (inside) }
        }
    }
}

/// When a step ran, of the time of all of them.
fn bar(one: &StepView, all: &[StepView]) -> Markup {
    let begin = all.iter().map(|step| step.started.as_millisecond()).min().unwrap_or(0);
    let end_of = |step: &StepView| step.started.as_millisecond() + i64::try_from(step.duration_ms).unwrap_or(0);
    let whole = (all.iter().map(end_of).max().unwrap_or(0) - begin).max(1);
    let share = |ms: i64| ms as f64 * 100.0 / whole as f64;
    let from = share(one.started.as_millisecond() - begin).clamp(0.0, 99.0);
    let width = share(i64::try_from(one.duration_ms).unwrap_or(0)).clamp(1.0, 100.0 - from);
    html! {
        svg .bar viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
            rect class=(one.status) x=(format!("{from:.2}")) width=(format!("{width:.2}")) height="4";
        }
    }
}

/// What each of the steps did, as far as there is room.
fn insides(steps: &[StepView], run: &RunView, links: &Links, room: &mut Room) -> Vec<Markup> {
    let mut insides = vec![html! {}; steps.len()];
    let mut order: Vec<usize> = (0..steps.len()).collect();
    // Those that failed first: somebody looks for why.
    order.sort_by_key(|at| steps[*at].error.is_none());
    for at in order {
        insides[at] = inside(&steps[at], run, links, room);
    }
    insides
}

fn inside(one: &StepView, run: &RunView, links: &Links, room: &mut Room) -> Markup {
    let (mut parts, mut is_whole) = (Vec::new(), true);
    let mut add = |fill: &dyn Fn(&mut Room) -> Markup| match room.part(fill) {
        Some(part) => parts.push(part),
        None => is_whole = false,
    };
    // What the whole run failed with stands above.
    let told = run.error.as_ref().is_some_and(|error| error.step.as_ref() == Some(&one.name));
    if let Some(error) = one.error.as_ref().filter(|_| !told) {
        add(&|room| failure(error, room));
    }
    if let Some(value) = &one.return_value {
        add(&|room| html! { h3 { "Returned" } (room.json(value.get())) });
    }
    for (name, value) in &one.exports {
        add(&|room| html! { h3 { "Exported " (name) } (room.json(value.get())) });
    }
    if !one.props.is_empty() {
        let props = serde_json::Value::Object(one.props.clone()).to_string();
        add(&|room| html! { h3 { "Props" } (room.json(&props)) });
    }
    if !one.log.is_empty() {
        add(&|room| html! { h3 { "Log" } (log(&one.log, one.log_cut, room)) });
    }
    if !one.requests.is_empty() {
        add(&|room| html! { h3 { "Requests" } (requests(one, links, room)) });
    }
    add(&|_| html! { p .soft { "Began " (exact(one.started)) ". Most memory: " (size(one.peak_memory)) } });
    html! {
        @for part in &parts { (part) }
        @if !is_whole { (more()) }
    }
}

fn log(lines: &[LogLine], is_cut: bool, room: &mut Room) -> Markup {
    let rows = room.rows(PIECE, lines, line);
    html! {
        div .log tabindex="0" role="region" aria-label="Log" {
            @for row in &rows { (row) }
            @if rows.len() < lines.len() { (more()) }
            @else if is_cut { div .soft { "… it wrote more than is kept" } }
        }
    }
}

/// The end of the log of a step that goes on.
fn newest(lines: &[LogLine], room: &mut Room) -> Markup {
    let rows = room.rows(PIECE, lines.iter().rev(), line);
    html! {
        div .log tabindex="0" role="region" aria-label="Log" {
            @if rows.len() < lines.len() { (more()) }
            @for row in rows.iter().rev() { (row) }
        }
    }
}

fn line(line: &LogLine) -> Markup {
    html! { div class=[level(line)] { (brief(&line.text, LINE)) } }
}

fn level(line: &LogLine) -> Option<&'static str> {
    use crate::engine::Level::{Debug, Error, Info, Warn};
    match line.level {
        Debug => Some("debug"),
        Info => None,
        Warn => Some("warn"),
        Error => Some("error"),
    }
}

fn requests(of: &StepView, links: &Links, room: &mut Room) -> Markup {
    let rows = room.rows(PIECE, &of.requests, |one| request(one, links));
    html! {
        div .scroll tabindex="0" role="region" aria-label=(format!("Requests of {}", of.name)) {
            table {
                thead { tr { th scope="col" { "Request" } th scope="col" { "Outcome" } th scope="col" .num { "Took" } } }
                tbody { @for row in &rows { (row) } }
            }
        }
        @if rows.len() < of.requests.len() { p .soft { "and " (of.requests.len() - rows.len()) " more" } (more()) }
    }
}

fn request(one: &Brokered, links: &Links) -> Markup {
    html! {
        tr {
            td {
                (one.method) " " (brief(&format!("{}{}", one.host, one.path), ADDRESS))
                @if let (Some(account), Some(app)) = (&one.account, &one.app) {
                    " "
                    @if links.accounts.contains(account) { a href=(format!("/accounts/{account}")) { (app) } } @else { (app) }
                }
            }
            td {
                @match (one.decision, one.status) {
                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                    (_, Some(status)) => { span .mark .bad { (status) } }
                    (_, None) => { span .mark .wait { "no answer" } }
                }
                @if let Some(reason) = &one.reason { " " (brief(reason, ADDRESS)) }
            }
            td .num { (lasted(u64::try_from(one.duration.as_millis()).unwrap_or(u64::MAX))) }
        }
    }
}

pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (caller, how) = (posted.visitor.caller.clone(), Body(RetryRun { wait: false }));
    let (_, started) = routes::runs::retry(State(api), caller, Path(id), how).await?;
    Ok(Redirect::to(&format!("/runs/{}", started.run)).into_response())
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let cancelled = routes::runs::cancel(State(api), posted.visitor.caller.clone(), Path(id)).await?;
    Ok(Redirect::to(&format!("/runs/{}", cancelled.run)).into_response())
}
