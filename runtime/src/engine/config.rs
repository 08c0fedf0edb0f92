//! How the engine is set up: wasmtime's settings, the pools, and what the system allows.
//!
//! What affects compiled code is in [`compile_settings`] alone, so that the compile worker
//! and the engine can't differ in it.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};
use zeroize::Zeroizing;

use super::limits::{Limits, MAX_MEMORY};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Most runs at once, where the system allows them.
const MAX_SLOTS: u32 = 10_000;
const MIN_SLOTS: u32 = 16;

/// Memory mappings of one run: its stack and that stack's guard page, the image of its
/// memory, the heap after it, and the reserve after that. Measured, see `tests/engine_pool.rs`.
const MAPS_PER_SLOT: u64 = 6;
/// Mappings left for everything else: code, libraries, threads.
const MAPS_RESERVED: u64 = 4_096;

/// Tables of one slot: a component made by wit-component has 2, one of componentize-js 3.
pub(super) const TABLES_PER_SLOT: u32 = 4;

/// Call stack of a step, in bytes.
const WASM_STACK: usize = 512 * KIB;
/// What lies below it is for the host's own functions.
const ASYNC_STACK: usize = 1024 * KIB;

/// How to set up an [`Engine`](super::Engine).
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Runs at once; further ones wait. `None`: as many as the system's limits carry, at
    /// most 10,000. A program that runs one step asks for few, and starts faster.
    pub slots: Option<u32>,
    /// The most that [`Limits::table_elements`] of a run can be.
    pub max_table_elements: usize,
    /// Where compiled code is kept. `None`: nowhere.
    pub code_cache: Option<CodeCacheConfig>,
    /// The program that compiles. `None`: this process does, and can't stop it; for tests.
    pub worker: Option<CompileWorker>,
    /// Limits on one compilation.
    pub compile: CompileLimits,
    /// Most components that are kept ready.
    pub loaded_components: usize,
    /// Most bytes of compiled code that are kept ready.
    pub loaded_bytes: u64,
    /// Limits on the call of `definition` when a component is loaded.
    pub definition: Limits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            slots: None,
            max_table_elements: limits.table_elements,
            code_cache: None,
            worker: None,
            compile: CompileLimits::default(),
            loaded_components: 1_000,
            loaded_bytes: 2 << 30,
            definition: Limits { deadline: Duration::from_secs(5), return_bytes: 256 * KIB, ..limits },
        }
    }
}

impl EngineConfig {
    /// The settings of a pool for `slots` runs at once. A benchmark compares with them.
    pub fn allocator(&self, slots: u32, pagemap_scan: bool) -> PoolingAllocationConfig {
        let keep = keep_resident(slots, pagemap_scan);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_memories(slots)
            .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
            .total_stacks(slots)
            // These two are counters; a component's own limits are below.
            .total_core_instances(u32::MAX)
            .total_component_instances(u32::MAX)
            .max_core_instances_per_component(256)
            .max_memories_per_component(16)
            .max_tables_per_component(64)
            .max_memories_per_module(16)
            .max_tables_per_module(16)
            .max_core_instance_size(8 * MIB)
            .max_component_instance_size(8 * MIB)
            // A slot has as many addresses whatever this is, so that bounds need no checks; a run's own limit holds
            // what it may use of them.
            .max_memory_size(MAX_MEMORY)
            .table_elements(self.max_table_elements)
            .linear_memory_keep_resident(keep)
            .table_keep_resident(64 * KIB)
            .pagemap_scan(if pagemap_scan { Enabled::Yes } else { Enabled::No });
        pool
    }
}

/// Where compiled code is kept.
#[derive(Clone)]
pub struct CodeCacheConfig {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// What authenticates the files: `Vault::derive_key("code-cache")`. Whoever has it can
    /// have the host run any code.
    pub key: Zeroizing<[u8; 32]>,
    /// Bytes of all files together; the least recently used go first.
    pub max_bytes: u64,
}

impl CodeCacheConfig {
    /// With room for 2 GiB.
    pub fn new(dir: impl Into<PathBuf>, key: impl Into<Zeroizing<[u8; 32]>>) -> Self {
        Self { dir: dir.into(), key: key.into(), max_bytes: 2 << 30 }
    }
}

