//! Disks that are full or read-only. They are real: a small tmpfs, mounted in a mount namespace
//! of its own, so this program runs itself again through `unshare`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use keyhole_host_api::broker::audit::{Audit, AuditError, AuditMode, Decision, Use};
use keyhole_host_api::store::redb::{FILE_NAME, RedbStore};
use keyhole_host_api::store::{Expect, Store, StoreError, WriteBehind};
use keyhole_host_api::vault::{MasterKeySource, Vault};

use crate::{assert_one_line, child, open, open_error, parents_dir, text};

/// Runs the test `part` in a mount namespace where it may mount things.
fn in_own_mounts(part: &str) {
    let dir = tempfile::tempdir().unwrap();
    let test = child(part, dir.path());
    let mut unshare = Command::new("unshare");
    // Root needs no user namespace, and may lack the right to make one.
    unshare.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" });
    unshare.arg(test.get_program()).args(test.get_args()).env(crate::CHILD, dir.path());
    let output = unshare.output().expect("`unshare` (util-linux) must be there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("\npart played"),
        "{part} failed, or mounting is not allowed here:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// A tmpfs of `kib` KiB below the parent's directory.
fn small_disk(kib: usize) -> Option<PathBuf> {
    let disk = parents_dir()?.join("disk");
    std::fs::create_dir(&disk).unwrap();
    run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "keyhole-test", disk.to_str().unwrap()]);
    Some(disk)
}

/// Fills the disk to the last byte.
fn fill(disk: &Path) -> PathBuf {
    use std::io::Write as _;
    let path = disk.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_is_reported_and_the_store_recovers_with_all_that_was_acknowledged() {
    in_own_mounts("faults::child_fills_the_disk");
}

#[tokio::test]
#[ignore = "runs in its own mounts, through a_full_disk_is_reported_…"]
async fn child_fills_the_disk() {
    let Some(disk) = small_disk(4096) else { return };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let store = open(&disk);
    let mut acknowledged = 0;
    let error = loop {
        match store.write(&format!("records/{acknowledged:05}"), Expect::Absent, Some(vec![7; 20_000])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 20, "{acknowledged}");
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_one_line(&error);
    fill(&disk);

    // Full as it is, everything can be read, also after opening it again.
    assert_eq!(store.scan("records/", None, 1000).await.unwrap().len(), acknowledged);
    drop(store);
    let store = open(&disk);
    assert_eq!(store.scan("records/", None, 1000).await.unwrap().len(), acknowledged);

    // What was to be written soon is kept and said to have failed, until there is space.
    store.write_soon("soon", vec![9; 50_000]).unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Full { .. })));
    assert!(matches!(store.write_soon("later", b"later".to_vec()), Err(StoreError::Full { .. })));
    assert!(store.append("appended", vec![1; 50_000]).is_err());
    assert!(matches!(store.write("records/x", Expect::Any, Some(vec![1; 50_000])).await, Err(StoreError::Full { .. })));
    assert_eq!(store.get("records/x").await.unwrap().map(|found| found.revision), None);

    std::fs::remove_file(ballast).unwrap();
    store.write("records/y", Expect::Absent, Some(b"y".to_vec())).await.unwrap();
    assert_eq!(store.get("soon").await.unwrap().unwrap().value, vec![9; 50_000]);
    store.write_soon("later", b"later".to_vec()).unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.scan("records/", None, 1000).await.unwrap().len(), acknowledged + 1);
    drop(store);
    RedbStore::check(&disk).unwrap();
    assert_eq!(text(&open(&disk), "later").await.as_deref(), Some("later"));

    println!("\npart played");
}

#[test]
fn what_answers_before_the_disk_takes_nothing_more_once_it_is_full_and_loses_nothing() {
    in_own_mounts("faults::child_fills_the_disk_behind");
}

