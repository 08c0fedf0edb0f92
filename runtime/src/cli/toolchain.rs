//! What tool chains for steps have in common: their place in the user's cache, one
//! installation at a time, and the files of this program that they are made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::{Context as _, Error, Result};
use super::output::Output;

/// Files of this repository, by their names below a folder of it.
macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $folder, "/", $name)))),*]
    };
}
pub(super) use files;

/// The contract.
pub const WIT: &[(&str, &str)] = files![
    "wit":
    "step.wit",
    "deps/cli/package.wit",
    "deps/clocks/package.wit",
    "deps/filesystem/package.wit",
    "deps/http/package.wit",
    "deps/io/package.wit",
    "deps/random/package.wit",
    "deps/sockets/package.wit",
];

/// Where everything about a language is kept.
pub fn cache(language: &str) -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().help("set HOME, or XDG_CACHE_HOME to a folder for caches")?;
    Ok(base.cache_dir().join("keyhole").join(language))
}

/// What a build found wrong.
#[derive(Deserialize)]
pub struct Problem {
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl Problem {
    /// All of them as one error; where none is named, the place is `entry`.
    pub fn several(problems: Vec<Self>, entry: &Path) -> Error {
        Error::several(problems.into_iter().map(|problem| {
            let error = Error::new(problem.message).at(problem.place.unwrap_or_else(|| entry.display().to_string()));
            match problem.help {
                Some(help) => error.help(help),
                None => error,
            }
        }))
    }
}

/// Says what takes its time, until it is dropped: turning on a terminal, as a line elsewhere.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Says `what`.
    pub fn new(what: &'static str, out: Output) -> Self {
        if !out.may_animate() {
            out.note(what);
            return Self(None);
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        let template = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        spinner.set_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self(Some(spinner))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = self.0.take() {
            spinner.finish_and_clear();
        }
    }
}

/// Waits until no other process installs the tool chain of `language` in `cache`.
pub async fn turn(cache: &Path, language: &str, deadline: Instant, out: Output) -> Result<std::fs::File> {
    let file = std::fs::File::create(cache.join("install.lock"))?;
    let mut told = false;
    while file.try_lock().is_err() {
        if !told {
            out.note(format!("another build installs the {language} tool chain; waiting for it"));
            told = true;
        }
        if Instant::now() >= deadline {
            return Err(Error::new(format!(
                "another build did not finish installing the {language} tool chain by the deadline"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(file)
}

/// What tells one set of files from another.
pub fn hash<'f>(files: impl Iterator<Item = &'f (&'f str, &'f str)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in files {
        hasher.update(name.as_bytes()).update(b"\0").update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Writes files below `folder`.
pub fn write_all(folder: &Path, files: &[(&str, &str)]) -> Result {
    for (name, text) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).at(path.display())?;
    }
    Ok(())
}

/// Puts a finished folder in its place, unless another process was faster.
pub fn rename(made: tempfile::TempDir, to: &Path) -> Result {
    let from = made.keep();
    if let Err(error) = std::fs::rename(&from, to) {
        let _ = std::fs::remove_dir_all(&from);
        if !to.is_dir() {
            return Err(Error::from(error).at(to.display()));
        }
    }
    Ok(())
}
