//! A Cargo crate to a component: what `build` and `demo` share.
//!
//! Every program that is started here ends by the build's deadline, with all that it
//! started itself, and never sees Keyhole's own variables.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::error::{Context as _, Error, Result};
use super::output::Output;

/// The target that makes components.
pub const TARGET: &str = "wasm32-wasip2";

/// The settings of the release profile that steps are built with: small, since what is
/// small is quick to compile and to instantiate.
const PROFILE: &[&str] = &[
    "profile.release.opt-level=\"s\"",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.strip=\"debuginfo\"",
    "profile.release.panic=\"abort\"",
];

/// When a build is given up, unless its author says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// A component that was built.
pub struct Built {
    /// The file that Cargo made.
    pub wasm: PathBuf,
    /// The package's name.
    pub package: String,
}

/// How to build.
pub struct Options {
    /// When to stop trying.
    pub deadline: Duration,
    /// Let Cargo talk to the terminal while it works; else its words are kept for a failure.
    pub talkative: bool,
}

/// Builds the crate in `folder`, adding the target where it is missing.
pub async fn build(folder: &Path, options: &Options, out: Output) -> Result<Built> {
    let package = package_name(folder)?;
    let deadline = Instant::now() + options.deadline;
    ensure_target(folder, deadline, out).await?;

    let mut cargo = program("cargo", folder);
    cargo.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    if !options.talkative {
        cargo.arg("--quiet");
    }
    let ended = run_to_end(cargo, "cargo", deadline, !options.talkative).await?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let error = match said.trim() {
            "" => Error::new("the crate does not build; Cargo says why above"),
            said => Error::new(format!("the crate does not build:\n{said}")),
        };
        return Err(error.at(folder.display()));
    }
    let manifest = folder.join("Cargo.toml").canonicalize()?;
    let wasm = component_in(&ended.stdout, &manifest).ok_or_else(|| {
        Error::new("the crate builds no component")
            .at(manifest.display())
            .help("a step is a library of the crate type cdylib; add to Cargo.toml:\n\n[lib]\ncrate-type = [\"cdylib\"]")
    })?;
    Ok(Built { wasm, package })
}

/// The package's name, or why the folder is not a crate.
fn package_name(folder: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Option<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    if !folder.is_dir() {
        let error = Error::usage(if folder.exists() { "this is a file, not a folder" } else { "there is no such folder" });
        return Err(error.at(folder.display()).help("name the folder that the step's Cargo.toml is in"));
    }
    let path = folder.join("Cargo.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::usage("the folder holds no Cargo.toml").at(folder.display()).help(
                "this version builds Cargo crates; JavaScript and Python steps come later, \
                 and components made by other tools run as they are: keyhole run FILE.wasm",
            ));
        }
        Err(error) => return Err(Error::from(error).at(path.display())),
    };
    let manifest: Manifest = toml::from_str(&text).at(path.display())?;
    let package = manifest.package.ok_or_else(|| {
        Error::usage("this is a workspace without a package of its own")
            .at(path.display())
            .help("name the folder of the member that is the step")
    })?;
    Ok(package.name)
}

/// Adds the target to the toolchain that builds in `folder`, unless it is there.
async fn ensure_target(folder: &Path, deadline: Instant, out: Output) -> Result {
    if has_target(folder, deadline).await? {
        return Ok(());
    }
    out.note(format!("adding the Rust target {TARGET}: rustup target add {TARGET}"));
    let mut rustup = program("rustup", folder);
    rustup.args(["target", "add", TARGET]);
    let ended = run_to_end(rustup, "rustup", deadline, true).await?;
    if !ended.status.success() || !has_target(folder, deadline).await? {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(Error::new(format!("rustup could not add the target {TARGET}:\n{}", said.trim()))
            .help(format!("see whether this machine reaches Rust's servers, then: rustup target add {TARGET}")));
    }
    Ok(())
}

/// Whether the toolchain that builds in `folder` has the target's standard library.
pub async fn has_target(folder: &Path, deadline: Instant) -> Result<bool> {
    let mut rustc = program("rustc", folder);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let ended = run_to_end(rustc, "rustc", deadline, true).await?;
    let library = String::from_utf8_lossy(&ended.stdout);
    Ok(ended.status.success() && Path::new(library.trim()).is_dir())
}

