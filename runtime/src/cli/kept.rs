//! Components that were built before: one is used again as long as every file that went
//! into it is as it was.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Context as _, Result};
use super::output::Output;

/// What is kept beside a component.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// The tool chain that made it.
    pub toolchain: String,
    /// The step's definition.
    pub definition: String,
    /// Its own hash.
    component: String,
    /// Every file that went in, with its hash; none for one that was looked for and not there.
    inputs: BTreeMap<PathBuf, Option<String>>,
    /// The author's folders, with a hash of the names in them: a new file may take another's place.
    folders: BTreeMap<PathBuf, Option<String>>,
}

/// Where the component of `entry` is kept.
pub fn folder(cache: &Path, entry: &Path) -> PathBuf {
    let name = blake3::hash(entry.as_os_str().as_encoded_bytes());
    cache.join("builds").join(&name.to_hex()[..32])
}

/// The component that is kept in `folder`, if nothing has changed since.
pub fn load(folder: &Path, toolchain: &str) -> Option<(Record, Vec<u8>)> {
    let record: Record = serde_json::from_slice(&std::fs::read(folder.join("build.json")).ok()?).ok()?;
    let unchanged = record.toolchain == toolchain
        && record.inputs.iter().all(|(path, hash)| file_hash(path) == *hash)
        && record.folders.iter().all(|(path, hash)| folder_hash(path) == *hash);
    if !unchanged {
        return None;
    }
    let component = std::fs::read(folder.join("step.wasm")).ok()?;
    (hash(&component) == record.component).then_some((record, component))
}

/// When a file or folder was last changed, in seconds and nanoseconds: by its status, not by the content's own time,
/// which tools set as they like.
pub fn changed(path: &Path) -> Option<(i64, i64)> {
    std::fs::metadata(path).ok().map(|found| (found.ctime(), found.ctime_nsec()))
}

/// Whether no file that went into a build was changed since it `began`, by the file system's own clock, which lags
/// behind others: what is there now need not be what it read.
pub fn untouched(began: Option<(i64, i64)>, record: &Record) -> bool {
    record.inputs.keys().all(|path| changed(path) <= began)
}

/// What went into a build, as it is now: see [`untouched`].
pub fn record(
    toolchain: String,
    definition: String,
    component: &[u8],
    inputs: Vec<PathBuf>,
    folders: Vec<PathBuf>,
) -> Record {
    Record {
        toolchain,
        definition,
        component: hash(component),
        inputs: inputs.into_iter().map(|path| (path.clone(), file_hash(&path))).collect(),
        folders: folders.into_iter().map(|path| (path.clone(), folder_hash(&path))).collect(),
    }
}

/// Keeps a component. Where that can't be done it is built again the next time.
pub fn store(folder: &Path, record: &Record, component: &[u8], out: Output) {
    if let Err(error) = try_store(folder, record, component) {
        let why = error.message();
        out.note(format!("the component is built again the next time, since it can't be kept: {why}"));
    }
}

fn try_store(folder: &Path, record: &Record, component: &[u8]) -> Result {
    std::fs::create_dir_all(folder).at(folder.display())?;
    super::build::write_whole(&folder.join("step.wasm"), component)?;
    super::build::write_whole(&folder.join("build.json"), &serde_json::to_vec(record)?)
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn file_hash(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| hash(&bytes))
}

fn folder_hash(path: &Path) -> Option<String> {
    let mut names: Vec<_> = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    // What builds and runs leave there themselves.
    names.retain(|name| name != "__pycache__" && Path::new(name).extension().is_none_or(|ending| ending != "wasm"));
    names.sort();
    Some(hash(names.join(std::ffi::OsStr::new("\0")).as_encoded_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_during_a_build_is_not_taken_for_what_was_built() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("step.py");
        std::fs::write(&file, "1").unwrap();
        let began = changed(tempfile::tempdir().unwrap().path());
        let made = || record("t".into(), "{}".into(), b"wasm", vec![file.clone(), dir.path().join("none")], Vec::new());
        assert!(untouched(began, &made()));
        // The file system's clock has to tick first.
        while changed(&file) <= began {
            std::fs::write(&file, "2").unwrap();
        }
        assert!(!untouched(began, &made()));
    }

    #[test]
    fn a_component_is_used_again_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let (file, manifest) = (source.join("a.mjs"), dir.path().join("package.json"));
        std::fs::write(&file, "1").unwrap();
        let kept = folder(dir.path(), &file);
        let keep = || {
            let record =
                record("t".into(), "{}".into(), b"wasm", vec![file.clone(), manifest.clone()], vec![source.clone()]);
            try_store(&kept, &record, b"wasm").unwrap();
            load(&kept, "t").expect("nothing has changed");
        };
        keep();
        assert!(load(&kept, "u").is_none(), "another tool chain");
        std::fs::write(&file, "2").unwrap();
        assert!(load(&kept, "t").is_none(), "another source");
        keep();
        std::fs::write(&manifest, "{}").unwrap();
        assert!(load(&kept, "t").is_none(), "a package.json that was not there");
        keep();
        std::fs::write(source.join("a.ts"), "").unwrap();
        assert!(load(&kept, "t").is_none(), "a file beside it");
        keep();
        std::fs::write(source.join("a.wasm"), "").unwrap();
        std::fs::create_dir(source.join("__pycache__")).unwrap();
        assert!(load(&kept, "t").is_some(), "a component beside it");
        std::fs::write(kept.join("step.wasm"), "other").unwrap();
        assert!(load(&kept, "t").is_none(), "another component");
    }
}