#[tokio::test]
#[ignore = "runs in its own mounts, through what_answers_before_the_disk_…"]
async fn child_fills_the_disk_behind() {
    let Some(disk) = small_disk(4096) else { return };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let store: Arc<dyn Store> = Arc::new(open(&disk));
    let behind = WriteBehind::new(store.clone());
    let mut taken = 0;
    let error = loop {
        match behind.write(&format!("records/{taken:05}"), Expect::Absent, Some(vec![7; 20_000])).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        // So that it has a chance to say so.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    // All that was taken can be read, and none of it is forgotten.
    assert_eq!(behind.scan("records/", None, 100_000).await.unwrap().len(), taken);
    std::fs::remove_file(ballast).unwrap();
    while behind.flush().await.is_err() {}
    behind.write("records/y", Expect::Absent, Some(b"y".to_vec())).await.unwrap();
    drop(behind);
    store.flush().await.unwrap();
    assert_eq!(store.scan("records/", None, 100_000).await.unwrap().len(), taken + 1);
    println!("\npart played");
}

#[test]
fn the_audit_lets_nothing_leave_on_a_full_disk_and_its_chain_has_no_gap_afterwards() {
    in_own_mounts("faults::child_fills_the_disk_under_the_audit");
}

#[tokio::test]
#[ignore = "runs in its own mounts, through the_audit_lets_nothing_leave_…"]
async fn child_fills_the_disk_under_the_audit() {
    let Some(disk) = small_disk(8192) else { return };
    for mode in [AuditMode::Strict, AuditMode::Relaxed] {
        let dir = disk.join(format!("{mode:?}"));
        std::fs::create_dir(&dir).unwrap();
        let store: Arc<dyn Store> = Arc::new(open(&dir));
        let vault = Vault::open(MasterKeySource::Env("07".repeat(32).into()), &store).await;
        let vault = Arc::new(vault.unwrap_or_else(|error| panic!("{error}")));
        let audit = Audit::new(store.clone(), &vault, "workspace", mode);
        let used = |number: usize| Use {
            id: number.to_string(),
            at: jiff::Timestamp::now(),
            run: "run".into(),
            step: "step".into(),
            member: "alice".into(),
            account: None,
            app: None,
            method: "GET".into(),
            host: "api.acme.example".into(),
            path: "/".repeat(500),
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            decision: Decision::Allowed,
            reason: None,
        };
        audit.intent(&used(0)).await.unwrap();
        let filler = fill(&disk);
        let mut left = vec![0];
        let mut number = 1;
        let error = loop {
            match audit.intent(&used(number)).await {
                Ok(()) => left.push(number),
                Err(error) => break error,
            }
            // Relaxed: what is to be on disk within 50 ms is looked for after that.
            if number.is_multiple_of(50) {
                let _ = audit.flush().await;
            }
            number += 1;
            assert!(number < 20_000, "a full disk takes no more");
        };
        assert!(error.to_string().contains("no space left"), "{error}");
        let late = matches!(error, AuditError::Late(_));
        assert_eq!(late, mode == AuditMode::Strict, "{error:?}");
        // From now on nothing leaves, in either mode, nor is anything taken over that was not.
        for more in 1..=20 {
            let refused = audit.intent(&used(number + more)).await;
            assert!(matches!(refused, Err(AuditError::Store(StoreError::Full { .. }))), "{refused:?}");
        }
        let refused = Use { decision: Decision::Refused, ..used(number) };
        if late {
            // As the broker says of it, and can't have on disk yet.
            audit.outcome(&refused).unwrap_err();
        }
        std::fs::remove_file(filler).unwrap();
        // The writer tries again by itself.
        while audit.flush().await.is_err() {}
        audit.intent(&used(30_000)).await.unwrap();
        audit.outcome(&used(30_000)).unwrap();
        audit.flush().await.unwrap();
        let verified = audit.verify(Vec::new()).await.unwrap();
        assert_eq!((verified.wrong, verified.writers), (0, 1), "{:?}", verified.findings);
        let uses = audit.uses(None).await.unwrap();
        let allowed: Vec<usize> = uses
            .iter()
            .filter(|used| used.decision == Decision::Allowed)
            .map(|used| used.id.parse().unwrap())
            .collect();
        left.push(30_000);
        assert_eq!(allowed, left, "all that left, and nothing that did not");
        assert_eq!(uses.len(), left.len() + usize::from(late));
        drop((audit, store));
        std::fs::remove_dir_all(dir).unwrap();
    }
    println!("\npart played");
}

#[test]
fn a_disk_too_small_for_a_store_is_reported_and_nothing_is_left_on_it() {
    in_own_mounts("faults::child_makes_a_store_on_a_full_disk");
}

#[tokio::test]
#[ignore = "runs in its own mounts, through a_disk_too_small_for_a_store_…"]
async fn child_makes_a_store_on_a_full_disk() {
    let Some(disk) = small_disk(512) else { return };
    let filler = fill(&disk);
    let error = open_error(&disk);
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 1, "only the filler");
    std::fs::remove_file(filler).unwrap();
    drop(open(&disk));
    println!("\npart played");
}

#[test]
fn a_read_only_data_directory_is_reported() {
    in_own_mounts("faults::child_opens_a_read_only_disk");
}

#[tokio::test]
#[ignore = "runs in its own mounts, through a_read_only_data_directory_is_reported"]
async fn child_opens_a_read_only_disk() {
    let Some(disk) = small_disk(4096) else { return };
    let remount = |how: &str| run("mount", &["-o", &format!("remount,{how}"), disk.to_str().unwrap()]);
    remount("ro");
    let error = open_error(&disk);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "no store yet: {error:?}");
    remount("rw");
    let store = open(&disk);
    store.write("key", Expect::Any, Some(b"value".to_vec())).await.unwrap();
    drop(store);
    remount("ro");
    let before = std::fs::read(disk.join(FILE_NAME)).unwrap();
    let error = open_error(&disk);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert_one_line(&error);
    assert!(std::fs::read(disk.join(FILE_NAME)).unwrap() == before);
    remount("rw");
    assert_eq!(text(&open(&disk), "key").await.as_deref(), Some("value"));
    println!("\npart played");
}

#[test]
fn a_directory_of_someone_else_is_reported() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let dir = tempfile::tempdir().unwrap();
    let forbidden = dir.path().join("forbidden");
    std::fs::create_dir(&forbidden).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&forbidden, std::fs::Permissions::from_mode(0o500)).unwrap();
    if !rustix::process::geteuid().is_root() {
        return assert!(matches!(open_error(&forbidden), StoreError::Denied { .. }));
    }
    // Root may do anything, so the part is played by nobody, from a copy that nobody can reach.
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let part = child("faults::child_opens_a_forbidden_directory", &forbidden);
    let output = Command::new(program)
        .args(part.get_args())
        .env(crate::CHILD, &forbidden)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\npart played"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "plays the user of a_directory_of_someone_else_is_reported"]
fn child_opens_a_forbidden_directory() {
    let Some(dir) = parents_dir() else { return };
    let error = open_error(&dir);
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert_one_line(&error);
    println!("\npart played");
}
