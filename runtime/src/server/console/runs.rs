//! Runs: the list of them, and what each step of one was given, did and left. Everything of a run is its workflow's
//! owner's alone; what it shows came from the engine with labels in the place of secrets.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::stream;
use keyhole_host_api::broker::Brokered;
use keyhole_host_api::broker::audit::Decision;
use keyhole_host_api::store::Revision;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::audit_table::tail;
use super::frame::{self, Part, Wrong};
use super::parts::{ago, lasted, size};
use super::session::{Posted, Visitor};
use super::workflows::start;
use crate::engine::LogLine;
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{ErrorView, RetryRun, RunDetail, RunView, RunsQuery, StepView, TriedView, status_of};
use crate::server::problem::Problem;
use crate::server::routes;

/// Runs on one page.
const ROWS: u32 = 50;
/// Runs that one page looks at, to find those with a status.
const LOOKS: usize = 2000;
/// Bytes of events, values and logs that a run's page shows in all: what is longer is for the terminal.
const SHOWN: usize = 56 << 10;
/// Longest single one of them.
const PIECE: usize = 12 << 10;
/// How often it is looked whether there is more to see.
const POLL: Duration = Duration::from_millis(400);
/// How long a browser follows before it has to ask again.
const FOLLOWED: Duration = Duration::from_secs(5 * 60);

const STATUSES: [&str; 6] = ["queued", "running", "waiting", "ok", "failed", "cancelled"];

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Search {
    workflow: String,
    status: String,
    before: String,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let query = RunsQuery {
        workflow: given(&search.workflow),
        status: given(&search.status).filter(|status| status_of(status).is_some()),
        since: None,
        before: given(&search.before),
        limit: ROWS,
    };
    let listed = routes::runs::page(&api, &visitor.caller, &query, LOOKS).await?;
    let older = listed.more.map(|last| {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("workflow", &search.workflow).append_pair("status", &search.status);
        format!("/runs?{}", pairs.append_pair("before", &last).finish())
    });
    let runs: Vec<RunView> = listed.runs.into_iter().map(RunView::from).collect();
    let content = html! {
        div .head { h1 { "Runs" } }
        form .line role="search" action="/runs" data-list="list" {
            div {
                label for="workflow" { "Workflow" }
                input #workflow name="workflow" value=(search.workflow) autocomplete="off";
            }
            div {
                label for="status" { "Status" }
                select #status name="status" {
                    option value="" { "any" }
                    @for status in STATUSES { option selected[search.status == status] { (status) } }
                }
            }
            button { "Show" }
        }
        div #list {
            @if runs.is_empty() && older.is_some() {
                p .soft role="status" { "None of the " (LOOKS) " runs that were looked at is such a run. There are older ones." }
            } @else if runs.is_empty() { p .soft role="status" { "There are no such runs." } }
            @else { (rows(&runs)) }
            @if older.is_some() || !search.before.is_empty() {
                nav .pages aria-label="Pages" {
                    span { @if !search.before.is_empty() { a href="/runs" { "Newest" } } }
                    span { @if let Some(older) = older { a href=(older) rel="next" { "Older" } } }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Part::Runs, "Runs", content))
}

