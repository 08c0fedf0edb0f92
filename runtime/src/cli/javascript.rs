//! A JavaScript or TypeScript step to a component.
//!
//! The work is done by guest-sdk/js in Node.js: it bundles the author's source, runs the
//! top level of it inside the engine, without a host, and takes a snapshot. The author's
//! code runs nowhere else: the build has a deadline, a memory limit for each process, and
//! reads no folder but the step's source and its packages.

mod source;
mod toolchain;

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyhole::engine::{CompileLimits, Definition};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::build::{self, Built};
use super::child::{self, Run};
use super::error::{Context as _, Error, Result};
use super::kept;
use super::output::{self, Output};
use super::toolchain::Problem;
use toolchain::{MISSING_NODE, Toolchain};

pub use source::{is_file, is_folder};

/// When a build is given up, installing aside, unless its author says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// How long installing the tool chain may take.
const INSTALL_DEADLINE: Duration = Duration::from_secs(900);

/// Bytes that the author's code may write to while it is built.
const MEMORY: u64 = 2 << 30;

/// Bytes that each other process of a build may: bundlers and V8 reserve more than they use.
const TOOLS_MEMORY: u64 = 12 << 30;

/// How the build says what the definition is.
const DEFINITION: &str = "keyhole-definition ";

/// What the build answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    problems: Vec<Problem>,
    #[serde(default)]
    inputs: Vec<PathBuf>,
    #[serde(default)]
    folders: Vec<PathBuf>,
}

/// Builds the step in `path`, a file or a folder, unless it was built before and nothing
/// has changed.
pub async fn build(path: &Path, deadline: Duration, out: Output) -> Result<Built> {
    let entry = source::entry(path)?;
    let name = source::name(&entry);
    let entry = match entry.canonicalize() {
        Ok(entry) => entry,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::usage("there is no such file").at(entry.display()));
        }
        Err(error) => return Err(Error::from(error).at(entry.display())),
    };
    let cache = toolchain::cache()?;
    let (kept, version) = (kept::folder(&cache, &entry), Toolchain::version());
    if let Some((record, component)) = kept::load(&kept, &version) {
        return Ok(Built { definition: Definition::parse(&record.definition)?, component, name });
    }
    let toolchain = Toolchain::ready(&cache, Instant::now() + INSTALL_DEADLINE, out).await?;
    let work = tempfile::Builder::new().prefix("keyhole-build-").tempdir()?;
    let began = kept::changed(work.path());
    let work = work.path();
    let (answer, definition) = make(&entry, &toolchain, &cache, work, deadline, out).await?;
    let component = std::fs::read(work.join("step.wasm"))?;
    let parsed = Definition::parse(&definition).at(entry.display())?;
    build::check(&component)?;
    let record = kept::record(version, definition, &component, answer.inputs, answer.folders);
    if kept::untouched(began, &record) {
        kept::store(&kept, &record, &component, out);
    }
    Ok(Built { component, name, definition: parsed })
}

/// Runs the build, and gives its answer and the step's definition.
async fn make(
    entry: &Path,
    toolchain: &Toolchain,
    cache: &Path,
    work: &Path,
    deadline: Duration,
    out: Output,
) -> Result<(Answer, String)> {
    let request = work.join("request.json");
    let packages = cache.join("packages");
    std::fs::create_dir_all(&packages)?;
    let temporary = work.join("tmp");
    std::fs::create_dir(&temporary)?;
    std::fs::write(
        &request,
        json!({
            "entry": entry,
            "work": work,
            "wit": toolchain.wit,
            "packages": packages,
            "memory": MEMORY,
            "largest": CompileLimits::default().component_bytes,
        })
        .to_string(),
    )?;
    let mut node = child::program("node", work);
    node.arg(toolchain.sdk.join("build/main.js")).arg(&request).env("TMPDIR", &temporary).env_remove("NODE_OPTIONS");
    let run = Run {
        name: "node",
        missing: MISSING_NODE,
        deadline: Instant::now() + deadline,
        slow: "the build runs what stands outside of functions: see that it ends; or give it longer with --timeout, such as --timeout 30m",
        keep_stderr: !out.may_animate(),
        memory: Some(TOOLS_MEMORY),
    };
    let ended = child::run_to_end(node, &run).await.at(entry.display())?;
    let printed = String::from_utf8_lossy(&ended.stdout);
    let mut definition = None;
    for line in printed.lines() {
        match line.strip_prefix(DEFINITION) {
            Some(text) => definition = Some(text.to_owned()),
            None => out.note(output::visible(line)),
        }
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
    if !answer.problems.is_empty() {
        return Err(Problem::several(answer.problems, entry));
    }
    let definition = definition.ok_or_else(|| Error::new("the build gave no definition").at(entry.display()))?;
    Ok((answer, definition))
}
