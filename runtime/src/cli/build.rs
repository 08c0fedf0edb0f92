//! `keyhole build`: a step's source folder to a component.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use serde_json::json;

use super::cargo;
use super::error::{Context as _, Error, Result};
use super::output::{self, style};
use super::settings::{Settings, parse_duration};

/// Build a step's folder to a component
#[derive(Args, Debug)]
pub struct Build {
    /// The folder of the step's Cargo crate
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// The file to write, or the folder to write it into [default: ./NAME.wasm]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Stop a build that takes longer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    timeout: Duration,
}

impl Build {
    /// Builds, checks and writes the component.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let talkative = !out.json && !out.quiet && std::io::stderr().is_terminal();
        let built = cargo::build(&self.folder, &cargo::Options { deadline: self.timeout, talkative }, out).await?;
        let bytes = std::fs::read(&built.wasm).at(built.wasm.display())?;
        let checked = super::inspect::look_into(&bytes).await.at(built.wasm.display())?;
        let file = format!("{}.wasm", built.package);
        let path = match self.output {
            Some(path) if path.is_dir() => path.join(file),
            Some(path) => path,
            None => PathBuf::from(file),
        };
        write_whole(&path, &bytes)?;
        let size = bytes.len() as u64;
        out.either(&json!({"path": path, "size": size, "name": checked.definition.name, "version": checked.definition.version}), || {
            let bold = style::BOLD;
            format!("{bold}{}{bold:#}  {} {}, {}", path.display(), checked.definition.name, checked.definition.version, output::size(size))
        })
    }
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
