//! The engine, and one call into a component: a fresh store and instance, under a deadline.
//!
//! Nothing of a call may outlive it: the store and all it holds, requests under way
//! included, go when the future ends or is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::Linker;
use wasmtime::{Store, UpdateDeadline};

use super::bindings::StepPre;
use super::bindings::keyhole::step::types::{Failure, Input};
use super::cache::CodeCache;
use super::config::{self, EngineConfig, EngineError, PoolReport};
use super::host::StepHost;
use super::json::Json;
use super::limits::{Limit, LimitHit, Limits};
use super::link;
use super::log::{Level, LiveLog, LogLine};
use super::outcome::{RunOutcome, StepFailure};
use super::state::{Pause, State};
use super::step::{Digest, Step};

/// How often a step that computes lets others have its thread, and looks at its deadline.
const TICK: Duration = Duration::from_millis(5);

/// Turns of tasks between two looks at sockets and timers. With tokio's 61, steps that compute
/// without end, a tick each, would keep every answer waiting for 300 ms.
const TURNS: u32 = 4;

/// The tokio runtime that steps belong on, with sockets and timers enabled.
pub fn runtime_builder() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().event_interval(TURNS).global_queue_interval(TURNS);
    builder
}

/// Handles that a step's own code may make among its parts, for each that it may hold of the host.
const HANDLES_PER_HANDLE: usize = 2;

/// Loads and runs steps. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    config: EngineConfig,
    pool: PoolReport,
    /// One permit for each slot of the pool: who comes late waits instead of failing.
    slots: Semaphore,
    steps: quick_cache::sync::Cache<Digest, Arc<Step>, CodeBytes>,
    code_cache: Option<CodeCache>,
    /// Compilers at once.
    compilers: Semaphore,
}

#[derive(Clone)]
struct CodeBytes;

impl Weighter<Digest, Arc<Step>> for CodeBytes {
    fn weight(&self, _: &Digest, step: &Arc<Step>) -> u64 {
        (step.code_bytes + step.definition_bytes).max(1) as u64
    }
}

/// Core instances of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Instances {
    /// So many are in use.
    pub in_use: u64,
    /// So many runs fit in.
    pub most: u64,
}

impl Engine {
    /// Sets up the engine, its pool and its clock.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let (wasmtime, pool) = config::engine(&config)?;
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        let linker = link::linker(&wasmtime).map_err(setup)?;
        tick(&wasmtime)?;
        let slots = pool.slots.map_or(Semaphore::MAX_PERMITS, |slots| slots as usize);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self(Arc::new(Inner {
            linker,
            slots: Semaphore::new(slots),
            steps: quick_cache::sync::Cache::with_weighter(config.loaded_components, config.loaded_bytes, CodeBytes),
            code_cache: config.code_cache.clone().and_then(|cache| CodeCache::open(cache, &wasmtime)),
            compilers: Semaphore::new(cpus.div_ceil(2)),
            wasmtime,
            config,
            pool,
        })))
    }

    /// Where the memory of runs comes from.
    pub fn pool(&self) -> &PoolReport {
        &self.0.pool
    }

    /// How much of the pool is in use. None where there is no pool.
    pub fn instances(&self) -> Option<Instances> {
        let most = self.0.pool.slots?;
        let in_use = self.0.wasmtime.pooling_allocator_metrics()?.core_instances();
        Some(Instances { in_use, most: most.into() })
    }

    /// One attempt at a step.
    pub async fn run(&self, step: &Step, host: Arc<dyn StepHost>, input: &Input, limits: &Limits) -> RunOutcome {
        self.call(&step.pre, step.slots, host, limits, Export::Run(input)).await
    }

    /// Options or additional props for the prop `prop`. `state` is the JSON of what is filled in so far.
    pub async fn configure(
        &self,
        step: &Step,
        host: Arc<dyn StepHost>,
        prop: &str,
        state: &str,
        limits: &Limits,
    ) -> RunOutcome {
        self.call(&step.pre, step.slots, host, limits, Export::Configure { prop, state }).await
    }

    pub(super) async fn call(
        &self,
        pre: &StepPre<State>,
        slots: u32,
        host: Arc<dyn StepHost>,
        limits: &Limits,
        export: Export<'_>,
    ) -> RunOutcome {
        // Never closed, so this waits and does not fail.
        let _slots = self.0.slots.acquire_many(slots).await.ok();
        let started = Instant::now();
        let limits = &limits.that_hold();
        let deadline = started + limits.deadline;
        let mut store = self.store(host.clone(), limits, deadline);
        host.watch(LiveLog::new(&store.data().log, &host));
        // Beside the epochs, which do not pass while a step waits for the host.
        let called = tokio::time::timeout_at(deadline.into(), invoke(pre, &mut store, export)).await;
        let result = match called {
            Ok(Ok(Ok(value))) => returned(value, limits),
            Ok(Ok(Err(failure))) => Err(failed(failure)),
            Ok(Err(error)) => Err(StepFailure::of(&error, limits)),
            Err(_) => Err(StepFailure::limit(Limit::Deadline, limits)),
        };
        outcome(store.into_data(), result, started)
    }

    fn store(&self, host: Arc<dyn StepHost>, limits: &Limits, deadline: Instant) -> Store<State> {
        let mut store = Store::new(&self.0.wasmtime, State::new(host, limits.clone()));
        store.limiter(|state| &mut state.books);
        store.set_hostcall_fuel(limits.call_bytes());
        store.set_max_component_handles(limits.handles.saturating_mul(HANDLES_PER_HANDLE));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= deadline {
                Err(LimitHit(Limit::Deadline).into())
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        store
    }

    pub(super) fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.0.linker
    }

    pub(super) fn steps(
        &self,
    ) -> &quick_cache::sync::Cache<Digest, Arc<Step>, impl Weighter<Digest, Arc<Step>> + Clone + use<>> {
        &self.0.steps
    }

    pub(super) fn code_cache(&self) -> Option<&CodeCache> {
        self.0.code_cache.as_ref()
    }

    pub(super) async fn compile_turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.0.compilers.acquire().await.ok()
    }
}

