//! `keyhole build`: a step's source to a component.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use keyhole::engine::{self, CompileLimits, Definition, InspectError};
use serde_json::json;

use super::error::{Context as _, Error, Result};
use super::output::{self, Output, style};
use super::settings::{Settings, parse_duration};
use super::{cargo, javascript, python};

/// Build a step's source to a component: a Cargo crate, JavaScript, TypeScript or Python
///
/// Building a crate runs its build scripts and macros as you: build only crates that you would run yourself. Running
/// the component that comes of it needs no such trust.
#[derive(Args, Debug)]
pub struct Build {
    /// The folder of the step, or its .mjs, .js, .ts or .py file
    #[arg(default_value = ".", value_hint = ValueHint::AnyPath)]
    source: PathBuf,

    /// The file to write, or the folder to write it into [default: ./NAME.wasm]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Stop a build that takes longer [default: 10m for a crate, 5m for JavaScript and Python]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Build {
    /// Builds, checks and writes the component.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let built = source(&self.source, self.timeout, out).await?;
        let file = format!("{}.wasm", built.name);
        let path = match self.output {
            Some(path) if path.is_dir() => path.join(file),
            Some(path) => path,
            None => PathBuf::from(file),
        };
        write_whole(&path, &built.component)?;
        let size = built.component.len() as u64;
        let (name, version) = (&built.definition.name, &built.definition.version);
        out.either(&json!({"path": path, "size": size, "name": name, "version": version}), || {
            let bold = style::BOLD;
            format!("{bold}{}{bold:#}  {name} {version}, {}", path.display(), output::size(size))
        })
    }
}

/// A component that was built, whatever it is written in.
pub struct Built {
    /// The component.
    pub component: Vec<u8>,
    /// What its file is called, without the ending.
    pub name: String,
    /// The step's definition.
    pub definition: Definition,
}

/// Whether `path` names something to build rather than a component.
pub fn is_source(path: &Path) -> bool {
    path.is_dir() || javascript::is_file(path) || python::is_file(path)
}

/// Builds what `path` names.
pub async fn source(path: &Path, timeout: Option<Duration>, out: Output) -> Result<Built> {
    if javascript::is_file(path) || javascript::is_folder(path) {
        return javascript::build(path, timeout.unwrap_or(javascript::DEADLINE), out).await;
    }
    if python::is_file(path) || python::is_folder(path) {
        return python::build(path, timeout.unwrap_or(python::DEADLINE), out).await;
    }
    let options = cargo::Options { deadline: timeout.unwrap_or(cargo::DEADLINE), talkative: out.may_animate() };
    let built = cargo::build(path, &options, out).await?;
    let component = std::fs::read(&built.wasm).at(built.wasm.display())?;
    let checked = super::inspect::look_into(&component).await.at(built.wasm.display())?;
    Ok(Built { component, name: built.package, definition: checked.definition.clone() })
}

/// Checks what was built, as deploying it would, but for running any of it.
pub fn check(component: &[u8]) -> Result {
    let (size, limit) = (component.len(), CompileLimits::default().component_bytes);
    if size > limit {
        return Err(InspectError::TooLarge { size, limit }.into());
    }
    engine::inspect(component)?.check()?;
    Ok(())
}

/// Writes the file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut file =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Error::from(error).doing("the file can't be written").at(path.display()))
}
