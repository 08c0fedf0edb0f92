//! Workflows and runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::workflow::record::{Details, Live, Run, RunError, RunStatus, StepRecord, Tried, Waits, Workflow};

/// A workflow to deploy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkflow {
    /// The text of its file, TOML.
    pub file: String,
    /// The digest of the component that each `uses` in the file stands for, where that is a path.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    /// The files beside it that its requests send (`props.file`), by their paths: base64 of up to 1 MiB each, 4 MiB
    /// together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Only check it.
    #[serde(default)]
    pub check: bool,
}

/// What became of a deploy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeployedView {
    /// The workflow. Its version is the one before if it was only checked.
    pub workflow: WorkflowView,
    /// Whether it was deployed, or only checked.
    pub deployed: bool,
    /// What its owner should know, such as scopes that an account was not granted.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A workflow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowView {
    /// Its name, unique among its owner's.
    pub name: String,
    /// On whose behalf it runs.
    pub owner: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub description: Option<String>,
    /// The version that runs. Each deploy raises it.
    pub version: u64,
    /// When that was deployed.
    #[schema(value_type = String, format = DateTime)]
    pub deployed: Timestamp,
    /// Whether its triggers are on.
    pub enabled: bool,
    /// What starts it: `http`, a cron schedule, or `manual`.
    pub trigger: String,
    /// When the clock starts it next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub next: Option<Timestamp>,
    /// The address of its HTTP trigger, for its owner: a path if it is not known where the server is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hook: Option<String>,
    /// The ids of the accounts that its steps use.
    pub accounts: Vec<String>,
    /// Its steps.
    pub steps: Vec<String>,
    /// Its file, when one workflow is asked for by its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub file: Option<String>,
}

impl WorkflowView {
    /// `workflow` as its owner sees it, or somebody else.
    pub fn new(workflow: Workflow, as_owner: bool, now: Timestamp) -> Self {
        let trigger = &workflow.trigger;
        let mut words: Vec<String> = Vec::new();
        words.extend(trigger.http.as_ref().map(|_| "http".to_owned()));
        words.extend(trigger.cron.as_ref().map(|cron| format!("{} {}", cron.schedule, cron.time_zone)));
        if words.is_empty() {
            words.push("manual".to_owned());
        }
        let next = trigger.cron.as_ref().filter(|_| workflow.enabled).and_then(|cron| cron.next(now).ok());
        let hook = trigger.http.as_ref().filter(|_| as_owner).map(|_| hook_path(&workflow));
        Self {
            name: workflow.name,
            owner: workflow.owner.to_string(),
            description: workflow.description,
            version: workflow.version,
            deployed: workflow.deployed,
            enabled: workflow.enabled,
            trigger: words.join(", "),
            next,
            hook,
            accounts: workflow.accounts.iter().map(ToString::to_string).collect(),
            steps: workflow.steps,
            file: None,
        }
    }
}

/// Where the HTTP trigger of a workflow is.
pub fn hook_path(workflow: &Workflow) -> String {
    format!("/hooks/{}/{}/{}", workflow.owner, workflow.name, workflow.hook)
}

/// Turning a workflow's triggers on or off.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetWorkflow {
    /// Whether they are on.
    pub enabled: bool,
}

/// A workflow by its name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowName {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
}

/// A run to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewRun {
    /// The event.
    pub event: Option<Value>,
    /// Whether to wait for its end, for up to a minute.
    pub wait: bool,
}

/// How to run an event once more.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRun {
    /// Whether to wait for its end, for up to a minute.
    pub wait: bool,
}

/// A run of which there is no more to tell yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedRun {
    /// Its id.
    pub run: String,
    /// Where it is: `queued`, or how it ended if that was waited for.
    pub status: String,
}

/// A component that was deployed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ComponentView {
    /// Its digest: `blake3:` and this names it in a workflow's file.
    pub digest: String,
    /// Its bytes.
    pub bytes: usize,
    /// The name in its definition.
    pub name: String,
    /// The version in its definition.
    pub version: String,
}

/// Which runs to list.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// Only this workflow's: its name, or `OWNER/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Only those that are `queued`, `running`, `waiting`, `ok`, `failed` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only those that came since then. One that was made up for after an outage came when it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those that came before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Only those before this run: the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// At most so many, the newest first.
    #[serde(default = "some_runs")]
    #[param(default = 50, minimum = 1, maximum = 1000)]
    pub limit: u32,
}

const fn some_runs() -> u32 {
    50
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// Its id. Ids sort by time.
    pub id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's owner.
    pub owner: String,
    /// The version that ran.
    pub version: u64,
    /// What started it: `http`, `cron`, `manual`, `error` or `retry`.
    pub cause: String,
    /// Where it is: `queued`, `running`, `waiting`, `ok`, `failed` or `cancelled`.
    pub status: String,
    /// When its event was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted: Timestamp,
    /// When its first step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub ended: Option<Timestamp>,
    /// Steps that were done.
    pub steps: u32,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<ErrorView>,
    /// Until when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub waits_until: Option<Timestamp>,
    /// The account that must be reconnected before it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub waits_for: Option<String>,
    /// Whether a call of its resume URL has it go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_call: bool,
    /// The run that it waits for, which a step of it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub waits_for_run: Option<String>,
}

/// Why a run or a step failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub step: Option<String>,
    /// What kind of thing went wrong.
    pub kind: String,
    /// For a person.
    pub message: String,
    /// The step's own stack or source position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub trace: Option<String>,
}

