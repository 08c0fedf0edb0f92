//! Where the log's settings come from.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::Settings;

/// What is said on standard error of what goes on, and how.
#[derive(Args, Clone, Copy, Debug)]
pub struct LogFlags {
    /// How much to say on standard error of what goes on [default: warn]
    #[arg(long = "log-level", global = true, env = "KEYHOLE_LOG", value_name = "LEVEL", value_enum)]
    level: Option<Level>,

    /// How to say it [default: text]
    #[arg(long = "log-format", global = true, env = "KEYHOLE_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    format: Option<Format>,
}

/// What the file says of it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogFile {
    level: Option<Level>,
    format: Option<Format>,
}

/// What is grave enough to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What an operator should look at, too.
    #[default]
    Warn,
    /// What was done, too.
    Info,
    /// How, too.
    Debug,
    /// Everything.
    Trace,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object each.
    Json,
}

/// The log, as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is said.
    pub level: Level,
    /// And how.
    pub format: Format,
}

impl Settings {
    /// The log, as flags, variables and the file have it.
    pub fn log(&self) -> Log {
        let flags = &self.global.log;
        Log {
            level: flags.level.or(self.log.level).unwrap_or_default(),
            format: flags.format.or(self.log.format).unwrap_or_default(),
        }
    }
}