/// Runs, as a table.
pub(super) fn rows(runs: &[RunView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Runs" {
            table {
                thead {
                    tr {
                        th scope="col" { "Run" } th scope="col" { "Workflow" } th scope="col" { "Status" }
                        th scope="col" { "Started by" } th scope="col" { "Accepted" } th scope="col" .num { "Took" }
                    }
                }
                tbody {
                    @for run in runs {
                        tr {
                            td { a href=(format!("/runs/{}", run.id)) { (tail(&run.id)) } }
                            td { a href=(format!("/workflows/{}/{}", run.owner, run.workflow)) { (run.workflow) } }
                            td {
                                (mark(&run.status))
                                @if run.waits_for.is_some() { " reconnect needed" }
                                @if let Some(error) = &run.error { br; small { (cut(&error.message, 160)) } }
                            }
                            td { (run.cause) }
                            td { (ago(run.accepted)) }
                            td .num { @if let Some(took) = took(run) { (lasted(took)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The last runs as small marks, the oldest first, as a person reads them.
pub(super) fn dots(runs: &[RunView]) -> Markup {
    let said = |word: &str| runs.iter().filter(|run| run.status == word).count();
    let told: Vec<String> = STATUSES
        .iter()
        .map(|word| (said(word), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    html! {
        @if !runs.is_empty() {
            span .dots role="img" aria-label=(format!("last runs: {}", told.join(", "))) {
                @for run in runs.iter().rev() {
                    svg viewBox="0 0 10 14" aria-hidden="true" {
                        rect class=(run.status) x="1" y=(if run.status == "ok" { "4" } else { "0" }) width="8" rx="2"
                            height=(if run.status == "ok" { "10" } else { "14" });
                    }
                }
            }
        }
    }
}

fn mark(status: &str) -> Markup {
    let class = match status {
        "ok" => "mark good",
        "failed" => "mark bad",
        "queued" | "waiting" => "mark wait",
        "running" => "mark wait moving",
        _ => "mark",
    };
    html! { span class=(class) { (status) } }
}

fn took(run: &RunView) -> Option<u64> {
    let passed = run.ended?.duration_since(run.started?);
    u64::try_from(passed.as_millis()).ok()
}

fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let detail = detail(&api, &visitor, &id).await?;
    let run = &detail.run;
    let workflow = format!("/workflows/{}/{}", run.owner, run.workflow);
    let mut room = Room(SHOWN);
    let under_way = run.ended.is_none();
    let content = html! {
        p .crumb { a href="/runs" { "Runs" } " · " a href=(workflow) { (run.workflow) } }
        div #live data-events=[under_way.then(|| format!("/runs/{}/events", run.id))] {
            div .head {
                div {
                    h1 { "Run " (tail(&run.id)) }
                    span role="status" { (mark(&run.status)) @if run.waits_for.is_some() { " reconnect needed" } }
                }
                div {
                    @if under_way {
                        form method="post" action=(format!("/runs/{}/cancel", run.id)) { (visitor.key()) button #cancel .bad { "Cancel" } }
                    } @else {
                        form method="post" action=(format!("/runs/{}/retry", run.id)) { (visitor.key()) button { "Run again" } }
                    }
                }
            }
            (facts(run, detail.exit.as_deref()))
            h2 { "Steps" }
            @if detail.steps.is_empty() && detail.live.is_none() { p .soft { "No step has ended yet." } }
            @for one in &detail.steps { (step(one, &detail, &mut room)) }
            @if let Some(last) = detail.tried.last() {
                div .card {
                    p { strong { (last.step) } " is not done yet" }
                    @for one in &detail.tried { (tried(one, &mut room)) }
                }
            }
            @if let Some(live) = &detail.live {
                div .card {
                    p {
                        strong { (live.step) } " " (mark("running"))
                        @if live.attempt > 1 { " " small { "attempt " (live.attempt) } }
                    }
                    (log(&live.log, false, &mut room))
                }
            }
            h2 { "Event" }
            (room.json(detail.event.get()))
        }
        (start(&visitor, &workflow, "Run again with another event", &event_to_edit(&detail), None))
        p .soft { "Its id: " code { (run.id) } ". Everything of it, in a terminal: " code { "keyhole runs show " (run.id) } }
    };
    Ok(frame::page(&visitor, Part::Runs, &format!("Run {}", tail(&run.id)), content))
}

async fn detail(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<RunDetail, Problem> {
    Ok(routes::runs::show(State(api.clone()), visitor.caller.clone(), Path(id.to_owned())).await?.0)
}

fn event_to_edit(detail: &RunDetail) -> String {
    let mut page = Page { text: Vec::new(), most: PIECE };
    match page.write_json(detail.event.get()) {
        Ok(()) => String::from_utf8_lossy(&page.text).into_owned(),
        // A part of it would be another event.
        Err(_) => "{}".to_owned(),
    }
}

fn facts(run: &RunView, exit: Option<&str>) -> Markup {
    html! {
        div .card {
            @if let Some(error) = &run.error { (failure(error)) }
            dl .facts {
                dt { "Workflow" } dd { (run.owner) "/" (run.workflow) ", version " (run.version) }
                dt { "Started by" } dd { (run.cause) }
                dt { "Accepted" } dd { (ago(run.accepted)) }
                @if let Some(took) = took(run) { dt { "Took" } dd { (lasted(took)) } }
                @if let Some(exit) = exit { dt { "Ended early" } dd { (exit) } }
                @if let Some(account) = &run.waits_for {
                    dt { "Waits for" } dd { a href=(format!("/accounts/{account}")) { "an account to be reconnected" } }
                }
                @if run.waits_for_call { dt { "Waits for" } dd { "a call of its resume URL" } }
                @if let Some(other) = &run.waits_for_run {
                    dt { "Waits for" } dd { a href=(format!("/runs/{other}")) { "the run " (tail(other)) } }
                }
                @if let Some(until) = run.waits_until { dt { "Waits until" } dd { (ago(until)) } }
            }
        }
    }
}

fn failure(error: &ErrorView) -> Markup {
    html! {
        div .notice .bad {
            p { strong { @if let Some(step) = &error.step { (step) ": " } (cut(&error.message, 4000)) } " " span .mark { (error.kind) } }
            @if let Some(trace) = &error.trace { pre { (cut(trace, 4000)) } }
        }
    }
}

fn step(one: &StepView, of: &RunDetail, room: &mut Room) -> Markup {
    // What the whole run failed with stands above.
    let told = of.run.error.as_ref().is_some_and(|error| error.step.as_ref() == Some(&one.name));
    html! {
        details .step id=(format!("step-{}", one.name)) open[one.error.is_some()] {
            summary {
                strong { (one.name) }
                (mark(&one.status))
                (bar(one, &of.steps))
                small { (lasted(one.duration_ms)) @if one.attempts > 1 { ", " (one.attempts) " attempts" } }
            }
            div {
                @if let Some(error) = one.error.as_ref().filter(|_| !told) { (failure(error)) }
                @if let Some(value) = &one.return_value { h3 { "Returned" } (room.json(value.get())) }
                @for (name, value) in &one.exports { h3 { "Exported " (name) } (room.json(value.get())) }
                @if !one.props.is_empty() {
                    h3 { "Props" } (room.json(&serde_json::Value::Object(one.props.clone()).to_string()))
                }
                @if !one.log.is_empty() { h3 { "Log" } (log(&one.log, one.log_cut, room)) }
                @if !one.requests.is_empty() { h3 { "Requests" } (requests(&one.name, &one.requests)) }
                p .soft { "Most memory: " (size(one.peak_memory)) }
                @for tried_before in &one.earlier { (tried(tried_before, room)) }
            }
        }
    }
}

/// An attempt that was not a step's last.
fn tried(one: &TriedView, room: &mut Room) -> Markup {
    html! {
        h3 { "Attempt " (one.attempt) " " small { (ago(one.started)) ", " (lasted(one.duration_ms)) } }
        @if let Some(error) = &one.error { (failure(error)) }
        @if !one.log.is_empty() { (log(&one.log, one.log_cut, room)) }
        @if !one.requests.is_empty() { (requests(&format!("{}, attempt {}", one.step, one.attempt), &one.requests)) }
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
            rect .back x="0" y="0" width="100" height="4";
            rect class=(one.status) x=(format!("{from:.2}")) y="0" width=(format!("{width:.2}")) height="4";
        }
    }
}

fn log(lines: &[LogLine], is_cut: bool, room: &mut Room) -> Markup {
    let mut shown = 0;
    let mut used = 0;
    for line in lines {
        used += line.text.len();
        if used > PIECE.min(room.0) {
            break;
        }
        shown += 1;
    }
    room.0 = room.0.saturating_sub(used);
    html! {
        div .log tabindex="0" role="region" aria-label="Log" {
            @for line in &lines[..shown] {
                div class=[level(line)] { (line.text) }
            }
            @if is_cut || shown < lines.len() { div .soft { "… there is more" } }
        }
    }
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

fn requests(step: &str, requests: &[Brokered]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(format!("Requests of {step}")) {
            table {
                thead { tr { th scope="col" { "Request" } th scope="col" { "Outcome" } th scope="col" .num { "Took" } } }
                tbody {
                    @for one in requests.iter().take(100) {
                        tr {
                            td {
                                (one.method) " " (one.host) (one.path)
                                @if let (Some(account), Some(app)) = (&one.account, &one.app) {
                                    " " a href=(format!("/accounts/{account}")) { (app) }
                                }
                            }
                            td {
                                @match (one.decision, one.status) {
                                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                                    (_, Some(status)) => { span .mark .bad { (status) } }
                                    (_, None) => { span .mark .wait { "no answer" } }
                                }
                                @if let Some(reason) = &one.reason { " " (reason) }
                            }
                            td .num { (lasted(u64::try_from(one.duration.as_millis()).unwrap_or(u64::MAX))) }
                        }
                    }
                }
            }
        }
        @if requests.len() > 100 { p .soft { "and " (requests.len() - 100) " more" } }
    }
}

/// What is left of what a page may show.
struct Room(usize);

impl Room {
    /// A value, for a person to read: what has no room is cut, and it says so.
    fn json(&mut self, text: &str) -> Markup {
        let mut page = Page { text: Vec::new(), most: PIECE.min(self.0) };
        let is_cut = page.write_json(text).is_err();
        let mut shown = String::from_utf8_lossy(&page.text).into_owned();
        if is_cut {
            shown.push_str("\n… there is more");
        }
        self.0 = self.0.saturating_sub(shown.len());
        html! { pre tabindex="0" { (shown) } }
    }
}

/// Takes so many bytes, and then no more: a value may be much longer when it is laid out.
struct Page {
    text: Vec<u8>,
    most: usize,
}

impl Page {
    fn write_json(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let mut to = serde_json::Serializer::pretty(self);
        serde_transcode::transcode(&mut serde_json::Deserializer::from_str(text), &mut to)
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.most - self.text.len();
        if room == 0 && !bytes.is_empty() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let taken = room.min(bytes.len());
        self.text.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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

/// Says when there is more to see of a run, as server-sent events, until it has ended.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Wrong> {
    let place = api.watchers.clone().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many at a time", "too many follow something here")
    })?;
    let steps = detail(&api, &visitor, &id).await?.steps.len();
    // The page may be older than this call, so that there is more to see already.
    let seen = [None, None, Some(Revision::MAX)];
    let until = tokio::time::Instant::now() + FOLLOWED;
    let watch = Watch { api, visitor, id, steps, seen: Some(seen), until, _place: place };
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new()).into_response())
}

struct Watch {
    api: Arc<Api>,
    visitor: Visitor,
    id: String,
    /// Steps that were done when it was last looked.
    steps: usize,
    /// What was there then. None once the run has ended.
    seen: Option<[Option<Revision>; 3]>,
    /// When the browser is to ask again, so that nobody has a place for ever.
    until: tokio::time::Instant,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        let mut stopping = self.api.stopping.subscribe();
        loop {
            let seen = self.seen?;
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep(POLL) => {}
            }
            // Asked each time: the session may have ended, and the member been removed.
            self.visitor.caller = self.visitor.caller.again(&self.api).await.ok()??;
            let now = self.api.runner.history().mark(&self.id, self.steps).await.ok()?;
            if now == seen {
                continue;
            }
            if now[0].is_none() {
                self.seen = None;
            } else {
                // Read only now, and once for each step that is done.
                self.steps = detail(&self.api, &self.visitor, &self.id).await.ok()?.steps.len();
                self.seen = Some(self.api.runner.history().mark(&self.id, self.steps).await.ok()?);
            }
            return Some(Event::default().event("changed").data("changed"));
        }
    }
}
