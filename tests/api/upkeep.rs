//! The master key is exchanged, a backup is taken and put back, three ways: on the data directory,
//! beside a server that has it open, and over HTTP. What the server serves afterwards is what was put back.

use std::path::Path;

use keyhole_tests::program::{Ended, KEY, Keyhole};
use serde_json::{Value, json};

use crate::rig::Served;

fn accounts(keyhole: &Keyhole) -> Vec<String> {
    let listed = keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|account| account["nickname"].as_str().unwrap().to_owned()).collect()
}

/// What a person does who looks after a Keyhole, `call` being one of the ways to do it.
fn look_after(keyhole: &Keyhole, call: &dyn Fn(&[&str]) -> Ended, dir: &Path) {
    keyhole.connect("alice", KEY);
    let report = call(&["--json", "vault", "check"]).ok().json();
    let opened = report["opened"].as_u64().unwrap();
    assert_eq!((report["damaged"].clone(), report["keys"][0]["records"].as_u64()), (json!([]), Some(opened)));
    let rotated = call(&["--json", "vault", "rotate"]).ok().json();
    assert_eq!(rotated["from"], report["seals"]);
    let text = call(&["vault", "check"]).ok().stdout;
    assert!(
        text.contains(rotated["to"].as_str().unwrap()) && text.contains(&format!("{opened} of {opened}")),
        "{text}"
    );
    let said = call(&["vault", "forget", rotated["to"].as_str().unwrap()]).failed(1);
    assert!(said.contains("keyhole vault rotate"), "{said}");
    call(&["vault", "forget", rotated["from"].as_str().unwrap()]).ok();
    let said = call(&["vault", "forget", rotated["from"].as_str().unwrap()]).failed(1);
    assert!(said.contains("is not configured"), "{said}");

    let (file, other) = (dir.join("one.backup"), dir.join("two.backup"));
    let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());
    let before = accounts(keyhole);
    let said = call(&["--json", "backup", file]).ok().json();
    assert_eq!(said["bytes"].as_u64().unwrap(), std::fs::metadata(file).unwrap().len());
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file).unwrap()) & 0o777, 0o600);
    let bytes = std::fs::read(file).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"alice"));
    let said = call(&["backup", file]).failed(2);
    assert!(said.contains("the file is there already"), "{said}");
    call(&["backup", other]).ok();

    let lost = keyhole.connect("alice", KEY);
    assert_ne!(accounts(keyhole), before);
    let said = call(&["restore", file]).failed(1);
    assert!(said.contains("--replace"), "{said}");
    let said = call(&["--json", "restore", file, "--replace"]).ok().json();
    assert!(said["records"].as_u64().unwrap() > 3, "{said}");
    assert_eq!(accounts(keyhole), before);
    keyhole.call(&["accounts", "show", &lost, "--as", "alice"]).failed(1);
    let report = call(&["--json", "vault", "check"]).ok().json();
    assert_eq!((&report["opened"], &report["damaged"]), (&json!(opened), &json!([])));

    // What is no whole backup changes nothing.
    for (name, bytes) in [("cut", &bytes[..bytes.len() - 1]), ("none", b"something else"), ("empty", b"")] {
        let bad = dir.join(name);
        std::fs::write(&bad, bytes).unwrap();
        call(&["restore", bad.to_str().unwrap(), "--replace"]).failed(1);
        std::fs::remove_file(bad).unwrap();
    }
    assert_eq!(accounts(keyhole), before);
}

#[test]
fn the_store_is_looked_after_on_the_data_directory() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let dir = tempfile::tempdir().unwrap();
    look_after(&keyhole, &|args| keyhole.call(args), dir.path());
}

#[test]
fn the_store_is_looked_after_beside_a_server_and_the_server_goes_on() {
    let served = Served::with_members();
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = served.token("alice", &[]);
    look_after(&served.keyhole, &|args| served.keyhole.call(args), dir.path());
    // Connected through the server, sealed with the key that it was not told of.
    let ended = with_input(served.remotely(&token, &["accounts", "connect", "acme", "--stdin", "--no-test"]), KEY);
    ended.ok();
    let report = served.keyhole.call(&["--json", "vault", "check"]).ok().json();
    assert_eq!(report["keys"].as_array().unwrap().len(), 1, "{report:#}");
}

#[test]
fn the_store_is_looked_after_over_http_by_admins_alone() {
    let served = Served::with_members();
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = served.token("alice", &[]);
    let call = |args: &[&str]| Ended::from(served.remotely(&token, args).output().unwrap());
    look_after(&served.keyhole, &call, dir.path());
    let (token, _) = served.token("bob", &[]);
    let file = dir.path().join("bob");
    let file = file.to_str().unwrap();
    let one = dir.path().join("one.backup");
    let calls: [&[&str]; 5] = [
        &["vault", "rotate"],
        &["vault", "check"],
        &["vault", "forget", "0123"],
        &["backup", file],
        &["restore", one.to_str().unwrap(), "--replace"],
    ];
    for args in calls {
        let said = Ended::from(served.remotely(&token, args).output().unwrap()).failed(1);
        assert!(said.contains("only an admin can do that"), "{args:?}: {said}");
    }
    assert!(!Path::new(file).exists(), "nothing half-written");
}

#[test]
fn a_lost_directory_is_made_anew_from_a_backup_and_the_master_key() {
    let lost = Keyhole::default();
    lost.member("alice");
    let id = lost.connect("alice", KEY);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("it");
    let file = file.to_str().unwrap();
    lost.call(&["backup", file]).ok();

    let new = Keyhole::default();
    let said = new.call(&["restore", file]).failed(1);
    assert!(said.contains("master key") && said.contains("put it back there"), "{said}");
    assert!(!new.data_dir().join("keyhole.redb").exists(), "nothing is made before the key is there");
    assert!(!new.data_dir().join("master.key").exists());

    std::fs::create_dir_all(new.data_dir()).unwrap();
    std::fs::copy(lost.data_dir().join("master.key"), new.data_dir().join("master.key")).unwrap();
    new.call(&["restore", file]).ok();
    let shown: Value = new.call(&["--json", "accounts", "show", &id, "--as", "alice"]).ok().json();
    assert_eq!(shown["owner"], "alice");
    let report = new.call(&["--json", "vault", "check"]).ok().json();
    assert_eq!(report["opened"], 1);

    // Through pipes, too, and not into another workspace.
    let bytes = new.command(&["backup", "-"]).output().unwrap();
    assert!(bytes.status.success() && bytes.stdout.starts_with(b"keyhole backup 1\n"));
    let stranger = Keyhole::default();
    stranger.member("carol");
    let said = stranger.call(&["restore", file, "--replace"]).failed(1);
    assert!(said.contains("wrong master key"), "{said}");
}

fn with_input(mut command: std::process::Command, input: &str) -> Ended {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}
