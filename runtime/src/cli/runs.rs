//! `keyhole runs`: what became of the events that workflows were given.

use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Cell, Color};
use jiff::{SignedDuration, Timestamp};
use keyhole::engine::LogLine;
use keyhole::server::model::{RetryRun, RunDetail, RunView, RunsQuery, StartedRun, StepView};
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
        /// Only since then: 2h, 3d, 2026-03-01, or a whole timestamp
        #[arg(long, value_name = "WHEN", value_parser = parse_since)]
        since: Option<Timestamp>,
        /// Only before then
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
                let runs: Vec<RunView> = client.query(Some(&by), &["runs"], &query).await?;
                out.either(&runs, || list(&runs))
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
    /// Of the one after them, so many lines.
    lines: usize,
}

impl Printed {
    /// Prints what is new.
    pub fn more(&mut self, detail: &RunDetail, out: Output) -> Result {
        let print = |step: &str, line: &LogLine| match out.json {
            true => out.line(serde_json::json!({ "step": step, "line": line }).to_string()),
            false => out.line(format!("{}{step}{:#} {}", style::DIM, style::DIM, log_line(line))),
        };
        for step in detail.steps.iter().skip(self.steps) {
            step.log.iter().skip(self.lines).try_for_each(|line| print(&step.name, line))?;
            self.lines = 0;
        }
        self.steps = detail.steps.len();
        if let Some(live) = &detail.live {
            // Fewer than before: another attempt.
            self.lines = if live.log.len() < self.lines { 0 } else { self.lines };
            live.log.iter().skip(self.lines).try_for_each(|line| print(&live.step, line))?;
            self.lines = live.log.len();
        }
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

fn colored(status: &str) -> Cell {
    let cell = Cell::new(status);
    match status {
        "ok" => cell.fg(Color::Green),
        "failed" => cell.fg(Color::Red),
        "waiting" | "cancelled" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

fn list(runs: &[RunView]) -> String {
    if runs.is_empty() {
        return format!("{}no run fits{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["run", "workflow", "status", "cause", "accepted", "took", "error"]);
    for run in runs {
        table.add_row([
            Cell::new(&run.id),
            Cell::new(&run.workflow),
            colored(&run.status),
            Cell::new(&run.cause),
            Cell::new(output::local(run.accepted)),
            Cell::new(took(run)),
            Cell::new(output::one_line(run.error.as_ref().map_or("", |error| &error.message), 100)),
        ]);
    }
    output::table_text(&mut table)
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
        ("status", run.status.clone()),
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
    text
}

/// A step of a run, as people read it.
pub fn step_text(step: &StepView) -> String {
    let took = output::duration(Duration::from_millis(step.duration_ms));
    let attempts = if step.attempts > 1 { format!(", attempt {}", step.attempts) } else { String::new() };
    let mut text = format!("{}{}{:#}  {}, {took}{attempts}", style::BOLD, step.name, style::BOLD, step.status);
    let mut line = |label: &str, value: &str| text += &format!("\n  {}{label}{:#} {value}", style::DIM, style::DIM);
    for (name, value) in &step.props {
        line("prop", &format!("{}: {}", output::visible(name), output::one_line(&value.to_string(), 200)));
    }
    for (name, value) in &step.exports {
        line("export", &format!("{}: {}", output::visible(name), output::one_line(value.get(), 200)));
    }
    if let Some(value) = &step.return_value {
        line("returned", &output::one_line(value.get(), 400));
    }
    for request in &step.requests {
        let status = request.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let reason = request.reason.as_deref().map(|reason| format!(": {}", output::one_line(reason, 200)));
        let target = output::visible(&format!("{}{}", request.host, request.path)).into_owned();
        line("request", &format!("{} {target} {status}{}", request.method, reason.unwrap_or_default()));
    }
    for entry in &step.log {
        line("log", &log_line(entry));
    }
    if let Some(error) = &step.error {
        line("error", &output::visible(&error.message));
        for frame in error.trace.as_deref().unwrap_or_default().lines() {
            line("     ", &output::visible(frame));
        }
    }
    text
}
