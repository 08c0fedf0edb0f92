//! Who else may look into the process that holds the credentials: nobody but root.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keyhole_tests::workspace;
use serde_json::Value;

/// Somebody who is not root: `nobody`, if the test is root's; else who runs the test.
fn somebody(command: &mut Command) -> &mut Command {
    match is_root() {
        true => command.uid(65534).gid(65534),
        false => command,
    }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Whether somebody of the same user can read this of a process.
fn readable(pid: u32, what: &str) -> bool {
    let mut look = Command::new("head");
    look.args(["-c", "1", &format!("/proc/{pid}/{what}")]).stdout(Stdio::null()).stderr(Stdio::null());
    somebody(&mut look).status().unwrap().success()
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of the program and a data directory that somebody can use.
fn house() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path().join("keyhole");
    // A link, where it can be one: the program is large.
    if std::fs::hard_link(workspace::keyhole(), &program).is_err() {
        std::fs::copy(workspace::keyhole(), &program).unwrap();
    }
    (dir, program)
}

fn call(program: &Path, dir: &Path, args: &[&str], input: &str) -> Value {
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(dir.join("data")).arg("--json").args(args);
    command.env("XDG_CONFIG_HOME", dir.join("config")).env("HOME", dir).env_remove("KEYHOLE_BIN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = somebody(&mut command).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn sealed_no_other_process_of_the_same_user_can_look_into_a_running_keyhole() {
    let (dir, program) = house();
    call(&program, dir.path(), &["members", "add", "alice"], "");
    let mut serve = Command::new(&program);
    serve.arg("--data-dir").arg(dir.path().join("data")).args(["--json", "serve", "--listen", "127.0.0.1:0"]);
    serve.env("XDG_CONFIG_HOME", dir.path().join("config")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut serve = Ends(somebody(&mut serve).spawn().unwrap());
    let stdout = serve.0.stdout.take().unwrap();
    let mut said = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    said.next().unwrap().unwrap();
    // Another process of the same user shows everything: the test can see, if it may.
    let mut other = Command::new("sleep");
    let other = Ends(somebody(other.arg("600")).spawn().unwrap());
    for what in ["environ", "maps"] {
        assert!(readable(other.0.id(), what), "{what} of a process that hides nothing");
        assert!(!readable(serve.0.id(), what), "{what} of keyhole serve");
    }
    assert!(!readable(serve.0.id(), "mem"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serve.0.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().any(|word| word == "1" || word == "0"), "{core}");
}

#[test]
fn who_is_not_root_has_the_same_engine_also_where_nobody_can_look_in() {
    let (dir, program) = house();
    call(&program, dir.path(), &["members", "add", "alice"], "");
    let doctor = call(&program, dir.path(), &["doctor"], "");
    let checks = doctor["checks"].as_array().unwrap_or_else(|| panic!("{doctor:#}"));
    let there = checks.iter().find(|check| check["name"] == "pagemap_scan").unwrap()["status"] == "ok";
    let component = dir.path().join("hostile.wasm");
    std::fs::copy(workspace::component("hostile"), &component).unwrap();
    std::fs::set_permissions(&component, std::fs::Permissions::from_mode(0o644)).unwrap();
    let event = dir.path().join("event.json");
    std::fs::write(&event, r#"{"attack": "loop"}"#).unwrap();
    let mut run = Command::new(&program);
    run.arg("--data-dir").arg(dir.path().join("data")).args(["--json", "run", "--as", "alice", "--timeout", "20s"]);
    run.arg(&component).arg("--event").arg(&event);
    run.env("XDG_CONFIG_HOME", dir.path().join("config")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = Ends(somebody(&mut run).spawn().unwrap());
    // The pools keep it open for as long as they are there.
    let has_pagemap = |pid: u32| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| target.ends_with("pagemap"))
    };
    if !is_root() || !there {
        eprintln!("skipped: the descriptors of another's process can't be seen, or the kernel has no PAGEMAP_SCAN");
        return;
    }
    while !has_pagemap(run.0.id()) {
        assert!(run.0.try_wait().unwrap().is_none(), "it ended, and never had /proc/self/pagemap");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!readable(run.0.id(), "mem"));
}
