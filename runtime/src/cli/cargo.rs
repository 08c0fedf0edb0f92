//! A Cargo crate to a component: what `build` and `demo` share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Instant;

use super::child::{self, Ended};
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

/// Bytes that each process of a build may write to: rustc takes one or two GiB of a large crate.
const MEMORY: u64 = 8 << 30;

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

    let mut cargo = child::program("cargo", folder);
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
        Error::new("the crate builds no component").at(manifest.display()).help(
            "a step is a library of the crate type cdylib; add to Cargo.toml:\n\n[lib]\ncrate-type = [\"cdylib\"]",
        )
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
        let error =
            Error::usage(if folder.exists() { "this is a file, not a folder" } else { "there is no such folder" });
        return Err(error.at(folder.display()).help("name the folder that the step's Cargo.toml is in"));
    }
    let path = folder.join("Cargo.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::usage("the folder holds no Cargo.toml").at(folder.display()).help(
                "a step is a Cargo crate, a JavaScript, TypeScript or Python file, or a component that another tool made: \
                 keyhole run FILE.wasm",
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
    let mut rustup = child::program("rustup", folder);
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
    let mut rustc = child::program("rustc", folder);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let ended = run_to_end(rustc, "rustc", deadline, true).await?;
    let library = String::from_utf8_lossy(&ended.stdout);
    Ok(ended.status.success() && Path::new(library.trim()).is_dir())
}

async fn run_to_end(command: Command, name: &str, deadline: Instant, keep_stderr: bool) -> Result<Ended> {
    let missing = "install Rust with rustup, as https://rustup.rs says, and see that ~/.cargo/bin is in PATH";
    let slow = "give it longer with --timeout, such as --timeout 30m";
    child::run_to_end(command, &child::Run { name, missing, deadline, slow, keep_stderr, memory: Some(MEMORY) }).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_crate_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{:?}", package_name(dir.path()).unwrap_err());
        assert!(text.contains("no Cargo.toml") && text.contains("a step is a Cargo crate"), "{text}");
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
