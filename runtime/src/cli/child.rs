//! Programs that builds start: Cargo, rustup, Node.js, npm, Python.
//!
//! Each ends by the build's deadline, with all that it started itself, and never sees
//! Keyhole's own variables.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::error::{Context as _, Error, Result};

/// `name`, to be run in `folder`, in a process group of its own, without Keyhole's variables.
pub fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("KEYHOLE_") {
            command.env_remove(variable);
        }
    }
    command
}

/// Bytes of each of a program's outputs that are kept.
const OUTPUT: u64 = 64 << 20;

/// How a program ended.
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, if that was kept.
    pub stderr: Vec<u8>,
}

/// How to run a program.
pub struct Run<'r> {
    /// Its name, for messages.
    pub name: &'r str,
    /// What to do where it is not installed.
    pub missing: &'r str,
    /// When to stop it.
    pub deadline: Instant,
    /// What to do where that is too early.
    pub slow: &'r str,
    /// Keep what it writes to standard error, instead of showing it.
    pub keep_stderr: bool,
    /// Most bytes of memory of each process of it. `None`: as much as there is.
    pub memory: Option<u64>,
}

/// Runs a program until it ends, the deadline passes or someone presses Ctrl-C. Whatever
/// happens, nothing of its process group is left.
pub async fn run_to_end(mut command: Command, run: &Run<'_>) -> Result<Ended> {
    let Run { name, missing, deadline, slow, keep_stderr, memory } = *run;
    command.stdout(Stdio::piped());
    command.stderr(if keep_stderr { Stdio::piped() } else { Stdio::inherit() });
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(format!("the program {name} is not there")).help(missing),
        _ => Error::from(error).doing(format!("{name} can't be started")),
    })?;
    let mut group = Group(child);
    if let Some(bytes) = memory {
        group.limit(bytes).doing(format!("the memory of {name} can't be limited"))?;
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out_pipe, err_pipe) = (group.0.stdout.take(), group.0.stderr.take());
    let work = async {
        let read_out = async {
            match out_pipe {
                Some(mut pipe) => read_some(&mut pipe, &mut stdout).await,
                None => Ok(()),
            }
        };
        let read_err = async {
            match err_pipe {
                Some(mut pipe) => read_some(&mut pipe, &mut stderr).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(read_out, read_err)?;
        group.0.wait().await
    };
    let status = tokio::select! {
        ended = work => ended.doing(format!("waiting for {name}"))?,
        () = tokio::time::sleep_until(deadline) => {
            return Err(Error::new(format!("{name} did not end by the build's deadline and was stopped"))
                .help(slow));
        }
        _ = super::interrupt() => return Err(Error::interrupted()),
    };
    Ok(Ended { status, stdout, stderr })
}

/// Reads all that comes, and keeps the first [`OUTPUT`] bytes of it.
async fn read_some(pipe: &mut (impl tokio::io::AsyncRead + Unpin), kept: &mut Vec<u8>) -> std::io::Result<()> {
    (&mut *pipe).take(OUTPUT).read_to_end(kept).await?;
    tokio::io::copy(pipe, &mut tokio::io::sink()).await.map(drop)
}

/// A child that leads a process group. Dropped, it takes the whole group with it.
struct Group(Child);

impl Group {
    /// Limits the memory that each of its processes may write to. Those that it starts later
    /// inherit the limit.
    fn limit(&self, bytes: u64) -> std::io::Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // Not the address space: engines reserve far more of that than they use.
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        Ok(prlimit(Some(pid), Resource::Data, limit).map(drop)?)
    }

    fn pid(&self) -> Option<Pid> {
        self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is none once the child was waited for; what it left in its group would then
        // be beyond reach by a number that may have a new owner, so it is left alone.
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn sh(deadline: Instant) -> Run<'static> {
        Run { name: "sh", missing: "", deadline, slow: "", keep_stderr: true, memory: None }
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_stopped_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = program("sh", dir.path());
        shell.args(["-c", "sleep 1000 & echo $! > child; sleep 1000"]);
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = run_to_end(shell, &sh(deadline)).await.err().unwrap();
        assert!(format!("{error:?}").contains("deadline"));
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let status = PathBuf::from(format!("/proc/{}/stat", child.trim()));
        // Killed, it is gone or a zombie that init has yet to collect.
        while let Ok(stat) = std::fs::read_to_string(&status) {
            if stat.contains(") Z ") {
                break;
            }
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_program_gets_no_more_memory_than_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = program("sh", dir.path());
        // Once the limit is set: a variable of 64 MiB, which the shell keeps in its memory.
        shell.args(["-c", "while [ \"$(ulimit -d)\" = unlimited ]; do :; done; x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo ${#x}"]);
        let mut run = sh(Instant::now() + Duration::from_secs(60));
        run.memory = Some(32 << 20);
        let ended = run_to_end(shell, &run).await.unwrap();
        assert!(!ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
}
