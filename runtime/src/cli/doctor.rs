//! `keyhole doctor`: what this machine and this data directory are like, and what to do
//! about what isn't right. It looks and changes nothing.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, Color};
use keyhole_host_api::vault::MasterKeySource;
use rustix::fs::{Access, MemfdFlags};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::error::{Error, Result};
use super::home::Home;
use super::output;
use super::settings::{MASTER_KEY_COMMAND_VARIABLE, MASTER_KEY_VARIABLE, Settings};
use super::{cargo, python};

/// Check the data directory, the master key, the tools and the kernel
#[derive(Args, Debug)]
pub struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), help: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), help: Some(help.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), help: Some(help.into()) }
    }
}

impl Doctor {
    /// Looks, and fails if something would keep Keyhole from working.
    pub async fn run(self, settings: &Settings) -> Result {
        let mut checks = vec![configuration(settings), data_directory(&settings.data_dir)];
        checks.extend(free_space(&settings.data_dir));
        checks.push(master_key(&settings.master_key));
        checks.push(store(settings).await);
        checks.extend(build_tools().await);
        checks.extend([node().await, python_tools().await]);
        checks.extend([pagemap_scan(), memfd(), descriptors(), mappings(), address_space(), core_dumps()]);

        let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
        let document = json!({"ok": failed == 0, "checks": checks});
        settings.out.either(&document, || report(&checks))?;
        if failed > 0 { Err(Error::said()) } else { Ok(()) }
    }
}

fn report(checks: &[Check]) -> String {
    let mut table = output::table(&["", "check", "found", "what to do"]);
    for check in checks {
        let (word, color) = match check.verdict {
            Verdict::Ok => ("ok", Color::Green),
            Verdict::Warn => ("warn", Color::Yellow),
            Verdict::Fail => ("FAIL", Color::Red),
        };
        table.add_row([
            Cell::new(word).fg(color),
            Cell::new(check.name),
            Cell::new(&check.found),
            Cell::new(check.help.as_deref().unwrap_or("")),
        ]);
    }
    output::table_text(&mut table)
}

fn configuration(settings: &Settings) -> Check {
    match &settings.config {
        // A file that says something wrong has ended the program before this.
        Some(path) => Check::ok("configuration", path.display().to_string()),
        None => Check::ok("configuration", "no file; flags, variables and defaults"),
    }
}

fn data_directory(dir: &Path) -> Check {
    const NAME: &str = "data directory";
    let shown = dir.display().to_string();
    let Ok(meta) = std::fs::metadata(dir) else {
        let parent = dir.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new("/"));
        return match rustix::fs::access(parent, Access::WRITE_OK) {
            Ok(()) => Check::ok(NAME, format!("{shown}, made on first use")),
            Err(_) => Check::fail(
                NAME,
                format!("{shown} is not there, and {} can't be written", parent.display()),
                "name another with --data-dir DIR, or make it and give it to the user that runs keyhole",
            ),
        };
    };
    if !meta.is_dir() {
        return Check::fail(NAME, format!("{shown} is no directory"), "name another with --data-dir DIR");
    }
    if rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Check::fail(
            NAME,
            format!("{shown} can't be written"),
            format!("give it to the user that runs keyhole: chown -R $USER {shown}"),
        );
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Check::warn(NAME, format!("{shown} belongs to another user"), "run keyhole as the user that owns it");
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Check::warn(NAME, format!("{shown} is open to others, mode {mode:03o}"), format!("chmod 700 {shown}"));
    }
    Check::ok(NAME, format!("{shown}, mode {mode:03o}"))
}

fn free_space(dir: &Path) -> Option<Check> {
    const NAME: &str = "free space";
    let there = dir.ancestors().find(|parent| parent.exists())?;
    let system = rustix::fs::statvfs(there).ok()?;
    let free = system.f_bavail * system.f_frsize;
    let found = output::size(free);
    Some(match free {
        0..0x400_0000 => Check::fail(NAME, found, "free some space: what can't be written is refused"),
        0x400_0000..0x4000_0000 => Check::warn(NAME, found, "the audit and compiled code grow; keep 1 GiB free"),
        _ => Check::ok(NAME, found),
    })
}

fn master_key(source: &MasterKeySource) -> Check {
    const NAME: &str = "master key";
    match source {
        MasterKeySource::Env(_) => Check::ok(NAME, format!("from the variable {MASTER_KEY_VARIABLE}")),
        MasterKeySource::Command(_) if std::env::var_os(MASTER_KEY_COMMAND_VARIABLE).is_some() => {
            Check::ok(NAME, format!("from the command in {MASTER_KEY_COMMAND_VARIABLE}"))
        }
        MasterKeySource::Command(_) => Check::ok(NAME, "from the command in the configuration file"),
        MasterKeySource::File(path) => {
            let shown = path.display();
            let Ok(meta) = std::fs::metadata(path) else {
                return Check::ok(NAME, format!("{shown}, made on first use"));
            };
            let mode = meta.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Check::fail(
                    NAME,
                    format!("{shown} is open to others, mode {mode:03o}"),
                    format!("chmod 600 {shown}, and rotate the key if others could have read it"),
                );
            }
            Check::ok(NAME, format!("{shown}, mode {mode:03o}; keep a copy elsewhere"))
        }
    }
}

async fn store(settings: &Settings) -> Check {
    const NAME: &str = "store";
    if !Home::exists(&settings.data_dir) {
        return Check::ok(NAME, "empty, made on first use");
    }
    match Home::open(settings).await {
        Ok(home) => match home.members.list().await {
            Ok(members) => Check::ok(NAME, format!("opens; members: {}", members.len())),
            Err(error) => Check::fail(NAME, error.to_string(), "restore the data directory from a backup"),
        },
        Err(error) => {
            Check::fail(NAME, error.message().to_owned(), error.advice().unwrap_or("see the message").to_owned())
        }
    }
}

