//! What is kept of one step of a run: while it runs, and when it is over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyhole_host_api::broker::Brokered;
use keyhole_host_api::store::records::Record;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{RunError, Tried, Waits};
use crate::engine::LogLine;

/// What the step that runs has logged so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Live {
    /// The step's name.
    pub step: String,
    /// The how manieth attempt it is.
    #[serde(default)]
    pub attempt: u32,
    /// When that began.
    #[serde(default)]
    pub started: Timestamp,
    /// Its log.
    pub log: Vec<LogLine>,
}

impl Record for Live {
    const FOLDER: &'static str = "live";
    const VERSION: u32 = 1;
}

/// What became of one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step's name.
    pub name: String,
    /// What became of it.
    pub status: StepStatus,
    /// The values of its props, rendered.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub props: Map<String, Value>,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_value: Option<Box<RawValue>>,
    /// What it exported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exports: BTreeMap<String, Box<RawValue>>,
    /// Its log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// Whether lines are missing from the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_cut: bool,
    /// What it asked of the world. The audit has the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Brokered>,
    /// When its last attempt began.
    pub started: Timestamp,
    /// Milliseconds that its last attempt took.
    pub duration_ms: u64,
    /// Attempts at it.
    pub attempts: u32,
    /// The last of those before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Tried>,
    /// What the run waits for after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Waits>,
    /// The most memory that it had, in bytes.
    #[serde(default)]
    pub peak_memory: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
}

impl StepRecord {
    /// That of the how manieth attempt, as it begins.
    pub fn begun(name: &str, attempts: u32, started: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            status: StepStatus::Ok,
            props: Map::new(),
            return_value: None,
            exports: BTreeMap::new(),
            log: Vec::new(),
            log_cut: false,
            requests: Vec::new(),
            started,
            duration_ms: 0,
            attempts,
            earlier: Vec::new(),
            pause: None,
            peak_memory: 0,
            error: None,
        }
    }
}

impl Record for StepRecord {
    const FOLDER: &'static str = "progress";
    const VERSION: u32 = 1;
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It returned a value.
    Ok,
    /// Its condition did not hold.
    Skipped,
    /// It failed, and is not tried again.
    Failed,
    /// Somebody ended the run before it was done.
    Cancelled,
}

impl StepStatus {
    /// The word that the API and the CLI have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