impl std::fmt::Debug for CodeCacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeCacheConfig").field("dir", &self.dir).field("max_bytes", &self.max_bytes).finish()
    }
}

/// The program that compiles components: this one, called so that it runs
/// [`worker_main`](super::compile::worker_main).
#[derive(Clone, Debug)]
pub struct CompileWorker {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Limits on one compilation.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// Wall-clock time. Far more than `cpu`: where runs keep every core busy, the compiler gets what is left.
    pub deadline: Duration,
    /// CPU time, of all its threads together.
    pub cpu: Duration,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the component.
    pub component_bytes: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(600),
            cpu: Duration::from_secs(240),
            memory: 2 << 30,
            component_bytes: 64 * MIB,
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime does not take this machine or these settings.
    #[error("the WebAssembly engine can't be set up on this machine: {0}")]
    Setup(String),
}

/// Where the memory of runs comes from; `doctor` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolReport {
    /// Runs at once. `None`: no pool, so no limit but the system's.
    pub slots: Option<u32>,
    /// Whether pages are reset by `PAGEMAP_SCAN` (Linux 6.7, and /proc/self/pagemap): runs are faster.
    pub pagemap_scan: bool,
    /// `vm.max_map_count`, where there is one.
    pub max_map_count: Option<u64>,
    /// Open files allowed (`ulimit -n`): each request that waits holds one.
    pub open_files: Option<u64>,
    /// Why the pool is smaller than asked for, or not there.
    pub note: Option<String>,
}

/// The settings that compiled code depends on.
pub(super) fn compile_settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .signals_based_traps(true)
        .memory_init_cow(true)
        // Function names of a trap go into the outcome; offsets and the system's unwinder have no use.
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        .generate_address_map(false)
        .native_unwind_info(false)
        // What no standard toolchain's component needs.
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK);
    config
}

/// Sets the engine up with the largest pool that the system gives.
pub(super) fn engine(config: &EngineConfig) -> Result<(Engine, PoolReport), EngineError> {
    let max_map_count = max_map_count();
    let wanted = config.slots.unwrap_or_else(|| system_slots(max_map_count)).max(1);
    let mut report = PoolReport {
        slots: None,
        pagemap_scan: false,
        max_map_count,
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        note: None,
    };
    let mut sizes = vec![wanted];
    sizes.extend([1_000, 100, MIN_SLOTS].into_iter().filter(|size| *size < wanted));
    for slots in sizes {
        for pagemap_scan in [true, false] {
            let mut settings = compile_settings();
            settings.allocation_strategy(config.allocator(slots, pagemap_scan));
            match Engine::new(&settings) {
                Ok(engine) => {
                    report.slots = Some(slots);
                    report.pagemap_scan = pagemap_scan;
                    if let Some(note) = &report.note {
                        tracing::warn!("{slots} runs at once instead of {wanted}: {note}");
                    }
                    return Ok((engine, report));
                }
                Err(error) if !pagemap_scan => {
                    report.note = Some(format!("the system does not reserve memory for {slots} runs: {error:#}"));
                }
                Err(_) => {}
            }
        }
    }
    tracing::warn!(
        "no pool of memory for runs, so each run maps its own, which is slower: {}. Raise the limit on address space (`ulimit -v`)",
        report.note.as_deref().unwrap_or_default()
    );
    let engine = Engine::new(&compile_settings()).map_err(|error| EngineError::Setup(format!("{error:#}")))?;
    Ok((engine, report))
}

/// Bytes of a slot that stay resident when its run has ended, so that the next finds them
/// there. Slots that were all used once must not hold the machine's memory for ever: an
/// eighth of it at most.
fn keep_resident(slots: u32, pagemap_scan: bool) -> usize {
    let info = rustix::system::sysinfo();
    let memory = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) as usize;
    // Without the scan all of it is written over after every run, touched or not.
    let most = if pagemap_scan { 2 * MIB } else { 128 * KIB };
    (memory / 8 / slots as usize).clamp(64 * KIB, most) / (4 * KIB) * (4 * KIB)
}

fn system_slots(max_map_count: Option<u64>) -> u32 {
    let Some(maps) = max_map_count else { return MAX_SLOTS };
    let slots = maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_SLOT;
    u32::try_from(slots).unwrap_or(u32::MAX).clamp(MIN_SLOTS, MAX_SLOTS)
}

fn max_map_count() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}
