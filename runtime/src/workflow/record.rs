//! What is kept of workflows and runs, one record each.
//!
//! An event that was accepted is one record, `pending/`, until its run has ended. The result of each step but the
//! last is a record of its own, written before the next step begins. Of a run that has ended there are two: a
//! short one for lists, a long one with everything. No record holds a credential or a placeholder: what steps
//! return comes from the engine with labels in their place.

mod step;
pub(super) mod tried;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::Spent;
use keyhole_host_api::members::{Member, MemberId};
use keyhole_host_api::store::records::Record;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::file::{Limits, Retry, Trigger};
use super::files::PlannedFile;
use crate::telemetry::Trace;

pub use step::{Live, StepRecord, StepStatus};
pub use tried::Tried;

/// A workflow as it stands: which version runs, and what is not in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workflow {
    /// On whose behalf it runs.
    pub owner: MemberId,
    /// Unique among its owner's.
    pub name: String,
    /// What it does, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version that new events run. Each deploy raises it.
    pub version: u64,
    /// When it was deployed.
    pub deployed: Timestamp,
    /// Whether its triggers are on.
    pub enabled: bool,
    /// When they were turned on again, if they were off since it was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_since: Option<Timestamp>,
    /// What makes the address of its HTTP trigger unguessable.
    pub hook: String,
    /// What starts it.
    pub trigger: Trigger,
    /// What its runs may take.
    pub limits: Limits,
    /// The accounts that its steps use.
    pub accounts: Vec<AccountId>,
    /// The scopes that its steps need of them, for those of which they say so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scopes: BTreeMap<AccountId, BTreeSet<String>>,
    /// The names of its steps, in order.
    pub steps: Vec<String>,
}

impl Workflow {
    /// Its place in the store: `owner/name`.
    pub fn id(&self) -> WorkflowId {
        WorkflowId(format!("{}/{}", self.owner, self.name))
    }

    /// Whether `member` deployed it: what is older than they are was another's, who bore the name before.
    pub fn is_of(&self, member: &Member) -> bool {
        self.owner == member.id && self.deployed >= member.added
    }
}

impl Version {
    /// Whether `member`, whose name its owner bore, deployed it. See [`Workflow::is_of`].
    pub fn is_of(&self, member: &Member) -> bool {
        self.deployed.is_none_or(|deployed| deployed >= member.added)
    }

    /// The scopes that its steps need of each account.
    pub fn scopes(&self) -> BTreeMap<AccountId, BTreeSet<String>> {
        let mut scopes: BTreeMap<AccountId, BTreeSet<String>> = BTreeMap::new();
        for link in self.steps.iter().flat_map(|step| step.links.values()) {
            if let Some(account) = link.account.as_ref().filter(|_| !link.scopes.is_empty()) {
                scopes.entry(account.clone()).or_default().extend(link.scopes.iter().cloned());
            }
        }
        scopes
    }
}

impl Record for Workflow {
    const FOLDER: &'static str = "workflows";
    const VERSION: u32 = 1;
}

/// `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkflowId(pub String);

impl WorkflowId {
    /// That of `owner`'s workflow `name`.
    pub fn new(owner: &MemberId, name: &str) -> Self {
        Self(format!("{owner}/{name}"))
    }

    /// The owner's name, and the workflow's.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One version of a workflow: what was deployed, and what runs. Never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The file.
    pub file: String,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
    /// The owner's workflow that is started when a run fails, or the URL that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    /// When it was deployed. Older versions of Keyhole did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Timestamp>,
}

impl Record for Version {
    const FOLDER: &'static str = "workflow-versions";
    const VERSION: u32 = 1;
}

/// A step as it was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name in the workflow.
    pub name: String,
    /// The component's digest, or [`super::file::HTTP_REQUEST`].
    pub uses: String,
    /// A template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Values with templates in them.
    pub props: Map<String, Value>,
    /// The account of each app prop, and the app that the prop declares.
    pub links: BTreeMap<String, PlannedLink>,
    /// Hosts opened to requests without a credential.
    pub allow_hosts: Vec<String>,
    /// Milliseconds that it may take.
    pub timeout_ms: u64,
    /// Bytes of memory that it may have.
    pub memory: u64,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How often a request of its is sent again by itself.
    #[serde(default)]
    pub retry_requests: u32,
    /// What its request sends, of the files beside the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PlannedFile>,
}

/// What an app prop is linked to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedLink {
    /// The app.
    pub app: String,
    /// The account. None for an app prop that is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Whether the step runs without one. Older versions of Keyhole did not note it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// The scopes that it needs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
}

/// What started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A request.
    Http,
    /// The clock; this was the time that it was for.
    Cron(Timestamp),
    /// A person.
    Manual,
    /// Another workflow's run that failed.
    Error {
        /// That run.
        run: String,
        /// How many failures have led to one another up to this one.
        depth: u32,
    },
    /// A person who wanted an earlier run again.
    Retry(String),
    /// A step of another workflow's run.
    Workflow {
        /// That run.
        run: String,
        /// How many workflows have called one another up to this one.
        depth: u32,
    },
}

impl Cause {
    /// How many runs have led to one another up to this one.
    pub fn depth(&self) -> u32 {
        match self {
            Self::Error { depth, .. } | Self::Workflow { depth, .. } => *depth,
            _ => 0,
        }
    }

