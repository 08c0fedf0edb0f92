//! Disks that are full or read-only. They are real: a small tmpfs, in mounts of the test's own.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::workspace::component;

use crate::rig::*;

/// Fills the disk to the last byte.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_is_one_clear_error_and_with_space_again_everything_is_there() {
    in_own_mounts("disk::plays_on_a_full_disk");
}

#[test]
#[ignore = "runs in its own mounts, through a_full_disk_is_one_clear_error_…"]
fn plays_on_a_full_disk() {
    if !plays_a_part() {
        return;
    }
    let keyhole = Keyhole::default();
    mount_disk(&keyhole.data_dir(), 8 * 1024);
    let mut workspace = Workspace::on(keyhole);
    workspace.is_whole();
    let filler = fill(&workspace.data());

    // What was there is read; what can't be written is refused, until at last nothing fits.
    let listed = workspace.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]);
    assert!(listed.code == 0 && listed.json().as_array().unwrap().len() == 3, "{}", listed.stderr);
    let said = loop {
        let connect = ["--json", "accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test"];
        let ended = workspace.keyhole.call_with(&connect, KEY);
        if ended.code != 0 {
            break ended;
        }
        workspace.accounts.push(ended.json()["id"].as_str().unwrap().to_owned());
        assert!(workspace.accounts.len() < 1000, "a full disk takes no more");
    };
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    let message = said.json_error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no space left") && message.contains("free some"), "{message}");
    // A run says so too, and sends nothing whose intent is not on disk.
    let step = component("echo-key").display().to_string();
    let link = format!("acme={}", workspace.accounts[0]);
    let mut run = workspace.keyhole.command(&["run", &step, "--as", "alice", "--link", &link]);
    run.args(workspace.keyhole.flags());
    fails(run, |_| {}, &["the audit could not be written, so nothing is sent: no space left"]);

    std::fs::remove_file(filler).unwrap();
    // The disk took the account perhaps, and not the record of that; then it says so.
    if message.contains("it was done") {
        let listed = workspace.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
        let ids = listed.as_array().unwrap().iter().map(|account| account["id"].as_str().unwrap().to_owned());
        workspace.accounts = ids.collect();
    }
    workspace.is_whole();
    workspace.accounts.push(workspace.keyhole.connect("alice", KEY));
    workspace.is_whole();
    let audit = workspace
        .keyhole
        .call(&["--json", "audit", "--kind", "request", "--decision", "allowed", "-n", "10000"])
        .ok()
        .json();
    assert_eq!(audit.as_array().unwrap().len(), workspace.received(), "one record for each request that left");
    played();
}

#[test]
fn a_disk_too_full_for_a_new_store_is_one_clear_error() {
    in_own_mounts("disk::plays_on_a_disk_too_full_for_a_store");
}

#[test]
#[ignore = "runs in its own mounts, through a_disk_too_full_for_a_new_store_…"]
fn plays_on_a_disk_too_full_for_a_store() {
    if !plays_a_part() {
        return;
    }
    let keyhole = Keyhole::default();
    mount_disk(&keyhole.data_dir(), 512);
    let filler = fill(&keyhole.data_dir());
    fails(keyhole.command(&["members", "add", "alice"]), |_| {}, &["no space left", "free some and try again"]);
    let left: Vec<_> = std::fs::read_dir(keyhole.data_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&filler), "no half-made file is left");
    std::fs::remove_file(filler).unwrap();
    mount_disk(&keyhole.data_dir(), 8 * 1024);
    Workspace::on(keyhole).is_whole();
    played();
}

#[test]
fn a_read_only_disk_is_one_clear_error_and_writable_again_everything_is_there() {
    in_own_mounts("disk::plays_on_a_read_only_disk");
}