/// The component among what Cargo says it made for the package of `manifest`.
fn component_in(messages: &[u8], manifest: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        target: Target,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    #[derive(Deserialize, Default)]
    struct Target {
        kind: Vec<String>,
    }
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()).find_map(|message| {
        let ours = message.reason == "compiler-artifact"
            && message.target.kind.iter().any(|kind| kind == "cdylib")
            && message.manifest_path.canonicalize().is_ok_and(|path| path == manifest);
        let mut files = message.filenames.into_iter();
        ours.then(|| files.find(|file| file.extension().is_some_and(|e| e == "wasm"))).flatten()
    })
}

/// `name`, to be run in `folder`, in a process group of its own, without Keyhole's variables.
fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("KEYHOLE_") {
            command.env_remove(variable);
        }
    }
    command
}

struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a program until it ends, the deadline passes or someone presses Ctrl-C. Whatever
/// happens, nothing of its process group is left.
async fn run_to_end(mut command: Command, name: &str, deadline: Instant, keep_stderr: bool) -> Result<Ended> {
    command.stdout(Stdio::piped());
    command.stderr(if keep_stderr { Stdio::piped() } else { Stdio::inherit() });
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(format!("the program {name} is not there"))
            .help("install Rust with rustup, as https://rustup.rs says, and see that ~/.cargo/bin is in PATH"),
        _ => Error::from(error).doing(format!("{name} can't be started")),
    })?;
    let mut group = Group(child);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out_pipe, err_pipe) = (group.0.stdout.take(), group.0.stderr.take());
    let work = async {
        let read_out = async {
            match out_pipe {
                Some(mut pipe) => pipe.read_to_end(&mut stdout).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match err_pipe {
                Some(mut pipe) => pipe.read_to_end(&mut stderr).await,
                None => Ok(0),
            }
        };
        tokio::try_join!(read_out, read_err)?;
        group.0.wait().await
    };
    let status = tokio::select! {
        ended = work => ended.doing(format!("waiting for {name}"))?,
        () = tokio::time::sleep_until(deadline) => {
            return Err(Error::new(format!("{name} did not end by the build's deadline and was stopped"))
                .help("give it longer with --timeout, such as --timeout 30m"));
        }
        _ = super::interrupt() => return Err(Error::interrupted()),
    };
    Ok(Ended { status, stdout, stderr })
}

/// A child that leads a process group. Dropped, it takes the whole group with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is none once the child was waited for; what it left in its group would then
        // be beyond reach by a number that may have a new owner, so it is left alone.
        if let Some(pid) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_stopped_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = program("sh", dir.path());
        shell.args(["-c", "sleep 1000 & echo $! > child; sleep 1000"]);
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = run_to_end(shell, "sh", deadline, true).await.err().unwrap();
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

    #[test]
    fn a_folder_that_is_no_crate_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{:?}", package_name(dir.path()).unwrap_err());
        assert!(text.contains("no Cargo.toml") && text.contains("this version builds Cargo crates"), "{text}");
        std::fs::write(dir.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        assert!(format!("{:?}", package_name(dir.path()).unwrap_err()).contains("workspace without a package"));
    }

    #[test]
    fn only_the_crates_own_cdylib_counts() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().canonicalize().unwrap().join("Cargo.toml");
        std::fs::write(&manifest, "").unwrap();
        let message = |kind: &str, manifest: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"kind":["{kind}"]}},"filenames":["/t/x.wasm"]}}"#
            )
        };
        let ours = manifest.display().to_string();
        assert_eq!(component_in(message("cdylib", &ours).as_bytes(), &manifest), Some("/t/x.wasm".into()));
        assert_eq!(component_in(message("bin", &ours).as_bytes(), &manifest), None);
        assert_eq!(component_in(message("cdylib", "/elsewhere/Cargo.toml").as_bytes(), &manifest), None);
        assert_eq!(component_in(b"not json\n{\"reason\":\"build-finished\"}\n", &manifest), None);
    }
}
