//! The Python tool chain: this program's own copy of guest-sdk/python, componentize-py in a
//! private virtual environment, and the packages that every step has, in the user's cache.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::time::Instant;

use super::super::child::{self, Run};
use super::super::error::{Context as _, Error, Result};
use super::super::output::Output;
use super::super::toolchain::{self, Progress, WIT, files, hash, rename, turn, write_all};

/// Oldest Python 3 that runs the tool chain, and what it builds.
const OLDEST_PYTHON: u32 = 10;

/// How to get Python.
pub const MISSING_PYTHON: &str = "install Python 3.10 or later with venv (Debian, Ubuntu: apt install python3 python3-venv), and see that python3 is in PATH";

/// What an installation needs.
const NETWORK: &str =
    "see that pip reaches its index (python3 -m pip download --no-deps requests), and that there are 150 MB of room";

/// What pip installs from.
const MANIFEST: &[(&str, &str)] = files!["guest-sdk/python": "requirements.txt", "packages.txt"];

/// What a build runs, and what it puts into components.
const SDK: &[(&str, &str)] = files![
    "guest-sdk/python":
    "build/bounded.py",
    "build/keyhole_app.py",
    "build/main.py",
    "build/packages.py",
    "build/problem.py",
    "build/source.py",
    "keyhole_sdk/__init__.py",
    "keyhole_sdk/account.py",
    "keyhole_sdk/data.py",
    "keyhole_sdk/exchange.py",
    "keyhole_sdk/failure.py",
    "keyhole_sdk/files.py",
    "keyhole_sdk/flow.py",
    "keyhole_sdk/guard.py",
    "keyhole_sdk/log.py",
    "keyhole_sdk/loop.py",
    "keyhole_sdk/modules.py",
    "keyhole_sdk/net.py",
    "keyhole_sdk/props.py",
    "keyhole_sdk/state.py",
    "keyhole_sdk/step.py",
    "keyhole_sdk/tls.py",
    "keyhole_sdk/values.py",
];

/// Where everything about Python is kept.
pub fn cache() -> Result<PathBuf> {
    toolchain::cache("python")
}

/// The tool chain, ready to build with.
pub struct Toolchain {
    /// The virtual environment's Python.
    pub python: PathBuf,
    /// The packages that every step has.
    pub packages: PathBuf,
    /// The copy of guest-sdk/python.
    pub sdk: PathBuf,
    /// The contract's WIT.
    pub wit: PathBuf,
}

impl Toolchain {
    /// What tells one version of the tool chain from another.
    pub fn version() -> String {
        hash(MANIFEST.iter().chain(SDK).chain(WIT))
    }

    /// The tool chain in `cache`, installed if it is not there.
    pub async fn ready(cache: &Path, deadline: Instant, out: Output) -> Result<Self> {
        // Another Python than the one that an environment was made with does not see its packages.
        std::fs::create_dir_all(cache)?;
        let version = machine_python(cache, deadline).await?;
        let tools = cache.join(format!("tools-{}-{version}", hash(MANIFEST.iter())));
        let python = python_in(&tools);
        // A link to the machine's Python, which may be gone after an upgrade.
        if !python.exists() {
            install(&tools, deadline, out).await.at(tools.display())?;
        }
        let sdk = tools.join(format!("sdk-{}", Self::version()));
        let wit = sdk.join("wit");
        if !sdk.is_dir() {
            let made = tempfile::Builder::new().prefix("sdk-").tempdir_in(&tools)?;
            write_all(made.path(), SDK)?;
            write_all(&made.path().join("wit"), WIT)?;
            rename(made, &sdk)?;
        }
        Ok(Self { python, packages: tools.join("packages"), sdk, wit })
    }
}

fn python_in(tools: &Path) -> PathBuf {
    tools.join("venv/bin/python")
}

/// A Python that sees no module but its own and its environment's.
pub fn isolated(python: &str, folder: &Path) -> Command {
    let mut command = child::program(python, folder);
    command.arg("-I");
    for variable in ["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT"] {
        command.env_remove(variable);
    }
    command
}

/// Installs what the lock files name, once for all builds.
async fn install(tools: &Path, deadline: Instant, out: Output) -> Result {
    let cache = tools.parent().unwrap_or(Path::new("."));
    let _turn = turn(cache, "Python", deadline, out).await?;
    if python_in(tools).exists() {
        return Ok(());
    }
    if tools.exists() {
        std::fs::remove_dir_all(tools)?;
    }
    let progress = Progress::new("installing the Python tool chain (once; about 80 MB)", out);
    let made = tempfile::Builder::new().prefix("install-").tempdir_in(cache)?;
    write_all(made.path(), MANIFEST)?;
    let run =
        Run { name: "python3", missing: MISSING_PYTHON, deadline, slow: NETWORK, keep_stderr: true, memory: None };

    let mut venv = isolated("python3", made.path());
    venv.args(["-m", "venv", "venv"]);
    let ended = child::run_to_end(venv, &run).await?;
    if !ended.status.success() {
        // Debian's venv says on standard output what is missing.
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        return Err(
            Error::new(format!("python3 could not make a virtual environment:\n{}", said.trim())).help(MISSING_PYTHON)
        );
    }
    let python = python_in(made.path()).display().to_string();
    let pure = ["--platform=any", "--implementation=py", "--abi=none", "--python-version=3.14", "--target=packages"];
    for (file, more) in [("requirements.txt", &[] as &[&str]), ("packages.txt", &pure)] {
        let mut pip = isolated(&python, made.path());
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"])
            .args(["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", file])
            .args(more);
        let run = Run { name: "pip", ..run };
        let ended = child::run_to_end(pip, &run).await?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            return Err(
                Error::new(format!("pip could not install the Python tool chain:\n{}", said.trim())).help(NETWORK)
            );
        }
    }
    drop(progress);
    rename(made, tools)
}

/// The version of the machine's Python, such as `3.12.3`.
async fn machine_python(folder: &Path, deadline: Instant) -> Result<String> {
    let mut python = isolated("python3", folder);
    python.arg("--version");
    let run = Run { name: "python3", missing: MISSING_PYTHON, deadline, slow: "", keep_stderr: true, memory: None };
    let ended = child::run_to_end(python, &run).await?;
    let version = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    if is_new_enough(&version) {
        return Ok(version.trim_start_matches("Python ").to_owned());
    }
    Err(Error::new(format!("{version} is too old for the Python tool chain")).help(MISSING_PYTHON))
}

/// Whether what `python3 --version` says is a Python that the tool chain runs on.
pub fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches("Python ").split('.').map(|part| part.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(3), Some(minor)) if minor >= OLDEST_PYTHON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_sdk_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/python");
        for folder in ["build", "keyhole_sdk"] {
            for file in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = format!("{folder}/{}", file.unwrap().file_name().to_str().unwrap());
                assert!(
                    name.ends_with("__pycache__") || SDK.iter().any(|(listed, _)| *listed == name),
                    "{name} is not listed in SDK"
                );
            }
        }
    }

    #[test]
    fn a_version_is_compared_as_numbers() {
        assert!(is_new_enough("Python 3.10.2") && is_new_enough("Python 3.14.0rc1"));
        assert!(!is_new_enough("Python 3.9.18") && !is_new_enough("Python 2.7.18") && !is_new_enough(""));
    }
}
