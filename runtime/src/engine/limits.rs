//! What one call into a component may take, and the books kept on it.
//!
//! A limit that is hit ends the call, and is named in its outcome. Nothing in here may
//! let a call go on with less than it asked for: a run that silently lacks memory is
//! harder to understand than one that says which limit it met.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use wasmtime::ResourceLimiter;

/// The longest deadline a workflow may set.
pub const MAX_DEADLINE: Duration = Duration::from_secs(750);
/// The most memory that a workflow may set, in bytes: what a component can address.
pub const MAX_MEMORY: usize = 4 << 30;

const MIB: usize = 1 << 20;

/// Bytes of one set of headers that a step makes, as it lies in memory. Node.js's own servers take as much.
pub(super) const HEADERS_BYTES: usize = 16 * 1024;

/// Limits on one call into a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time from the start of the instance to the end of the call. At most [`MAX_DEADLINE`].
    pub deadline: Duration,
    /// Bytes of all linear memories and tables together. At most [`MAX_MEMORY`].
    pub memory: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Host resources held at once: answers, bodies, streams, headers, accounts. StarlingMonkey, the engine of
    /// JavaScript steps, gives back none: it holds eight for each request that it made, and one for each 8 KiB read.
    pub handles: usize,
    /// Requests that were made and are not answered. Each may hold a long path, headers and the begin of a body.
    pub unanswered: usize,
    /// Sets of headers that were made and did not leave with a request.
    pub header_sets: usize,
    /// Bytes of log. What comes later is dropped, and the log says that it was cut.
    pub log_bytes: usize,
    /// Exports of one run.
    pub exports: usize,
    /// Bytes of all exports together, names included.
    pub export_bytes: usize,
    /// Bytes of the returned JSON.
    pub return_bytes: usize,
    /// Bytes of the body given to `flow.respond`.
    pub respond_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            memory: 256 * MIB,
            table_elements: 100_000,
            handles: 32_768,
            unanswered: 1_024,
            header_sets: 4_096,
            log_bytes: 256 * 1024,
            exports: 256,
            export_bytes: MIB,
            return_bytes: 6 * MIB,
            respond_bytes: 6 * MIB,
        }
    }
}

impl Limits {
    /// As they hold, and as a person is told of them, whatever was asked for.
    pub(super) fn that_hold(&self) -> Self {
        Self { deadline: self.deadline.min(MAX_DEADLINE), ..self.clone() }
    }

    /// Bytes that one call to the host, or one return, may carry: the longest that is
    /// legal, and some room for what stands beside it.
    pub(super) fn call_bytes(&self) -> usize {
        self.return_bytes.max(self.respond_bytes) + MIB
    }

    /// What is said to a person when `limit` was hit.
    pub(super) fn describe(&self, limit: Limit) -> String {
        match limit {
            Limit::Deadline => format!(
                "ended at its deadline of {}; a workflow may set `timeout` up to {} s",
                seconds(self.deadline),
                MAX_DEADLINE.as_secs()
            ),
            Limit::Memory => format!(
                "needs more memory than its limit of {}; work on smaller parts, or raise `memory`",
                size(self.memory)
            ),
            Limit::Table => format!(
                "needs a table of more than {} elements, the limit; no ordinary toolchain makes one",
                self.table_elements
            ),
            Limit::Stack => "recurses deeper than the stack's limit; use a loop, or stop the recursion".to_owned(),
            Limit::Handles => format!(
                "holds more than {} answers, bodies and streams at once, the limit; finish or drop some before opening more",
                self.handles
            ),
            Limit::Unanswered => format!(
                "made more than {} requests that are not answered, the limit; wait for some before making more",
                self.unanswered
            ),
            Limit::CallSize => format!(
                "passed more than {} to the host in one call, the limit; pass it in parts",
                size(self.call_bytes())
            ),
            Limit::ReturnValue => format!(
                "returned more than {}, the limit; return a part, or store the rest elsewhere and return where",
                size(self.return_bytes)
            ),
            Limit::HeaderSets => format!(
                "made more than {} sets of headers that did not leave with a request, the limit; make them as they are needed",
                self.header_sets
            ),
            Limit::Headers => format!(
                "holds more than {} in one set of headers, the limit; send what is long in the body",
                size(HEADERS_BYTES)
            ),
            Limit::Instances => {
                "is made of more core instances, memories or tables than the engine takes; build it as fewer modules"
                    .to_owned()
            }
        }
    }
}

/// Bytes for a person's eyes.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..MIB => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / MIB),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{:.3} s", duration.as_secs_f64()),
    }
}

/// Which limit ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::deadline`].
    Deadline,
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::table_elements`].
    Table,
    /// The call stack.
    Stack,
    /// [`Limits::handles`].
    Handles,
    /// [`Limits::unanswered`].
    Unanswered,
    /// Bytes of one call to the host.
    CallSize,
    /// [`Limits::return_bytes`].
    ReturnValue,
    /// Bytes of one set of headers.
    Headers,
    /// [`Limits::header_sets`].
    HeaderSets,
    /// Core instances, memories or tables of one component.
    Instances,
}

impl Limit {
    /// The name, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Stack => "stack",
            Self::Handles => "handles",
            Self::Unanswered => "unanswered",
            Self::CallSize => "call_size",
            Self::ReturnValue => "return_value",
            Self::Headers => "headers",
            Self::HeaderSets => "header_sets",
            Self::Instances => "instances",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error that ends a call when it meets a limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("limit: {0}")]
pub(super) struct LimitHit(pub Limit);

/// Keeps the total of all memories and tables of one store.
#[derive(Debug)]
pub(super) struct Books {
    memory_limit: usize,
    table_limit: usize,
    total: usize,
    peak: usize,
    /// What the growth under way added; taken back should it fail.
    last: usize,
}

/// What a table element takes in the engine.
const ELEMENT_BYTES: usize = size_of::<usize>();

impl Books {
    pub fn new(limits: &Limits) -> Self {
        Self { memory_limit: limits.memory, table_limit: limits.table_elements, total: 0, peak: 0, last: 0 }
    }

    /// The most that was in use, in bytes.
    pub fn peak(&self) -> usize {
        self.peak
    }

    fn grow(&mut self, by: usize) -> wasmtime::Result<()> {
        let total = self.total.saturating_add(by);
        if total > self.memory_limit {
            return Err(LimitHit(Limit::Memory).into());
        }
        self.total = total;
        self.peak = self.peak.max(total);
        self.last = by;
        Ok(())
    }

    fn take_back(&mut self) {
        self.total -= self.last;
        self.last = 0;
    }
}

impl ResourceLimiter for Books {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.last = 0;
        if desired > self.memory_limit {
            return Err(LimitHit(Limit::Memory).into());
        }
        // The module's own maximum: `memory.grow` gives -1, as its author expects.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired - current).map(|()| true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.last = 0;
        if desired > self.table_limit {
            return Err(LimitHit(Limit::Table).into());
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow((desired - current).saturating_mul(ELEMENT_BYTES)).map(|()| true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }
}
