//! What the store promises, tried with real files, processes, full disks and damaged files.
//!
//! Some tests need another process. They run this very program again with [`CHILD`] set; the
//! test named there then plays that process's part.

mod behind;
mod concurrency;
mod faults;
mod files;
mod records;
mod speed;

use std::path::Path;
use std::process::Command;

use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Store as _, StoreError};

/// Tells a child process where its store is.
const CHILD: &str = "KEYHOLE_STORE_TEST_DIR";

/// A command that runs the test `part` of this program in the role of a child.
fn child(part: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--nocapture", "--ignored", "--test-threads=1"]).env(CHILD, dir);
    command
}

/// The directory that the parent named.
fn parents_dir() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

fn open(dir: &Path) -> RedbStore {
    RedbStore::open(dir).unwrap()
}

fn open_error(dir: &Path) -> StoreError {
    match RedbStore::open(dir) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// The value at `key` as text.
async fn text(store: &RedbStore, key: &str) -> Option<String> {
    store.get(key).await.unwrap().map(|found| String::from_utf8(found.value).unwrap())
}

fn assert_one_line(error: &StoreError) {
    let message = error.to_string();
    assert!(!message.contains('\n') && !message.is_empty(), "{message}");
}
