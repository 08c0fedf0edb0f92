//! The step that starts another workflow of its owner's: what it asks, and which run that makes.
//!
//! A step may be begun twice, so the run that it starts has an id that follows from the step: the second start
//! finds the first.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::record::WorkflowId;

/// The names of its props, for the check at deploy.
pub const PROPS: [&str; 3] = ["name", "event", "wait"];
/// Most workflows that call one another in a chain.
pub const DEEP: u32 = 16;

/// What the step asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The workflow.
    pub name: String,
    /// Its event.
    #[serde(default)]
    pub event: Value,
    /// Whether the step ends when the run does, with what that returned.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

impl Asked {
    /// Reads the step's props.
    pub fn of(props: Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(props))
    }

    /// The event as it is kept.
    pub fn event(&self) -> Result<Box<RawValue>, serde_json::Error> {
        to_raw_value(&self.event)
    }
}

/// The id of the run that the step at `step` of the run `run` starts.
pub fn run_id(run: &str, step: usize, workflow: &WorkflowId) -> String {
    let hash = blake3::hash(format!("{run} {step} {workflow}").as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&hash.as_bytes()[..16]);
    let millis = run.parse::<ulid::Ulid>().map_or(0, |run| run.timestamp_ms());
    // A little later, so that it is listed after the run that started it.
    ulid::Ulid::from_parts(millis + 1, u128::from_le_bytes(random)).to_string()
}
