//! The store file: cut short, garbage, or of a newer version.

use std::fs::OpenOptions;

use redb::{ReadableTable as _, TableDefinition};

use crate::rig::*;

#[test]
fn a_store_cut_short_is_one_clear_error_and_is_left_as_it_is() {
    let workspace = Workspace::new();
    let store = workspace.store();
    let whole = std::fs::read(&store).unwrap();
    for length in [0, 100, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&store, &whole[..length]).unwrap();
        workspace.all_fail(|_| {}, &["is damaged", "cut short", "it was left as it is: restore it from a backup"]);
        assert!(std::fs::read(&store).unwrap() == whole[..length], "it was left as it is");
    }
    std::fs::write(&store, &whole).unwrap();
    workspace.is_whole();
}

#[test]
fn a_store_that_is_something_else_is_one_clear_error_and_is_left_as_it_is() {
    let workspace = Workspace::new();
    let store = workspace.store();
    let whole = std::fs::read(&store).unwrap();
    let garbage: Vec<u8> = whole.iter().map(|byte| byte ^ 0x5a).collect();
    std::fs::write(&store, &garbage).unwrap();
    workspace.all_fail(|_| {}, &["is damaged", "it was left as it is: restore it from a backup"]);
    assert!(std::fs::read(&store).unwrap() == garbage, "it was left as it is");
    std::fs::write(&store, &whole).unwrap();
    workspace.is_whole();
}

#[test]
fn a_store_of_a_newer_version_is_one_clear_error_and_no_record_is_touched() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let workspace = Workspace::new();
    let store = workspace.store();
    let set_format = |format| {
        let database = redb::Database::open(&store).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(META).unwrap().insert("format", format).unwrap();
        writing.commit().unwrap();
    };
    set_format(99);
    workspace
        .all_fail(|_| {}, &["was written by a newer Keyhole (format 99, this one knows up to 1)", "upgrade Keyhole"]);
    set_format(1);
    workspace.is_whole();
}

#[test]
fn a_newer_record_in_an_older_store_is_one_clear_error_and_the_others_are_used() {
    const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
    let workspace = Workspace::new();
    let key = format!("accounts/{}", workspace.accounts[0]);
    let replace = |from: &str, to: &str| {
        let database = redb::Database::open(workspace.store()).unwrap();
        let writing = database.begin_write().unwrap();
        {
            let mut records = writing.open_table(RECORDS).unwrap();
            let (revision, record) = {
                let found = records.get(key.as_str()).unwrap().expect("the account's record");
                let (revision, value) = found.value();
                (revision, String::from_utf8(value.to_vec()).unwrap())
            };
            assert!(record.contains(from), "{from}: {}", record.len());
            records.insert(key.as_str(), (revision, record.replacen(from, to, 1).as_bytes())).unwrap();
        }
        writing.commit().unwrap();
    };
    replace("\"v\":1", "\"v\":9");
    let run = workspace.run(&workspace.accounts[0]);
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("was written by a newer Keyhole (format 9") && message.contains("upgrade"), "{message}");
    assert_eq!(workspace.run(&workspace.accounts[1])["status"], "ok");
    replace("\"v\":9", "\"v\":1");
    workspace.is_whole();
}

#[test]
fn a_damaged_code_cache_is_made_again_and_never_run() {
    let workspace = Workspace::new();
    assert_eq!(workspace.run(&workspace.accounts[0])["status"], "ok");
    let code = workspace.data().join("code");
    let files: Vec<_> = std::fs::read_dir(&code).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let whole = std::fs::read(&files[0]).unwrap();
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for bad in [&altered[..], &whole[..whole.len() / 2], b""] {
        std::fs::write(&files[0], bad).unwrap();
        workspace.is_whole();
        assert!(std::fs::read(&files[0]).unwrap().len() == whole.len(), "it was made again");
    }
    // A folder in which nothing can be kept makes runs slow, and not wrong.
    std::fs::remove_dir_all(&code).unwrap();
    OpenOptions::new().write(true).create_new(true).open(&code).unwrap();
    workspace.is_whole();
}