impl From<RunError> for ErrorView {
    fn from(error: RunError) -> Self {
        Self { step: error.step, kind: error.kind, message: error.message, trace: error.trace }
    }
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let (owner, workflow) = run.workflow.parts();
        let waits_until = run.waits.as_ref().and_then(Waits::until);
        let waits_for_call = matches!(run.waits, Some(Waits::Callback { .. }));
        let (waits_for, waits_for_run) = match run.waits {
            Some(Waits::Reconnect(account)) => (Some(account.to_string()), None),
            Some(Waits::Run(run)) => (None, Some(run)),
            _ => (None, None),
        };
        Self {
            workflow: workflow.to_owned(),
            owner: owner.to_owned(),
            id: run.id,
            version: run.version,
            cause: run.cause.word().to_owned(),
            status: run.status.word().to_owned(),
            accepted: run.accepted,
            started: run.started,
            ended: run.ended,
            steps: run.steps,
            error: run.error.map(ErrorView::from),
            waits_until,
            waits_for,
            waits_for_call,
            waits_for_run,
        }
    }
}

/// A run with all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    /// The run.
    pub run: RunView,
    /// The event.
    #[schema(value_type = Value)]
    pub event: Box<RawValue>,
    /// Its steps, so far.
    pub steps: Vec<StepView>,
    /// Why a step ended the workflow before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exit: Option<String>,
    /// The last attempts at the step that is next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedView>,
    /// The step that runs, if it runs for longer than a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub live: Option<LiveView>,
}

impl RunDetail {
    /// What is known of `run`.
    pub fn new(run: Run, details: Details, live: Option<Live>) -> Self {
        let steps: Vec<_> = details.steps.into_iter().map(StepView::from).collect();
        let tried: Vec<_> = details.tried.into_iter().map(TriedView::from).collect();
        // What an attempt leaves there until the next one has logged something.
        let is_over = |live: &Live| {
            steps.iter().any(|step| step.name == live.step) || tried.iter().any(|tried| tried.started == live.started)
        };
        let live = live.filter(|live| run.ended.is_none() && !is_over(live));
        let live = live.map(|Live { step, attempt, started, log }| LiveView { step, attempt, started, log });
        Self { run: run.into(), event: details.event, steps, exit: details.exit, tried, live }
    }
}

/// A step that runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// Its name.
    pub step: String,
    /// The how manieth attempt it is.
    #[serde(default)]
    pub attempt: u32,
    /// When that began.
    #[serde(default)]
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// What it has logged so far.
    #[schema(value_type = Vec<Object>)]
    pub log: Vec<crate::engine::LogLine>,
}

/// What became of one step.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// `ok`, `skipped`, `failed`, or `cancelled` with its run.
    pub status: String,
    /// The values of its props.
    #[schema(value_type = Object)]
    pub props: serde_json::Map<String, Value>,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    pub return_value: Option<Box<RawValue>>,
    /// What it exported.
    #[schema(value_type = Object)]
    pub exports: BTreeMap<String, Box<RawValue>>,
    /// Its log.
    #[schema(value_type = Vec<Object>)]
    pub log: Vec<crate::engine::LogLine>,
    /// Whether lines are missing from it.
    pub log_cut: bool,
    /// What it asked of the world.
    #[schema(value_type = Vec<Object>)]
    pub requests: Vec<keyhole_host_api::broker::Brokered>,
    /// When its last attempt began.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// Milliseconds that its last attempt took.
    pub duration_ms: u64,
    /// Attempts at it.
    pub attempts: u32,
    /// The last of those before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<TriedView>,
    /// The most memory that it had, in bytes.
    pub peak_memory: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<ErrorView>,
}

impl From<StepRecord> for StepView {
    fn from(step: StepRecord) -> Self {
        Self {
            name: step.name,
            status: step.status.word().to_owned(),
            props: step.props,
            return_value: step.return_value,
            exports: step.exports,
            log: step.log,
            log_cut: step.log_cut,
            requests: step.requests,
            started: step.started,
            duration_ms: step.duration_ms,
            attempts: step.attempts,
            earlier: step.earlier.into_iter().map(TriedView::from).collect(),
            peak_memory: step.peak_memory,
            error: step.error.map(ErrorView::from),
        }
    }
}

/// An attempt at a step that was not its last: it failed, was held by an account, or asked to be made again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriedView {
    /// The step's name.
    pub step: String,
    /// Its number, from 1 on.
    pub attempt: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// Its log, up to 16 KiB.
    #[schema(value_type = Vec<Object>)]
    pub log: Vec<crate::engine::LogLine>,
    /// Whether lines are missing from it.
    pub log_cut: bool,
    /// What it asked of the world: the first 50.
    #[schema(value_type = Vec<Object>)]
    pub requests: Vec<keyhole_host_api::broker::Brokered>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<ErrorView>,
}

impl From<Tried> for TriedView {
    fn from(tried: Tried) -> Self {
        Self {
            step: tried.step,
            attempt: tried.attempt,
            started: tried.started,
            duration_ms: tried.duration_ms,
            log: tried.log,
            log_cut: tried.log_cut,
            requests: tried.requests,
            error: tried.error.map(ErrorView::from),
        }
    }
}

/// The status of this name.
pub fn status_of(word: &str) -> Option<RunStatus> {
    let all = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Ok,
        RunStatus::Failed,
        RunStatus::Cancelled,
    ];
    all.into_iter().find(|status| status.word() == word)
}
