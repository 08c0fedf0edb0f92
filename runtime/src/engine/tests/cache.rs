//! Compiled code on disk is used only if this Keyhole wrote it, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::*;
use super::guest::*;

const KEY: [u8; 32] = [7; 32];

fn with(cache: CodeCacheConfig) -> Engine {
    Engine::new(EngineConfig { slots: Some(4), code_cache: Some(cache), ..EngineConfig::default() }).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Loads `component` in a new engine, and runs it.
async fn start(dir: &Path, key: [u8; 32], component: &Bytes) {
    let engine = with(CodeCacheConfig::new(dir, key));
    let step = engine.load(component.clone()).await.unwrap();
    engine.run(&step, std::sync::Arc::new(NoHost), &input(), &Limits::default()).await.result.unwrap();
}

#[tokio::test]
async fn what_was_compiled_is_read_and_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let component = Guest::default().component();
    start(dir.path(), KEY, &component).await;
    let [file] = &files(dir.path())[..] else { panic!() };
    let before = fs::read(file).unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = fs::metadata(file).unwrap().ino();
    start(dir.path(), KEY, &component).await;
    assert_eq!((fs::metadata(file).unwrap().ino(), fs::read(file).unwrap()), (inode, before));
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_file_that_is_changed_cut_or_foreign_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let component = Guest::default().component();
    start(dir.path(), KEY, &component).await;
    let file = files(dir.path()).remove(0);
    let good = fs::read(&file).unwrap();

    let mut broken = Vec::new();
    for at in [0, 7, 8, 39, 40, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        broken.push(bytes);
    }
    for end in [0, 4, 20, 40, good.len() - 1] {
        broken.push(good[..end].to_vec());
    }
    broken.push([&good[..], b"x"].concat());
    for bytes in broken {
        fs::write(&file, &bytes).unwrap();
        start(dir.path(), KEY, &component).await;
        assert_eq!(fs::read(&file).unwrap()[..8], good[..8]);
        assert_ne!(fs::read(&file).unwrap(), bytes);
    }

    // Of another key, which has files of its own, and of another component.
    start(dir.path(), [8; 32], &component).await;
    let foreign_file = files(dir.path()).into_iter().find(|path| *path != file).unwrap();
    let foreign = fs::read(&foreign_file).unwrap();
    fs::rename(&foreign_file, &file).unwrap();
    start(dir.path(), KEY, &component).await;
    assert_ne!(fs::read(&file).unwrap(), foreign);
    let other = Guest::default().returning("1").component();
    start(dir.path(), KEY, &other).await;
    let other_file = files(dir.path()).into_iter().find(|path| *path != file).unwrap();
    fs::copy(&other_file, &file).unwrap();
    start(dir.path(), KEY, &component).await;
    assert_ne!(fs::read(&file).unwrap(), fs::read(&other_file).unwrap());
}

#[tokio::test]
async fn the_least_recently_used_go_first() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), KEY, &Guest::default().component()).await;
    let bytes = fs::metadata(&files(dir.path())[0]).unwrap().len();
    let engine = with(CodeCacheConfig { max_bytes: bytes * 5 / 2, ..CodeCacheConfig::new(dir.path(), KEY) });
    let mut newest = None;
    for n in 0..4 {
        engine.load(Guest::default().returning(&n.to_string()).component()).await.unwrap();
        let files = files(dir.path());
        assert!(files.len() <= 2);
        newest = files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
    }
    assert!(newest.is_some());
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_costs_speed_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    start(&file.path().join("below"), KEY, &Guest::default().component()).await;
}
