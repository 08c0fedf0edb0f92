//! Which file is the step that a path names.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::error::{Context as _, Error, Result};
use super::super::settings::read_text;

/// Endings of files that are built as JavaScript.
const ENDINGS: [&str; 6] = ["mjs", "js", "ts", "cjs", "mts", "cts"];

/// Whether `path` is a file that is built as JavaScript.
pub fn is_file(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
}

/// Whether `path` is a folder whose step is JavaScript: it has no Cargo.toml.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
        && !path.join("Cargo.toml").exists()
        && (path.join("package.json").exists() || !files(path).is_empty())
}

/// The step's file for a file or a folder: what package.json's `main` names, `index`, the
/// file named after the folder, or the only one.
pub fn entry(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(main) = main_of(path)? {
        return Ok(main);
    }
    let folder = path.canonicalize()?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let files = files(path);
    for stem in ["index", name] {
        if let Some(file) = files.iter().find(|file| file.file_stem().is_some_and(|own| own == stem)) {
            return Ok(file.clone());
        }
    }
    match files.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::usage("the folder holds no step: no Cargo.toml, and no JavaScript or TypeScript file")
            .at(path.display())
            .help("name the file of the step, or its folder")),
        several => {
            let names: Vec<_> = several.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            Err(Error::usage(format!(
                "the folder holds several files, and nothing says which is the step: {}",
                names.join(", ")
            ))
            .at(path.display())
            .help("name the file, call it index.mjs, or name it as `main` in package.json"))
        }
    }
}

/// What a component of `entry` is called: the file, or the folder of an `index`.
pub fn name(entry: &Path) -> String {
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    match stem(entry) {
        Some(name) if name != "index" => name,
        _ => entry.canonicalize().ok().and_then(|entry| stem(entry.parent()?)).unwrap_or_else(|| "step".to_owned()),
    }
}

fn main_of(folder: &Path) -> Result<Option<PathBuf>> {
    #[derive(Deserialize)]
    struct Manifest {
        main: Option<String>,
    }
    let path = folder.join("package.json");
    if !path.exists() {
        return Ok(None);
    }
    let manifest: Manifest = serde_json::from_str(&read_text(&path)?).at(path.display())?;
    Ok(manifest.main.map(|main| folder.join(main)).filter(|main| main.is_file()))
}

/// The folder's own source files, app files and declarations aside.
fn files(folder: &Path) -> Vec<PathBuf> {
    let is_step = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        is_file(path)
            && !stem.ends_with(".app")
            && !stem.ends_with(".d")
            && !stem.ends_with(".test")
            && !stem.ends_with(".config")
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_step).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_leads_to_its_step() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("send-mail");
        std::fs::create_dir(&folder).unwrap();
        assert!(entry(&folder).is_err());
        std::fs::write(folder.join("send.ts"), "").unwrap();
        std::fs::write(folder.join("mail.app.mjs"), "").unwrap();
        assert_eq!(entry(&folder).unwrap(), folder.join("send.ts"));
        std::fs::write(folder.join("other.js"), "").unwrap();
        let error = format!("{:?}", entry(&folder).unwrap_err());
        assert!(error.contains("other.js, send.ts"), "{error}");
        std::fs::write(folder.join("send-mail.mjs"), "").unwrap();
        assert_eq!(entry(&folder).unwrap(), folder.join("send-mail.mjs"));
        std::fs::write(folder.join("package.json"), r#"{"main":"other.js"}"#).unwrap();
        assert_eq!(entry(&folder).unwrap(), folder.join("other.js"));
        assert!(is_folder(&folder) && !is_folder(dir.path()));
        std::fs::write(folder.join("Cargo.toml"), "").unwrap();
        assert!(!is_folder(&folder));
    }

    #[test]
    fn an_index_is_called_after_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("hello");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("index.mjs"), "").unwrap();
        assert_eq!(name(&folder.join("index.mjs")), "hello");
        assert_eq!(name(&folder.join("send.mjs")), "send");
    }
}
