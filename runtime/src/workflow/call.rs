//! The step that starts another workflow of its owner's: what it asks.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// The names of its props, for the check at deploy.
pub const PROPS: [&str; 3] = ["name", "event", "wait"];
/// Most runs that lead to one another in a chain, by calls and by failures.
pub const DEEP: u32 = 16;
/// Most runs that one event leads to, unless the operator says otherwise. A chain may be short and fork at each step.
pub const MOST: u32 = 1000;

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
