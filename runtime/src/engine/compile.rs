//! From a component to machine code: in a process of its own, which can be stopped.
//!
//! The compiler's time and memory depend on a stranger's bytes. It must never run in the
//! host's process where a worker is configured, and its output is loaded only as what this
//! same program made.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;

use super::config::{CompileLimits, CompileWorker, compile_settings};
use super::limits::size;

/// Bytes of compiled code that are taken from the worker.
const OUTPUT_BYTES: u64 = 256 << 20;
/// Bytes of the worker's complaint that are read.
const COMPLAINT_BYTES: u64 = 16 * 1024;

/// Why a component was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It took too long.
    #[error("compiling the component took longer than {} s, the limit; build it smaller, or try again when less runs", .0.as_secs_f32())]
    Deadline(Duration),
    /// It took too much of the CPU.
    #[error("compiling the component took more than {} s of CPU time, the limit; build it smaller", .0.as_secs_f32())]
    Cpu(Duration),
    /// It took too much memory.
    #[error("compiling the component took more than {}, the limit; build it smaller", size(*.0 as usize))]
    Memory(u64),
    /// It is not valid, or uses a part of WebAssembly that steps may not.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// The compiler went wrong.
    #[error("the compiler failed on this component: {0}")]
    Crashed(String),
    /// The worker could not be run.
    #[error("the compiler could not be started: {0}")]
    Worker(String),
}

/// Compiles `component` within `limits`.
pub(super) async fn compile(
    engine: &Engine,
    worker: Option<&CompileWorker>,
    limits: &CompileLimits,
    component: Bytes,
) -> Result<Vec<u8>, CompileError> {
    match worker {
        Some(worker) => match tokio::time::timeout(limits.deadline, by_worker(worker, limits, component)).await {
            Ok(result) => result,
            // The child was killed when the future was dropped.
            Err(_) => Err(CompileError::Deadline(limits.deadline)),
        },
        None => {
            let engine = engine.clone();
            tokio::task::spawn_blocking(move || engine.precompile_component(&component))
                .await
                .map_err(|error| CompileError::Crashed(error.to_string()))?
                .map_err(|error| CompileError::Invalid(format!("{error:#}")))
        }
    }
}

async fn by_worker(worker: &CompileWorker, limits: &CompileLimits, component: Bytes) -> Result<Vec<u8>, CompileError> {
    let failed = |error: std::io::Error| CompileError::Worker(error.to_string());
    let mut child = tokio::process::Command::new(&worker.program)
        .args(&worker.args)
        // The master key may be in the environment; the compiler needs none of it.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| CompileError::Worker(format!("{}: {error}", worker.program.display())))?;
    let (mut stdin, stdout, stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
        _ => return Err(CompileError::Worker("no pipes".to_owned())),
    };
    let header = header(limits);
    let feed = async move {
        stdin.write_all(&header).await?;
        stdin.write_all(&component).await?;
        stdin.shutdown().await
    };
    let mut code = Vec::new();
    let mut complaint = Vec::new();
    let mut stdout = stdout.take(OUTPUT_BYTES);
    let mut stderr = stderr.take(COMPLAINT_BYTES);
    let (fed, code_read, complaint_read) =
        tokio::join!(feed, stdout.read_to_end(&mut code), stderr.read_to_end(&mut complaint));
    code_read.map_err(failed)?;
    complaint_read.map_err(failed)?;
    if code.len() as u64 == OUTPUT_BYTES {
        return Err(CompileError::Memory(OUTPUT_BYTES));
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        fed.map_err(failed)?;
        return Ok(code);
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    // The allocator's last words; `mmap` has others.
    if complaint.contains("memory allocation of") || complaint.contains("Cannot allocate memory") {
        return Err(CompileError::Memory(limits.memory));
    }
    match status.code() {
        Some(code) if code == i32::from(INVALID) => Err(CompileError::Invalid(complaint)),
        Some(code) => Err(CompileError::Crashed(format!("exit code {code}"))),
        None if std::os::unix::process::ExitStatusExt::signal(&status)
            == Some(rustix::process::Signal::XCPU.as_raw()) =>
        {
            Err(CompileError::Cpu(limits.cpu))
        }
        None => Err(CompileError::Crashed(format!("{status}"))),
    }
}

/// What stands before the component: memory in bytes and CPU time in seconds, both little-endian.
fn header(limits: &CompileLimits) -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&limits.memory.to_le_bytes());
    header[8..].copy_from_slice(&limits.cpu.as_secs().max(1).to_le_bytes());
    header
}

/// Exit code for a component that is not valid.
const INVALID: u8 = 3;
/// Exit code for anything else.
const FAILED: u8 = 4;

/// The compile worker: reads limits and a component, writes machine code. For the program's
/// hidden `__compile` command, with its standard input and output; it limits its own process, and ends it when
/// nobody reads the output any more.
pub fn worker_main(stdin: impl Read, stdout: impl Write + AsFd) -> ExitCode {
    match stdout.as_fd().try_clone_to_owned() {
        Ok(watched) => drop(std::thread::spawn(move || end_with_reader(&watched))),
        // Then it ends by its limits.
        Err(error) => tracing::debug!("nobody watches for the end of who started this: {error}"),
    }
    match work(stdin, stdout) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            // Whoever started it reads this, or is gone.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(code)
        }
    }
}

fn work(mut stdin: impl Read, mut stdout: impl Write) -> Result<(), (u8, String)> {
    let failed = |error: std::io::Error| (FAILED, error.to_string());
    let mut memory = [0; 8];
    let mut seconds = [0; 8];
    stdin.read_exact(&mut memory).map_err(failed)?;
    stdin.read_exact(&mut seconds).map_err(failed)?;
    confine(u64::from_le_bytes(memory), u64::from_le_bytes(seconds)).map_err(|error| failed(error.into()))?;
    let mut component = Vec::new();
    stdin.read_to_end(&mut component).map_err(failed)?;
    let engine = Engine::new(&compile_settings()).map_err(|error| (FAILED, format!("{error:#}")))?;
    let code = engine.precompile_component(&component).map_err(|error| (INVALID, format!("{error:#}")))?;
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(failed)
}

/// Ends this process when nobody is left to read `stdout`: whoever started it was killed. The
/// compiler writes nothing until it is done, and so would not notice.
fn end_with_reader(stdout: &OwnedFd) {
    // No event is asked for: an error, which a pipe without a reader is, is always told.
    let mut watched = [PollFd::new(stdout, PollFlags::empty())];
    loop {
        match poll(&mut watched, None) {
            Ok(_) => std::process::exit(i32::from(FAILED)),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Limits this process, and lets others go first.
fn confine(memory: u64, seconds: u64) -> rustix::io::Result<()> {
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    // Private writable memory. The address space itself is not limited: each thread's
    // allocator reserves parts of it that are never used.
    setrlimit(Resource::Data, limit(memory))?;
    // Also should the parent be gone, and with it the clock on the wall.
    setrlimit(Resource::Cpu, limit(seconds.max(1)))?;
    setrlimit(Resource::Core, limit(0))?;
    // What runs meanwhile takes at most twice as long, as the benchmark `javascript` shows; 5 was not enough.
    nice(15)?;
    Ok(())
}