async fn build_tools() -> Vec<Check> {
    let rust = "install Rust with rustup, as https://rustup.rs says; needed to build steps, not to run them";
    let cargo = match version("cargo").await {
        Some(version) => Check::ok("cargo", version),
        None => Check::warn("cargo", "not found", rust),
    };
    let rustup = match version("rustup").await {
        Some(version) => Check::ok("rustup", version),
        None => Check::warn("rustup", "not found", "needed only to add the target; a distribution's Rust may bring it"),
    };
    let soon = Instant::now() + Duration::from_secs(20);
    let target = match cargo::has_target(Path::new("."), soon).await {
        Ok(true) => Check::ok(cargo::TARGET, "installed"),
        _ => Check::warn(
            cargo::TARGET,
            "not installed",
            format!("rustup target add {}; keyhole build does so by itself", cargo::TARGET),
        ),
    };
    vec![cargo, rustup, target]
}

async fn node() -> Check {
    const NAME: &str = "Node.js";
    let help = "install Node.js 20 or newer; needed to build JavaScript steps, not to run them";
    match version("node").await {
        None => Check::warn(NAME, "not found", help),
        Some(version) => {
            let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
            if major.is_some_and(|major| major >= 20) {
                Check::ok(NAME, version)
            } else {
                Check::warn(NAME, version, help)
            }
        }
    }
}

async fn python_tools() -> Check {
    const NAME: &str = "Python";
    let help = format!("{}; needed to build Python steps, not to run them", python::MISSING_PYTHON);
    let Some(version) = version("python3").await else {
        return Check::warn(NAME, "not found", help);
    };
    if !python::is_new_enough(&version) {
        return Check::warn(NAME, version, help);
    }
    // Some systems keep what makes virtual environments in a package of its own.
    let mut venv = tokio::process::Command::new("python3");
    venv.args(["-I", "-c", "import ensurepip, venv"]).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(10), venv.output()).await;
    match ended {
        Ok(Ok(ended)) if ended.status.success() => Check::ok(NAME, version),
        _ => Check::warn(NAME, format!("{version}, without venv"), help),
    }
}

/// The first line of `program --version`.
async fn version(program: &str) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(10), command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&ended.stdout).lines().next()?.trim().to_owned();
    ended.status.success().then_some(text)
}

fn pagemap_scan() -> Check {
    const NAME: &str = "pagemap_scan";
    if super::while_dumpable(wasmtime::PoolingAllocationConfig::is_pagemap_scan_available) {
        Check::ok(NAME, "the kernel has it")
    } else {
        Check::warn(
            NAME,
            "the kernel does not have it",
            "runs take about half as long again; Linux 6.7 and newer have it",
        )
    }
}

fn memfd() -> Check {
    const NAME: &str = "memfd";
    match rustix::fs::memfd_create("keyhole", MemfdFlags::CLOEXEC) {
        Ok(_) => Check::ok(NAME, "memory images can be shared"),
        Err(error) => Check::warn(
            NAME,
            format!("memfd_create: {error}"),
            "each run copies its memory image; allow memfd_create in the container's seccomp profile",
        ),
    }
}

fn descriptors() -> Check {
    const NAME: &str = "file descriptors";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < 1024 => {
            Check::fail(NAME, limit.to_string(), "raise the hard limit: ulimit -Hn 65536, or LimitNOFILE= in the unit")
        }
        Some(limit) if limit < 16_384 => Check::warn(
            NAME,
            limit.to_string(),
            "each waiting request takes one; for thousands of runs at once raise the hard limit: LimitNOFILE=65536",
        ),
        Some(limit) => Check::ok(NAME, limit.to_string()),
        None => Check::ok(NAME, "unlimited"),
    }
}

fn mappings() -> Check {
    const NAME: &str = "vm.max_map_count";
    let Some(count) = kernel_number("/proc/sys/vm/max_map_count") else {
        return Check::warn(NAME, "unknown", "/proc/sys/vm/max_map_count can't be read");
    };
    if count < 262_144 {
        return Check::warn(
            NAME,
            count.to_string(),
            "each run takes a few; for thousands of runs at once: sysctl vm.max_map_count=262144",
        );
    }
    Check::ok(NAME, count.to_string())
}

fn address_space() -> Check {
    const NAME: &str = "address space";
    match (getrlimit(Resource::As).current, kernel_number("/proc/sys/vm/overcommit_memory")) {
        (Some(limit), _) => Check::warn(
            NAME,
            format!("limited to {}", output::size(limit)),
            "instances reserve addresses, not memory: ulimit -v unlimited",
        ),
        (None, Some(2)) => {
            Check::warn(NAME, "vm.overcommit_memory is 2", "reserved addresses count as used then; set it to 0 or 1")
        }
        _ => Check::ok(NAME, "unlimited"),
    }
}

fn core_dumps() -> Check {
    const NAME: &str = "core dumps";
    // `main` lowers the limit before anything else; 1 is what the kernel takes as "none",
    // also where cores go to a program.
    match getrlimit(Resource::Core).current {
        Some(0 | 1) => Check::ok(NAME, "off for keyhole"),
        limit => Check::fail(
            NAME,
            limit.map_or("on".to_owned(), |limit| format!("up to {}", output::size(limit))),
            "a core would hold credentials; set ulimit -c 0",
        ),
    }
}

fn kernel_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