#[test]
#[ignore = "runs in its own mounts, through a_read_only_disk_is_one_clear_error_…"]
fn plays_on_a_read_only_disk() {
    if !plays_a_part() {
        return;
    }
    let keyhole = Keyhole::default();
    mount_disk(&keyhole.data_dir(), 8 * 1024);
    let workspace = Workspace::on(keyhole);
    remount(&workspace.data(), "ro");
    workspace.all_fail(|_| {}, &["is read-only", "make it writable, or pass another --data-dir"]);
    remount(&workspace.data(), "rw");
    workspace.is_whole();
    played();
}

#[test]
fn a_data_directory_of_someone_else_is_one_clear_error() {
    let workspace = Workspace::new();
    // Whoever runs this may be root, for whom no mode is a hindrance; so nobody tries, with a
    // copy of the program that nobody can reach.
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = open.path().join("keyhole");
    std::fs::copy(keyhole_tests::workspace::keyhole(), &program).unwrap();
    if !is_root() {
        let mut mode = std::fs::metadata(workspace.data()).unwrap().permissions();
        mode.set_mode(0o500);
        std::fs::set_permissions(workspace.data(), mode).unwrap();
    }
    let home = workspace.keyhole.data.path();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--data-dir").arg(workspace.data()).args(args).env_clear().env("NO_COLOR", "1");
        if is_root() {
            as_nobody(&mut command);
        }
        command
    };
    if is_root() {
        // Its own directory, mode 0700.
        let parts = ["permission denied", "run as its owner"];
        fails(command(&["accounts", "list"]), |_| {}, &parts);
        // Readable, and not to be written.
        std::fs::set_permissions(workspace.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
        fails(command(&["accounts", "list"]), |_| {}, &parts);
        std::fs::set_permissions(workspace.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let elsewhere = open.path().join("not/to/be/made");
    let mut fresh = Command::new(&program);
    fresh.arg("--data-dir").arg(&elsewhere).args(["members", "add", "bob"]).env_clear().env("NO_COLOR", "1");
    if is_root() {
        as_nobody(&mut fresh);
        fails(fresh, |_| {}, &["the data directory can't be made", "--data-dir DIR"]);
    } else {
        Ended::from(fresh.output().unwrap()).ok();
        std::fs::set_permissions(workspace.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    workspace.is_whole();
}

#[test]
fn a_server_on_a_full_disk_lives_and_is_not_ready_until_there_is_space() {
    in_own_mounts("disk::serves_on_a_full_disk");
}

/// The status of an answer to a plain request.
fn status(address: &str, path: &str) -> u16 {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[test]
#[ignore = "runs in its own mounts, through a_server_on_a_full_disk_…"]
fn serves_on_a_full_disk() {
    if !plays_a_part() {
        return;
    }
    let keyhole = Keyhole::default();
    mount_disk(&keyhole.data_dir(), 8 * 1024);
    keyhole.member("alice");
    let mut serve = keyhole.command(&["--json", "serve", "--listen", "127.0.0.1:0"]);
    let mut serve = serve.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut said = serde_json::Deserializer::from_reader(serve.stdout.take().unwrap()).into_iter::<serde_json::Value>();
    let said = said.next().unwrap().unwrap();
    let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_eq!(status(&address, "/readyz"), 200);
    let filler = fill(&keyhole.data_dir());
    let until = |wanted: u16, meanwhile: &dyn Fn()| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while status(&address, "/readyz") != wanted {
            assert!(std::time::Instant::now() < deadline, "it is not {wanted}");
            meanwhile();
            // What it has found out is told for a second.
            std::thread::sleep(std::time::Duration::from_millis(1_100));
        }
    };
    let connect = ["--json", "accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test"];
    // Until what the file has of room within it is used up, too.
    until(503, &|| (0..10).for_each(|_| drop(keyhole.call_with(&connect, KEY))));
    assert_eq!(status(&address, "/healthz"), 200);
    std::fs::remove_file(filler).unwrap();
    until(200, &|| {});
    serve.kill().unwrap();
    serve.wait().unwrap();
    played();
}
