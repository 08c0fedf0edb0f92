//! What became of one call into a component.
//!
//! Whatever is in here may be recorded, shown and sent on: no placeholder is in it, no
//! path of the host, and no frame of the host's stack.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use super::bindings::keyhole::step::types;
use super::json::Json;
use super::limits::{Limit, LimitHit, Limits};
use super::log::LogLine;
use super::state::Flow;

/// What became of one call into a component.
#[derive(Clone, Debug, Serialize)]
pub struct RunOutcome {
    /// The step's return value, or why there is none.
    #[serde(serialize_with = "result")]
    pub result: Result<Json, StepFailure>,
    /// What it exported, by name.
    pub exports: BTreeMap<String, Json>,
    /// Its log.
    pub log: Vec<LogLine>,
    /// Whether the log went over its limit, so that lines are missing.
    pub log_cut: bool,
    /// What it told the workflow.
    #[serde(skip)]
    pub flow: Flow,
    /// From the start of its instance to its end.
    #[serde(serialize_with = "millis", rename = "duration_ms")]
    pub duration: Duration,
    /// The most that its memories and tables held together, in bytes.
    pub peak_memory: usize,
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

fn result<S: Serializer>(result: &Result<Json, StepFailure>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape<'r> {
        ReturnValue(&'r Json),
        Error(&'r StepFailure),
    }
    match result {
        Ok(value) => Shape::ReturnValue(value).serialize(serializer),
        Err(failure) => Shape::Error(failure).serialize(serializer),
    }
}

/// Why a call gave no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepFailure {
    /// The step said so.
    Failed {
        /// What went wrong and what to do, in its author's words.
        message: String,
        /// What kind of thing went wrong.
        kind: FailureKind,
        /// Whether the same call may succeed later without a change.
        retry: bool,
        /// The step's own stack or source position.
        trace: Option<String>,
    },
    /// The step broke off: a panic, a bad memory access, a call that makes no sense.
    Trapped {
        /// What happened. A panic's text is in the log.
        message: String,
        /// Functions of the step, the innermost first, as far as it has names.
        trace: Vec<String>,
    },
    /// A limit was hit.
    Limit {
        /// Which.
        limit: Limit,
        /// Which, how large it is, and what to do.
        message: String,
    },
    /// The step returned something that is not JSON.
    BadResult {
        /// Where.
        message: String,
    },
    /// The step ended its own process instead of returning.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// The host could not make the call.
    Host {
        /// Why.
        message: String,
    },
}

/// What kind of thing went wrong, in the step's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The step's own code decided so, or threw.
    Step,
    /// The event or a prop has the wrong shape.
    Input,
    /// The service answered with an error, or not at all.
    Upstream,
    /// An account could not be used.
    Access,
    /// The broker refused a request.
    Refused,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { message, .. } => f.write_str(message),
            Self::Trapped { message, .. } => write!(f, "the step broke off: {message}"),
            Self::Limit { message, .. } => write!(f, "the step {message}"),
            Self::BadResult { message } => write!(f, "the step returned something that is not JSON: {message}"),
            Self::Exited { code } => {
                write!(f, "the step called exit({code}); a step ends by returning a value or an error")
            }
            Self::Host { message } => write!(f, "the step could not be run: {message}"),
        }
    }
}

impl std::error::Error for StepFailure {}

impl StepFailure {
    /// Whether the same call may succeed later without a change.
    pub fn retry(&self) -> bool {
        match self {
            Self::Failed { retry, .. } => *retry,
            Self::Host { .. } => true,
            Self::Trapped { .. } | Self::Limit { .. } | Self::BadResult { .. } | Self::Exited { .. } => false,
        }
    }

    pub(crate) fn limit(limit: Limit, limits: &Limits) -> Self {
        Self::Limit { limit, message: limits.describe(limit) }
    }

    /// Reads from wasmtime's error what happened. Nothing of its own text about the host is kept.
    pub(super) fn of(error: &wasmtime::Error, limits: &Limits) -> Self {
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        if let Some(LimitHit(limit)) = find(error) {
            return Self::limit(*limit, limits);
        }
        if let Some(ResourceTableError::Full) = find(error) {
            return Self::limit(Limit::Handles, limits);
        }
        if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) = find(error) {
            return Self::limit(Limit::Headers, limits);
        }
        if let Some(I32Exit(code)) = find(error) {
            return Self::Exited { code: *code };
        }
        if let Some(full) = find::<wasmtime::PoolConcurrencyLimitError>(error) {
            return Self::Host { message: full.to_string() };
        }
        let root = error.root_cause().to_string();
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return match trap {
                Trap::StackOverflow => Self::limit(Limit::Stack, limits),
                Trap::Interrupt => Self::limit(Limit::Deadline, limits),
                Trap::MemoryOutOfBounds if below_zero(error) => Self::limit(Limit::Stack, limits),
                trap => Self::Trapped { message: explain(*trap), trace: frames(backtrace) },
            };
        }
        // These two have no type of their own that could be asked for.
        if root.contains(FUEL) {
            // A call to the host has frames of the step around it, a return has not.
            let limit = if backtrace.is_some() { Limit::CallSize } else { Limit::ReturnValue };
            return Self::limit(limit, limits);
        }
        if root.contains(HANDLES) {
            return Self::limit(Limit::Handles, limits);
        }
        Self::Trapped { message: root, trace: frames(backtrace) }
    }
}

/// From wasmtime's message when more than `hostcall_fuel` bytes are passed.
const FUEL: &str = "fuel allocated for hostcalls has been exhausted";
/// From wasmtime's message when more than `max_component_handles` handles are made.
const HANDLES: &str = "store handle limit exceeded";
/// From wasmtime's message about the address of a bad memory access.
const FAULT: &str = "memory fault at wasm address 0x";

fn find<T: std::error::Error + Send + Sync + 'static>(error: &wasmtime::Error) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<T>()))
}

/// Whether an access went below address 0. Toolchains put a step's own stack at the
/// beginning of its memory, so that this is where recursion without end arrives.
fn below_zero(error: &wasmtime::Error) -> bool {
    const TOP: u64 = 1 << 32;
    const DEEPEST_FRAME: u64 = 64 << 20;
    error.chain().any(|cause| {
        let text = cause.to_string();
        let Some((_, address)) = text.split_once(FAULT) else { return false };
        let digits: String = address.chars().take_while(char::is_ascii_hexdigit).collect();
        u64::from_str_radix(&digits, 16).is_ok_and(|address| address >= TOP - DEEPEST_FRAME)
    })
}

fn explain(trap: Trap) -> String {
    match trap {
        Trap::UnreachableCodeReached => {
            "it panicked or aborted; what it said is in the log (wasm trap: unreachable)".to_owned()
        }
        trap => trap.to_string(),
    }
}

/// The names of the functions that were under way.
fn frames(backtrace: Option<&WasmBacktrace>) -> Vec<String> {
    let Some(backtrace) = backtrace else { return Vec::new() };
    backtrace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .map(|name| {
            let name = wasmtime_demangled(name);
            name.chars().take(200).collect()
        })
        .collect()
}

fn wasmtime_demangled(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}

impl From<types::FailureKind> for FailureKind {
    fn from(kind: types::FailureKind) -> Self {
        match kind {
            types::FailureKind::Step => Self::Step,
            types::FailureKind::Input => Self::Input,
            types::FailureKind::Upstream => Self::Upstream,
            types::FailureKind::Access => Self::Access,
            types::FailureKind::Refused => Self::Refused,
        }
    }
}
