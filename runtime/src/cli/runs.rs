//! `keyhole runs`: what became of the events that workflows were given.

use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Cell, Color};
use jiff::{SignedDuration, Timestamp};
use keyhole::engine::LogLine;
use keyhole::server::model::{ErrorView, RetryRun, RunDetail, RunView, RunsQuery, StartedRun, StepView, TriedView};
use keyhole_host_api::broker::Brokered;
use reqwest::Method;

use super::audit::parse_since;
use super::client::{Acting, Client};
use super::error::{Error, Result};
use super::output::{self, Output, style};
use super::run::log_line;
use super::settings::{AsMember, EgressFlags, Settings};

/// How often it looks whether there is more of a run.
const LOOK: Duration = Duration::from_millis(500);

/// List runs, look into them, end them and repeat them
#[derive(Subcommand, Debug)]
pub enum Runs {
    /// List the runs of your workflows, the newest first
    List {
        /// Only this workflow's
        #[arg(long)]
        workflow: Option<String>,
        /// Only these: queued, running, waiting, ok, failed or cancelled
        #[arg(long, value_parser = ["queued", "running", "waiting", "ok", "failed", "cancelled"])]
        status: Option<String>,
        /// Only those that came since then: 2h, 3d, 2026-03-01, or a whole timestamp. One that was made up for came when
        /// it was due
        #[arg(long, value_name = "WHEN", value_parser = parse_since)]
        since: Option<Timestamp>,
        /// Only those that came before then
        #[arg(long, value_name = "WHEN", value_parser = parse_since)]
        until: Option<Timestamp>,
        /// Only those before this run, for the next page
        #[arg(long, value_name = "RUN")]
        before: Option<String>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Show a run: its event, and each step's values, requests and log
    Show {
        /// The run's id
        run: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Show the log of a run's steps
    Logs {
        /// The run's id
        run: String,
        /// Go on until the run has ended
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// End a run
    Cancel {
        /// The run's id
        run: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Run the same event once more, by the workflow as it is now
    Retry {
        /// The run's id
        run: String,
        /// Print the new run's id and don't wait for its end
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        as_member: AsMember,
        #[command(flatten)]
        egress: EgressFlags,
    },
}

impl Runs {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let egress = match &self {
            Self::Retry { egress, .. } => egress.clone(),
            _ => EgressFlags::default(),
        };
        let client = Client::open(settings, &egress).await?;
        match self {
            Self::List { workflow, status, since, until, before, limit, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let query = RunsQuery { workflow, status, since, until, before, limit };
                let (mut runs, mut older): (Vec<RunView>, _) = client.page(Some(&by), &["runs"], &query).await?;
                // A program is not told where to go on, and takes what there is for all.
                while out.json
                    && runs.len() < limit as usize
                    && let Some(last) = older.take()
                {
                    let rest = RunsQuery { before: Some(last), limit: limit - runs.len() as u32, ..query.clone() };
                    let (more, next): (Vec<RunView>, _) = client.page(Some(&by), &["runs"], &rest).await?;
                    runs.extend(more);
                    older = next;
                }
                out.either(&runs, || list(&runs, older.as_deref()))
            }
            Self::Show { run, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let detail: RunDetail = client.get(Some(&by), &["runs", &run]).await?;
                out.either(&detail, || text(&detail))
            }
            Self::Logs { run, follow, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                logs(&client, &by, &run, follow, out).await
            }
            Self::Cancel { run, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let ended: StartedRun = client.ask(Method::POST, Some(&by), &["runs", &run, "cancel"]).await?;
                out.either(&ended, || format!("the run {run} is being ended"))
            }
            Self::Retry { run, no_wait, as_member, .. } => {
                let by = client.acting(&as_member, settings).await?;
                let started: StartedRun = client
                    .send(Method::POST, Some(&by), &["runs", &run, "retry"], &RetryRun { wait: !no_wait })
                    .await?;
                if no_wait {
                    return out.either(&started, || format!("started the run {}", started.run));
                }
                show_at_end(&client, &by, &started.run, out).await
            }
        }
    }
}

/// Waits until the run has ended, and shows it. Fails if it did.
pub async fn show_at_end(client: &Client, by: &Acting, run: &str, out: Output) -> Result {
    let detail = loop {
        let detail: RunDetail = client.get(Some(by), &["runs", run]).await?;
        if detail.run.ended.is_some() || detail.run.waits_for.is_some() || waits_long(&detail.run) {
            break detail;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = super::interrupt() => {
                client.leave().await;
                return Err(Error::interrupted());
            }
        }
    };
    if out.json {
        out.document(&detail)?;
    } else {
        out.line(text(&detail))?;
    }
    match detail.run.status.as_str() {
        "ok" => Ok(()),
        _ if waits_long(&detail.run) => {
            out.note("the run goes on in keyhole serve when its resume URL is called, or its time is over");
            Ok(())
        }
        _ if out.json => Err(Error::said()),
        status => {
            let message = detail.run.error.map_or_else(|| format!("the run is {status}"), |error| error.message);
            Err(Error::new(message).at(format!("run {run}")))
        }
    }
}

/// Whether it may be long until somebody calls the URL that it waits for.
fn waits_long(run: &RunView) -> bool {
    let soon = Timestamp::now() + SignedDuration::from_mins(1);
    run.waits_for_call && run.waits_until.is_none_or(|until| until > soon)
}

/// How much of a run's log was printed.
#[derive(Default)]
pub struct Printed {
    /// Of so many steps, all of it.
    steps: usize,
    /// When the last attempt at the one after them began of which something was printed. Of those before it, all was.
    attempt: Option<Timestamp>,
    /// Of that one, so many lines.
    lines: usize,
}

impl Printed {
    /// Prints what is new.
    pub fn more(&mut self, detail: &RunDetail, out: Output) -> Result {
        for step in detail.steps.iter().skip(self.steps) {
            self.of_all(&step.earlier, out)?;
            self.of(&step.name, step.started, &step.log, out)?;
            (self.attempt, self.lines) = (None, 0);
        }
        self.steps = detail.steps.len();
        self.of_all(&detail.tried, out)?;
        match &detail.live {
            Some(live) => self.of(&live.step, live.started, &live.log, out),
            None => Ok(()),
        }
    }

    fn of_all(&mut self, tried: &[TriedView], out: Output) -> Result {
        tried.iter().try_for_each(|tried| self.of(&tried.step, tried.started, &tried.log, out))
    }

    /// Prints what is new of the attempt that began at `started`.
    fn of(&mut self, step: &str, started: Timestamp, log: &[LogLine], out: Output) -> Result {
        if self.attempt.is_some_and(|last| started < last) {
            return Ok(());
        }
        if self.attempt != Some(started) {
            (self.attempt, self.lines) = (Some(started), 0);
        }
        for line in log.iter().skip(self.lines) {
            match out.json {
                true => out.line(serde_json::json!({ "step": step, "line": line }).to_string())?,
                false => out.line(format!("{}{step}{:#} {}", style::DIM, style::DIM, log_line(line)))?,
            }
        }
        // Of an attempt that is over, less may be kept than was seen.
        self.lines = self.lines.max(log.len());
        Ok(())
    }
}

async fn logs(client: &Client, by: &Acting, run: &str, follow: bool, out: Output) -> Result {
    let mut printed = Printed::default();
    loop {
        let detail: RunDetail = client.get(Some(by), &["runs", run]).await?;
        printed.more(&detail, out)?;
        if !follow || detail.run.ended.is_some() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = super::interrupt() => return Ok(()),
        }
    }
}

/// Where a run is, and that its owner can do something about it.
fn status(run: &RunView) -> String {
    match run.waits_for {
        Some(_) => format!("{}: reconnect needed", run.status),
        None => run.status.clone(),
    }
}

fn colored(run: &RunView) -> Cell {
    let cell = Cell::new(status(run));
    match run.status.as_str() {
        "ok" => cell.fg(Color::Green),
        "failed" => cell.fg(Color::Red),
        "waiting" | "cancelled" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

/// The runs, and where to go on if there may be older ones.
fn list(runs: &[RunView], older: Option<&str>) -> String {
    let dim = |text: String| format!("{}{text}{:#}", style::DIM, style::DIM);
    let more = older.map(|last| dim(format!("there may be older ones: add --before {last}")));
    if runs.is_empty() {
        let none = if more.is_some() { "none of the newest runs fits" } else { "no run fits" };
        return [dim(none.to_owned())].into_iter().chain(more).collect::<Vec<_>>().join("\n");
    }
    let mut table = output::table(&["run", "workflow", "status", "cause", "accepted", "took", "error"]);
    for run in runs {
        table.add_row([
            Cell::new(&run.id),
            Cell::new(&run.workflow),
            colored(run),
            Cell::new(&run.cause),
            Cell::new(output::local(run.accepted)),
            Cell::new(took(run)),
            Cell::new(output::one_line(run.error.as_ref().map_or("", |error| &error.message), 100)),
        ]);
    }
    let mut text = output::table_text(&mut table);
    text.extend(more.map(|more| format!("\n{more}")));
    text
}

pub fn took(run: &RunView) -> String {
    let took = run.started.zip(run.ended).map(|(started, ended)| ended.duration_since(started));
    took.and_then(|took| Duration::try_from(took).ok()).map(output::duration).unwrap_or_default()
}

fn text(detail: &RunDetail) -> String {
    let run = &detail.run;
    let mut pairs = vec![
        ("run", run.id.clone()),
        ("workflow", format!("{} of {}, version {}", run.workflow, run.owner, run.version)),
        ("status", status(run)),
        ("cause", run.cause.clone()),
        ("accepted", output::local(run.accepted)),
    ];
    if run.ended.is_some() {
        pairs.push(("took", took(run)));
    }
    if let Some(until) = run.waits_until {
        let or = if run.waits_for_call { ", or until its resume URL is called" } else { "" };
        pairs.push(("waits until", format!("{}{or}", output::local(until))));
    }
    if let Some(account) = &run.waits_for {
        pairs.push(("waits for", format!("the account {account} to be reconnected")));
    }
    if let Some(other) = &run.waits_for_run {
        pairs.push(("waits for", format!("the run {other}")));
    }
    if let Some(error) = &run.error {
        pairs.push(("error", output::visible(&error.message).into_owned()));
    }
    if let Some(exit) = &detail.exit {
        pairs.push(("ended early", output::visible(exit).into_owned()));
    }
    pairs.push(("event", output::one_line(detail.event.get(), 400)));
    let mut text = output::pairs(&pairs);
    for step in &detail.steps {
        text += "\n\n";
        text += &step_text(step);
    }
    if let Some(last) = detail.tried.last() {
        text += &format!("\n\n{}{}{:#}  not done yet", style::BOLD, last.step, style::BOLD);
        detail.tried.iter().for_each(|tried| text += &tried_text(tried));
    }
    text
}

fn label(label: &str, value: &str) -> String {
    format!("\n  {}{label}{:#} {value}", style::DIM, style::DIM)
}

/// What an attempt asked and logged, and why it failed.
fn did(requests: &[Brokered], log: &[LogLine], error: Option<&ErrorView>) -> String {
    let mut text = String::new();
    for request in requests {
        let status = request.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let reason = request.reason.as_deref().map(|reason| format!(": {}", output::one_line(reason, 200)));
        let target = output::visible(&format!("{}{}", request.host, request.path)).into_owned();
        text += &label("request", &format!("{} {target} {status}{}", request.method, reason.unwrap_or_default()));
    }
    for entry in log {
        text += &label("log", &log_line(entry));
    }
    if let Some(error) = error {
        text += &label("error", &output::visible(&error.message));
        for frame in error.trace.as_deref().unwrap_or_default().lines() {
            text += &label("     ", &output::visible(frame));
        }
    }
    text
}

/// An attempt that was not a step's last.
fn tried_text(tried: &TriedView) -> String {
    let took = output::duration(Duration::from_millis(tried.duration_ms));
    label("attempt", &format!("{}, {took}", tried.attempt)) + &did(&tried.requests, &tried.log, tried.error.as_ref())
}

/// A step of a run, as people read it.
pub fn step_text(step: &StepView) -> String {
    let took = output::duration(Duration::from_millis(step.duration_ms));
    let attempts = if step.attempts > 1 { format!(", attempt {}", step.attempts) } else { String::new() };
    let mut text = format!("{}{}{:#}  {}, {took}{attempts}", style::BOLD, step.name, style::BOLD, step.status);
    if !step.earlier.is_empty() {
        step.earlier.iter().for_each(|tried| text += &tried_text(tried));
        text += &label("attempt", &step.attempts.to_string());
    }
    let mut line = |name: &str, value: &str| text += &label(name, value);
    for (name, value) in &step.props {
        line("prop", &format!("{}: {}", output::visible(name), output::one_line(&value.to_string(), 200)));
    }
    for (name, value) in &step.exports {
        line("export", &format!("{}: {}", output::visible(name), output::one_line(value.get(), 200)));
    }
    if let Some(value) = &step.return_value {
        line("returned", &output::one_line(value.get(), 400));
    }
    text + &did(&step.requests, &step.log, step.error.as_ref())
}
