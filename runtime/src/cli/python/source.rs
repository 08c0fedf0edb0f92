//! Which file is the step that a path names.

use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};

/// Whether `path` is a file that is built as Python.
pub fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "py")
}

/// Whether `path` is a folder whose step is Python: it has Python files, and neither a
/// Cargo.toml nor a package.json.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir() && !path.join("Cargo.toml").exists() && !path.join("package.json").exists() && !files(path).is_empty()
}

/// The step's file for a file or a folder, and what its component is called: `step.py`, the
/// file named after the folder, or the only one.
pub fn entry(path: &Path) -> Result<(PathBuf, String)> {
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("step").to_owned();
    if !path.is_dir() {
        return Ok((path.to_owned(), stem(path)));
    }
    let folder = path.canonicalize()?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("step").to_owned();
    let files = files(path);
    if let Some(file) = files.iter().find(|file| stem(file) == "step") {
        return Ok((file.clone(), name));
    }
    if let Some(file) = files.iter().find(|file| stem(file).replace('_', "-") == name.replace('_', "-")) {
        return Ok((file.clone(), stem(file)));
    }
    match files.as_slice() {
        [only] => Ok((only.clone(), stem(only))),
        several => {
            let names: Vec<_> = several.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            Err(Error::usage(format!(
                "the folder holds several files, and nothing says which is the step: {}",
                names.join(", ")
            ))
            .at(path.display())
            .help("name the file, or call it step.py"))
        }
    }
}

/// The folder's own Python files, tests and what belongs to packages aside.
fn files(folder: &Path) -> Vec<PathBuf> {
    let is_step = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        is_file(path)
            && path.is_file()
            && !name.starts_with("test_")
            && !name.starts_with("__")
            && name != "conftest.py"
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
        assert!(!is_folder(&folder));
        std::fs::write(folder.join("send.py"), "").unwrap();
        std::fs::write(folder.join("test_send.py"), "").unwrap();
        assert_eq!(entry(&folder).unwrap(), (folder.join("send.py"), "send".to_owned()));
        std::fs::write(folder.join("other.py"), "").unwrap();
        let error = format!("{:?}", entry(&folder).unwrap_err());
        assert!(error.contains("other.py, send.py"), "{error}");
        std::fs::write(folder.join("send_mail.py"), "").unwrap();
        assert_eq!(entry(&folder).unwrap(), (folder.join("send_mail.py"), "send_mail".to_owned()));
        std::fs::write(folder.join("step.py"), "").unwrap();
        assert_eq!(entry(&folder).unwrap(), (folder.join("step.py"), "send-mail".to_owned()));
        assert!(is_folder(&folder) && !is_folder(dir.path()));
        std::fs::write(folder.join("package.json"), "{}").unwrap();
        assert!(!is_folder(&folder));
    }
}
