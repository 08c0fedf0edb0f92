//! What the runs of a workflow may take, and when a step that failed is tried again.
//!
//! These are kept with what was deployed, and one that an older version took must stay readable: that a value is out of
//! its range is told of a file, never of what is kept.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{duration, size};
use crate::engine::{MAX_DEADLINE, MAX_MEMORY};

/// Most runs of one workflow at once.
const MAX_CONCURRENCY: u32 = 10_000;
/// Most events of one workflow that wait.
const MAX_QUEUE: u32 = 1_000_000;
/// Most attempts at one step.
const MAX_ATTEMPTS: u32 = 50;

/// A key and what is wrong with its value.
type Fault = (&'static str, &'static str);

/// What the runs of a workflow may take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Runs at once; of one workflow at most 750 in one process, so that others run, too.
    #[schemars(range(min = 1, max = MAX_CONCURRENCY))]
    pub concurrency: u32,
    /// Runs that may begin in a minute: so many at once after a quiet one, and from then on evenly. What goes on after
    /// a wait is not counted. No limit if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub runs_per_minute: Option<u32>,
    /// Events that may wait, runs that an account holds among them. What comes beyond is refused (429).
    #[schemars(range(min = 1, max = MAX_QUEUE))]
    pub queue: u32,
    /// How long each step may take: `30s`, `2m`; at most 750 s.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Duration,
    /// How much memory each step may have: `256MiB`; at most 4 GiB, and no more than the operator allows.
    #[serde(with = "size")]
    #[schemars(schema_with = "size::schema")]
    pub memory: u64,
}

impl Limits {
    /// What is out of its range.
    pub(super) fn fault(&self) -> Option<Fault> {
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return Some(("concurrency", "a workflow may have 1 to 10,000 runs at once"));
        }
        if self.runs_per_minute == Some(0) {
            return Some(("runs_per_minute", "at least one run may begin in a minute; leave it out for no limit"));
        }
        if !(1..=MAX_QUEUE).contains(&self.queue) {
            return Some(("queue", "1 to 1,000,000 events may wait"));
        }
        step_fault(Some(self.timeout), Some(self.memory))
    }
}

/// What is out of its range of what one step may take.
pub(super) fn step_fault(timeout: Option<Duration>, memory: Option<u64>) -> Option<Fault> {
    if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > MAX_DEADLINE) {
        return Some(("timeout", "a step may take up to 750 s, and more than none"));
    }
    if memory.is_some_and(|memory| !(1..=MAX_MEMORY as u64).contains(&memory)) {
        return Some(("memory", "a step may have up to 4 GiB of memory, and more than none"));
    }
    None
}

impl Default for Limits {
    fn default() -> Self {
        let one = crate::engine::Limits::default();
        Self {
            concurrency: 32,
            runs_per_minute: None,
            queue: 100_000,
            timeout: one.deadline,
            memory: one.memory as u64,
        }
    }
}

/// When a step that failed is tried again. A breach of a limit never is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all.
    #[schemars(range(min = 1, max = MAX_ATTEMPTS))]
    pub attempts: u32,
    /// Before the second attempt. Each further wait is twice the one before, plus or minus a quarter by chance.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub wait: Duration,
    /// The longest wait.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub max_wait: Duration,
    /// Which failures. If left out, those that the step or the host says may pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<RetryOn>>,
}

impl Retry {
    /// What is out of its range.
    pub(super) fn fault(&self) -> Option<Fault> {
        (!(1..=MAX_ATTEMPTS).contains(&self.attempts)).then_some(("attempts", "a step may be tried 1 to 50 times"))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, wait: Duration::from_secs(1), max_wait: Duration::from_secs(300), on: None }
    }
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The step's own code decided so, or threw.
    Step,
    /// The service answered with an error, or not at all.
    Upstream,
    /// An account could not be used.
    Access,
    /// The host could not make the call.
    Host,
}
