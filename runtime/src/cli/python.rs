//! A Python step to a component.
//!
//! The work is done by guest-sdk/python: componentize-py runs the author's top level in
//! WebAssembly, without a host, and takes a snapshot. The author's code runs nowhere else:
//! the build has a deadline and a memory limit, and the code sees copies of the step's
//! source and its packages, and no folder of the machine.

mod source;
mod toolchain;

use std::path::Path;
use std::time::Duration;

use keyhole::engine::Definition;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::build::{self, Built};
use super::child::{self, Run};
use super::error::{Context as _, Error, Result};
use super::kept;
use super::output::{self, Output};
use super::toolchain::Problem;
use toolchain::Toolchain;

pub use source::{is_file, is_folder};
pub use toolchain::{MISSING_PYTHON, is_new_enough};

/// When a build is given up, installing the tool chain aside, unless its author says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// How long installing the tool chain may take.
const INSTALL_DEADLINE: Duration = Duration::from_secs(900);

/// Bytes that each process of a build may write to. Compiling takes half a GiB of it, and
/// the rest is the author's.
const MEMORY: u64 = 2 << 30;

/// What the build answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    problems: Vec<Problem>,
    #[serde(default)]
    definition: String,
    #[serde(default)]
    inputs: Vec<std::path::PathBuf>,
    #[serde(default)]
    folders: Vec<std::path::PathBuf>,
}

/// Builds the step in `path`, a file or a folder, unless it was built before and nothing
/// has changed.
pub async fn build(path: &Path, deadline: Duration, out: Output) -> Result<Built> {
    let (entry, name) = source::entry(path)?;
    let entry = match entry.canonicalize() {
        Ok(entry) => entry,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::usage("there is no such file").at(entry.display()));
        }
        Err(error) => return Err(Error::from(error).at(entry.display())),
    };
    let cache = toolchain::cache()?;
    // The name is in the definition: a folder's may differ from its file's.
    let (kept, version) = (kept::folder(&cache, &entry), format!("{} {name}", Toolchain::version()));
    if let Some((record, component)) = kept::load(&kept, &version) {
        return Ok(Built { definition: Definition::parse(&record.definition)?, component, name });
    }
    let toolchain = Toolchain::ready(&cache, Instant::now() + INSTALL_DEADLINE, out).await?;
    let work = tempfile::Builder::new().prefix("keyhole-build-").tempdir()?;
    let began = kept::changed(work.path());
    let answer = make(&entry, &name, &toolchain, &cache, work.path(), deadline, out).await?;
    let component = std::fs::read(work.path().join("step.wasm"))?;
    let definition = Definition::parse(&answer.definition).at(entry.display())?;
    build::check(&component)?;
    let record = kept::record(version, answer.definition, &component, answer.inputs, answer.folders);
    if kept::untouched(began, &record) {
        kept::store(&kept, &record, &component, out);
    }
    Ok(Built { component, name, definition })
}

/// Runs the build, and gives its answer.
async fn make(
    entry: &Path,
    name: &str,
    toolchain: &Toolchain,
    cache: &Path,
    work: &Path,
    deadline: Duration,
    out: Output,
) -> Result<Answer> {
    let packages = cache.join("packages");
    std::fs::create_dir_all(&packages)?;
    std::fs::create_dir(work.join("tmp"))?;
    let request = work.join("request.json");
    let asked = json!({
        "entry": entry, "name": name, "work": work, "wit": toolchain.wit, "own": toolchain.packages, "packages": packages,
    });
    std::fs::write(&request, asked.to_string())?;
    let mut python = toolchain::isolated(&toolchain.python.display().to_string(), work);
    python.arg(toolchain.sdk.join("build/main.py")).arg(&request).env("TMPDIR", work.join("tmp"));
    let run = Run {
        name: "python3",
        missing: MISSING_PYTHON,
        deadline: Instant::now() + deadline,
        slow: "the build runs what stands outside of functions: see that it ends; or give it longer with --timeout, such as --timeout 30m",
        keep_stderr: true,
        memory: Some(MEMORY),
    };
    let ended = child::run_to_end(python, &run).await.at(entry.display())?;
    for line in String::from_utf8_lossy(&ended.stdout).lines() {
        out.note(output::visible(line));
    }
    let answer: Answer = match std::fs::read(work.join("answer.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.trim();
            let said = if said.is_empty() { format!("it ended with {}", ended.status) } else { said.to_owned() };
            return Err(Error::new(format!("the step does not build:\n{said}")).at(entry.display()));
        }
    };
    if answer.problems.is_empty() { Ok(answer) } else { Err(Problem::several(answer.problems, entry)) }
}
