//! Files beside a workflow's file that its requests send: read where it is deployed, and kept with the version.
//!
//! A path in a workflow's file names something in its own folder, and nothing on the machine that runs it.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use keyhole_host_api::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::blobs;

/// Most bytes of one file.
pub const ONE: usize = 1 << 20;
/// Most bytes of all files of a workflow.
pub const ALL: usize = 4 << 20;
/// Where they are.
const FOLDER: &str = "workflow-files/";

/// A file that was deployed with a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Its path in the workflow's folder.
    pub path: String,
    /// Its type, by its name.
    pub content_type: String,
    /// Its bytes.
    pub bytes: usize,
    /// Their hash, since what is sent must be what was deployed.
    pub digest: String,
    /// What it is kept as.
    pub blob: String,
}

impl PlannedFile {
    /// `bytes`, which are not kept yet.
    pub(super) fn new(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            content_type: content_type(path).to_owned(),
            bytes: bytes.len(),
            digest: blake3::hash(bytes).to_hex().to_string(),
            blob: blobs::name(),
        }
    }
}

/// Why a path names no file of a workflow.
pub fn check_path(path: &str) -> Result<(), String> {
    let is_inside = !path.is_empty()
        && !path.contains(['\\', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && Path::new(path).file_name().is_some();
    match is_inside {
        true => Ok(()),
        false => {
            Err(format!("'{path}' is not in the folder of the workflow's file; put it there, and name it from there"))
        }
    }
}

/// The type of a file of this name. `headers` can say another.
fn content_type(path: &str) -> &'static str {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "json" => "application/json",
        "xml" => "application/xml",
        "yaml" | "yml" => "application/yaml",
        "txt" | "log" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The files that were deployed.
pub struct Files(Arc<dyn Store>);

impl Files {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Keeps `bytes` as what `file` says. On disk when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put(&self, file: &PlannedFile, bytes: &[u8]) -> Result<(), StoreError> {
        blobs::put(&self.0, &folder(file), bytes).await
    }

    /// Takes away what was begun before `before` and is none of `needed`.
    pub(super) async fn sweep(&self, needed: &HashSet<String>, before: Timestamp) -> Result<usize, StoreError> {
        let mut gone = 0;
        for blob in blobs::folders(&self.0, FOLDER).await? {
            if !needed.contains(&blob) && blobs::is_older(&blob, before) {
                blobs::delete(&self.0, &format!("{FOLDER}{blob}/")).await?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// What `file` says.
    ///
    /// # Errors
    /// It is not there, or not as it was deployed.
    pub async fn get(&self, file: &PlannedFile) -> Result<Bytes, StoreError> {
        let folder = folder(file);
        let bytes = blobs::get(&self.0, &folder, file.bytes).await?;
        if blake3::hash(&bytes).to_hex().as_str() != file.digest {
            return Err(StoreError::Corrupt { place: folder, reason: "it is not what was deployed".to_owned() });
        }
        Ok(bytes)
    }
}

fn folder(file: &PlannedFile) -> String {
    format!("{FOLDER}{}/", file.blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_workflows_folder() {
        for inside in ["a.csv", "data/a.csv", "./a.csv", "..a", "a..b/c"] {
            assert!(check_path(inside).is_ok(), "{inside}");
        }
        for outside in ["", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "a\\b", "a\0b", "./"] {
            assert!(check_path(outside).is_err(), "{outside}");
        }
    }
}