    /// The word that the API and the CLI have for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Cron(_) => "cron",
            Self::Manual => "manual",
            Self::Error { .. } => "error",
            Self::Retry(_) => "retry",
            Self::Workflow { .. } => "workflow",
        }
    }
}

/// An event that was accepted and whose run has not ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version of it that runs.
    pub version: u64,
    /// What started it.
    pub cause: Cause,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When its first step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The event.
    pub event: Box<RawValue>,
    /// The process that runs it.
    pub instance: String,
    /// The step that the following counts are of: what was counted for one that is done is not the next one's.
    #[serde(default)]
    pub at: u32,
    /// Attempts at it that failed.
    #[serde(default)]
    pub attempts: u32,
    /// How it asked to be run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// The run that it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// The request that ended the last wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// What attempts that failed have used of the run's limits on requests.
    #[serde(default)]
    pub spent: Spent,
    /// Whether the process that accepted it runs nothing, and left it to others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// How often a process went away that had it, so that the step that is next may have been begun.
    #[serde(default)]
    pub cuts: u32,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// The last attempts at it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Whether somebody wants it to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The run that the event began, if calls and failures have led from that to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The trace that it is a part of, if spans are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

impl Pending {
    /// From now on, what is counted is of the step `at`.
    pub fn begin_step(&mut self, at: usize) {
        self.at = u32::try_from(at).unwrap_or(u32::MAX);
        (self.attempts, self.error, self.again, self.child, self.resumed) = (0, None, None, None, None);
        self.tried = Vec::new();
    }
}

impl Record for Pending {
    const FOLDER: &'static str = "pending";
    const VERSION: u32 = 1;
}

/// How many runs calls and failures have led to, from the run that one event began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// So many, itself not among them.
    pub runs: u32,
}

impl Record for Started {
    const FOLDER: &'static str = "started";
    const VERSION: u32 = 1;
}

/// How a step asked to be run again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Again {
    /// How often it did.
    pub times: u32,
    /// What it wants to find.
    pub value: Box<RawValue>,
}

/// A request that had a run go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resumed {
    /// The step that waited for it.
    pub step: u32,
    /// What came: `method`, `headers`, `query`, `body`.
    pub request: Box<RawValue>,
}

/// What keeps a run from going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// A time: a step's delay, or the next attempt.
    Until(Timestamp),
    /// An account that its owner must reconnect.
    Reconnect(AccountId),
    /// Somebody's call of a URL, or a time.
    Callback {
        /// The time.
        until: Timestamp,
        /// What the URL has in it that has the run go on, hashed.
        #[serde(alias = "token")]
        resume: String,
        /// And that which ends it. Nothing hashes to an empty one.
        #[serde(default)]
        cancel: String,
        /// The step that waits.
        step: u32,
    },
    /// A run that a step of it started.
    Run(String),
}

impl Waits {
    /// Until when, if there is a time.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Until(at) | Self::Callback { until: at, .. } => Some(*at),
            Self::Reconnect(_) | Self::Run(_) => None,
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// The step, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What kind of thing went wrong: a kind of failure, `limit`, `trapped`, `template`.
    pub kind: String,
    /// For a person.
    pub message: String,
    /// The step's own stack or source position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, not begun.
    Queued,
    /// Under way.
    Running,
    /// Until a time, or until an account is reconnected.
    Waiting,
    /// Every step returned, or one ended the workflow.
    Ok,
    /// A step failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl RunStatus {
    /// The word that the API and the CLI have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a run of this status has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }
}

/// A run, as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The run's id. Ids sort by time.
    pub id: String,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version of it that ran.
    pub version: u64,
    /// What started it.
    pub cause: Cause,
    /// Where it is.
    pub status: RunStatus,
    /// When its event was accepted.
    pub accepted: Timestamp,
    /// When its first step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Steps that were done.
    pub steps: u32,
    /// Bytes of what it left behind.
    #[serde(default)]
    pub bytes: u64,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

impl Run {
    /// Whether it is of a workflow of `member`'s, and was when its event was accepted: they may bear another's name.
    pub fn is_of(&self, member: &Member) -> bool {
        self.workflow.parts().0 == member.id.as_str() && self.accepted >= member.added
    }
}

impl Record for Run {
    const FOLDER: &'static str = "runs";
    const VERSION: u32 = 1;
}

/// What a run that has ended leaves behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    /// The event.
    pub event: Box<RawValue>,
    /// Each step that was done, failed or was broken off, in order.
    pub steps: Vec<StepRecord>,
    /// Of a run that is under way, the last attempts at the step that is next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// Why a step ended the workflow before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
}

impl Record for Details {
    const FOLDER: &'static str = "run-details";
    const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_kept_opens() {
        let pending = r#"{"workflow":"alice/w","version":1,"cause":"http","accepted":"2026-01-01T00:00:00Z",
            "event":{"a":1},"instance":"i"}"#;
        let pending: Pending = serde_json::from_str(pending).unwrap();
        assert_eq!((pending.trace, pending.root, pending.event.get()), (None, None, "{\"a\":1}"));
        let version = r#"{"file":"","steps":[{"name":"a","uses":"http-request","props":{},"links":{},"allow_hosts":[],
            "timeout_ms":1000,"memory":1}]}"#;
        let version: Version = serde_json::from_str(version).unwrap();
        assert!(version.deployed.is_none() && version.steps[0].file.is_none());
        // And the other way round: an older version reads what this one keeps.
        assert!(!serde_json::to_string(&version).unwrap().contains("null"));
    }
}