/// Which function of a step to call, and with what.
pub(super) enum Export<'a> {
    Definition,
    Configure { prop: &'a str, state: &'a str },
    Run(&'a Input),
}

async fn invoke(
    pre: &StepPre<State>,
    store: &mut Store<State>,
    export: Export<'_>,
) -> wasmtime::Result<Result<String, Failure>> {
    let step = pre.instantiate_async(&mut *store).await?;
    match export {
        Export::Definition => step.call_definition(store).await.map(Ok),
        Export::Configure { prop, state } => step.call_configure(store, prop, &state.to_owned()).await,
        Export::Run(input) => step.call_run(store, input).await,
    }
}

fn returned(value: String, limits: &Limits) -> Result<Json, StepFailure> {
    if value.len() > limits.return_bytes {
        return Err(StepFailure::limit(Limit::ReturnValue, limits));
    }
    Json::parse(value).map_err(|error| StepFailure::BadResult { message: error.to_string() })
}

fn failed(failure: Failure) -> StepFailure {
    StepFailure::Failed {
        message: shorten(failure.message),
        kind: failure.kind.into(),
        retry: failure.retry,
        trace: failure.trace.map(shorten),
    }
}

/// Bytes of a failure's message, and of its trace.
const MESSAGE_BYTES: usize = 64 * 1024;

fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
        text.push('…');
    }
    text
}

/// Gathers what the call left behind, with labels where placeholders stood.
fn outcome(state: State, result: Result<Json, StepFailure>, started: Instant) -> RunOutcome {
    let State { host, books, log, exports, mut flow, .. } = state;
    let redact = |text: &str| host.redact(text).into_owned();
    let redact_json = |json: Json| json.redacted(|text| host.redact(text));
    let result = match result {
        Ok(value) => Ok(redact_json(value)),
        Err(StepFailure::Failed { message, kind, retry, trace }) => Err(StepFailure::Failed {
            message: redact(&message),
            kind,
            retry,
            trace: trace.map(|trace| redact(&trace)),
        }),
        Err(StepFailure::Trapped { message, trace }) => Err(StepFailure::Trapped { message: redact(&message), trace }),
        Err(StepFailure::BadResult { message }) => Err(StepFailure::BadResult { message: redact(&message) }),
        Err(other) => Err(other),
    };
    flow.response = flow.response.map(|response| response.redacted(&*host));
    flow.exit = flow.exit.map(|reason| redact(&reason));
    if let Some(Pause::Rerun(_, _, rerun)) = &mut flow.pause {
        rerun.value = redact_json(rerun.value.clone());
    }
    let exports = exports.into_iter().map(|(name, value)| (redact(&name), redact_json(value))).collect();
    let (log, log_cut) = log.lock().finish(|text| host.redact(text));
    let result = result.map_err(|failure| match failure {
        StepFailure::Trapped { message, mut trace } => {
            trace.splice(0..0, panicked_at(&log));
            StepFailure::Trapped { message, trace }
        }
        other => other,
    });
    RunOutcome { result, exports, log, log_cut, flow, duration: started.elapsed(), peak_memory: books.peak() }
}

/// Where a step of Rust panicked, as it says in its log: `src/lib.rs:7:13`.
fn panicked_at(log: &[LogLine]) -> Option<String> {
    let said = log.iter().rev().filter(|line| line.level == Level::Error);
    let (_, place) = said.filter_map(|line| line.text.split_once("panicked at ")).next()?;
    let place = place.strip_suffix(':')?;
    let mut parts = place.rsplitn(3, ':');
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    let (column, line, file) = (parts.next().filter(|part| is_number(part))?, parts.next()?, parts.next()?);
    is_number(line).then(|| format!("{}:{line}:{column}", in_crate(file)))
}

/// A source file as its crate has it, without the folders of the machine that it was built on.
fn in_crate(file: &str) -> String {
    let file = file.replace('\\', "/");
    let after_slash = |end: usize| file[..end].rfind('/').map_or(0, |slash| slash + 1);
    // Those of crates.io and of Rust itself lie in a folder that is called as they are.
    let is_known = |at: usize| ["/registry/src/", "/library/"].iter().any(|folder| file[..at].contains(folder));
    let is_absolute = file.starts_with('/') || file.get(1..3) == Some(":/");
    let begins = match (is_absolute, file.rfind("/src/"), file.find("/src/")) {
        (true, Some(at), _) if is_known(at) => after_slash(at),
        (true, Some(at), _) => at + 1,
        (true, None, _) => after_slash(file.len()),
        (false, _, Some(at)) if !file.starts_with("src/") => at + 1,
        (false, ..) => 0,
    };
    file[begins..].to_owned()
}

/// Starts the thread that moves the engine's epoch on. It ends with the engine.
fn tick(engine: &wasmtime::Engine) -> Result<(), EngineError> {
    let engine = engine.weak();
    let ticker = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new()
        .name("keyhole-ticker".to_owned())
        .spawn(ticker)
        .map(drop)
        .map_err(|error| EngineError::Setup(format!("no thread for the clock: {error}")))
}
