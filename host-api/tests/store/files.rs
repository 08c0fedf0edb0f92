//! Files that are not as they should be.

use std::os::unix::fs::PermissionsExt as _;

use keyhole_host_api::store::redb::{FILE_NAME, RedbStore};
use keyhole_host_api::store::{Expect, Store as _, StoreError};
use redb::{Builder, ConcurrencyMode, TableDefinition};

use crate::{assert_one_line, child, open, open_error, parents_dir, text};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

async fn filled(dir: &std::path::Path) -> Vec<u8> {
    let store = open(dir);
    for number in 0..50 {
        store.write_soon(&format!("records/{number}"), vec![number; 5000]).unwrap();
    }
    store.flush().await.unwrap();
    drop(store);
    std::fs::read(dir.join(FILE_NAME)).unwrap()
}

fn set_format(dir: &std::path::Path, format: u64) {
    let mut builder = Builder::new();
    let database = builder.set_concurrency_mode(ConcurrencyMode::MultiWriter).open(dir.join(FILE_NAME)).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(META).unwrap().insert("format", format).unwrap();
    writing.commit().unwrap();
}

#[tokio::test]
async fn a_file_cut_short_is_one_clear_error_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path()).await;
    let path = dir.path().join(FILE_NAME);
    let step = whole.len() / 150;
    let lengths = (0..whole.len()).step_by(step).chain([1, 9, 64, 319, 320, 512, 4095, 4096, whole.len() - 1]);
    for length in lengths {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = open_error(dir.path());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{length}: {error:?}");
        assert!(error.to_string().contains("cut short"), "{length}: {error}");
        assert_one_line(&error);
        assert!(std::fs::read(&path).unwrap() == whole[..length], "{length}: the file was changed");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open(dir.path()).scan("records/", None, 100).await.unwrap().len(), 50);
}

/// A process that is killed leaves the header's recovery flag set, with which redb would trust the length.
#[tokio::test]
async fn a_file_cut_short_after_a_crash_is_an_error_too() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let path = dir.path().join(FILE_NAME);
    // A copy of a file in use is what a crash leaves.
    let store = open(dir.path());
    store.write("records/last", Expect::Any, Some(vec![1; 5000])).await.unwrap();
    let crashed = std::fs::read(&path).unwrap();
    drop(store);
    std::fs::write(&path, &crashed).unwrap();
    assert_eq!(open(dir.path()).scan("records/", None, 100).await.unwrap().len(), 51);
    for length in (4096..crashed.len()).step_by(4096) {
        std::fs::write(&path, &crashed[..length]).unwrap();
        assert!(open_error(dir.path()).to_string().contains("cut short"), "{length}");
        assert!(std::fs::read(&path).unwrap() == crashed[..length], "{length}: the file was changed");
    }
}

#[tokio::test]
async fn something_else_under_the_stores_name_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for junk in [vec![0; 4096], b"hello, world\n".repeat(1000), vec![0xff; 100_000]] {
        std::fs::write(&path, &junk).unwrap();
        let error = open_error(dir.path());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(std::fs::read(&path).unwrap() == junk);
    }
    std::fs::remove_file(&path).unwrap();
    drop(Builder::new().create(&path).unwrap());
    let error = open_error(dir.path());
    assert!(error.to_string().contains("not Keyhole's"), "{error}");
}

/// Pages whose content was altered: redb does not look for it when it opens a file that was closed
/// properly. Whatever it does then must be an answer, not the end of the process.
#[tokio::test]
async fn altered_pages_give_errors_not_crashes_and_the_check_finds_each() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path()).await;
    let path = dir.path().join(FILE_NAME);
    let mut found = 0;
    for at in (4096..whole.len()).step_by(4096 + 17) {
        let mut altered = whole.clone();
        altered[at] ^= 0x55;
        std::fs::write(&path, &altered).unwrap();
        if let Ok(store) = RedbStore::open(dir.path()) {
            for number in 0..50 {
                if let Err(error) = store.get(&format!("records/{number}")).await {
                    assert_one_line(&error);
                }
            }
        }
        std::fs::write(&path, &altered).unwrap();
        found += usize::from(RedbStore::check(dir.path()).is_err());
    }
    assert!(found > 0);
    std::fs::write(&path, &whole).unwrap();
    RedbStore::check(dir.path()).unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    set_format(dir.path(), 7);
    let path = dir.path().join(FILE_NAME);
    let error = open_error(dir.path());
    let place = path.display().to_string();
    assert_eq!(error, StoreError::NewerVersion { place, found: 7, known: 1 });
    assert!(error.to_string().ends_with("upgrade Keyhole"), "{error}");
    set_format(dir.path(), 1);
    assert_eq!(open(dir.path()).scan("records/", None, 100).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_store_of_an_older_version_opens_and_is_upgraded() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    set_format(dir.path(), 0);
    assert_eq!(open(dir.path()).scan("records/", None, 100).await.unwrap().len(), 50);
    let database = Builder::new().open(dir.path().join(FILE_NAME)).unwrap();
    let meta = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(META).unwrap();
    assert_eq!(meta.get("format").unwrap().unwrap().value(), 1);
}

#[test]
fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert_eq!(open_error(&missing), StoreError::NoDirectory { place: missing.display().to_string() });
}

#[test]
fn only_the_owner_may_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mode = dir.path().join(FILE_NAME).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left in the directory");
}

#[tokio::test]
async fn processes_that_make_the_store_at_once_agree_on_one() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut makers: Vec<_> = (0..4)
            .map(|_| child("files::child_makes", dir.path()).stdout(std::process::Stdio::null()).spawn().unwrap())
            .collect();
        for maker in &mut makers {
            assert!(maker.wait().unwrap().success());
        }
        assert_eq!(open(dir.path()).scan("made/", None, 10).await.unwrap().len(), 4);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
#[ignore = "plays one process of processes_that_make_the_store_at_once_agree_on_one"]
async fn child_makes() {
    let Some(dir) = parents_dir() else { return };
    let key = format!("made/{}", std::process::id());
    let store = open(&dir);
    store.write(&key, Expect::Absent, Some(b"here".to_vec())).await.unwrap();
    assert!(text(&store, &key).await.is_some());
}

/// Another program, or another mode of redb, may hold the file for itself.
#[test]
fn a_store_held_by_another_process_names_it() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut holder = child("files::child_holds", dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("holding")));
    let error = open_error(dir.path());
    assert!(
        matches!(&error, StoreError::Held { holder: named, .. } if named.contains(&holder.id().to_string())),
        "{error}"
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();
    drop(open(dir.path()));
}

#[test]
#[ignore = "plays the holder of a_store_held_by_another_process_names_it"]
fn child_holds() {
    let Some(dir) = parents_dir() else { return };
    let _database = Builder::new().open(dir.join(FILE_NAME)).unwrap();
    println!("\nholding");
    std::io::read_to_string(std::io::stdin()).unwrap();
}

#[tokio::test]
async fn a_key_that_is_no_path_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for key in ["", "line\nbreak", "nul\0", &"x".repeat(513)] {
        assert!(matches!(store.write(key, Expect::Any, None).await, Err(StoreError::BadKey { .. })));
        assert!(matches!(store.write_soon(key, Vec::new()), Err(StoreError::BadKey { .. })));
        assert!(matches!(store.append(key, Vec::new()), Err(StoreError::BadKey { .. })));
    }
}
