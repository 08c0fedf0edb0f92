//! Two processes, or twenty, on one data directory: they work side by side.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Server, json as answer};
use keyhole_tests::workspace::component;
use serde_json::json;

use crate::rig::*;

#[test]
fn twenty_processes_that_connect_at_once_all_succeed_and_nothing_is_lost() {
    let mut workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    let made: Vec<String> = std::thread::scope(|threads| {
        let connecting: Vec<_> = (0..20).map(|_| threads.spawn(|| keyhole.connect("alice", KEY))).collect();
        connecting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 20);
    workspace.accounts.extend(made);
    workspace.is_whole();
}

#[test]
fn twenty_processes_that_begin_in_an_empty_directory_agree_on_one_store_and_one_key() {
    let keyhole = Keyhole::default();
    std::thread::scope(|threads| {
        for number in 0..20 {
            let keyhole = &keyhole;
            threads.spawn(move || keyhole.member(&format!("member-{number}")));
        }
    });
    let members = keyhole.call(&["--json", "members", "list"]).ok().json();
    assert_eq!(members.as_array().unwrap().len(), 20);
    let admins = members.as_array().unwrap().iter().filter(|member| member["role"] == "admin").count();
    assert!(admins >= 1);
    for number in [0, 19] {
        keyhole.connect(&format!("member-{number}"), KEY);
    }
}

#[test]
fn while_one_process_runs_a_step_another_connects_grants_and_runs() {
    let mut keyhole = Keyhole::default();
    let (arrived, arrival) = channel();
    let (release, released) = channel::<()>();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let server = Server::http(&keyhole.authority, &["api.acme.example"], move |request| {
        if request.target.starts_with("/v1/held") {
            arrived.lock().unwrap().send(()).unwrap();
            released.lock().unwrap().recv_timeout(Duration::from_secs(60)).expect("the test lets go");
        }
        answer(200, &json!({"id": "u-1"}))
    });
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    keyhole.member("bob");
    let account = keyhole.connect("alice", KEY);
    let hostile = component("hostile");
    let link = format!("acme={account}");
    let get = |path: &str| json!({"attack": "request", "request": {"url": format!("https://api.acme.example{path}"), "account": true}});
    std::thread::scope(|threads| {
        let held = threads.spawn(|| keyhole.run(&hostile, &get("/v1/held"), &["--as", "alice", "--link", &link]));
        while arrival.recv_timeout(Duration::from_millis(100)).is_err() {
            assert!(!held.is_finished(), "it ended before it sent anything: {:#}", held.join().unwrap());
        }
        let second = keyhole.connect("bob", KEY);
        keyhole.call(&["accounts", "access", &account, "--grant", "bob", "--as", "alice"]).ok();
        keyhole.call(&["accounts", "rename", &second, "bob's own", "--as", "bob"]).ok();
        // The server is busy with the first, so this run sends nothing.
        let run = keyhole.run(&hostile, &json!({"attack": "account"}), &["--as", "bob", "--link", &link]);
        assert_eq!(run["status"], "ok", "{run:#}");
        release.send(()).unwrap();
        let held = held.join().unwrap();
        assert_eq!(held["return_value"]["status"], 200, "{held:#}");
    });
    let run = keyhole.run(&hostile, &get("/v1/me"), &["--as", "bob", "--link", &link]);
    assert_eq!(run["return_value"]["status"], 200, "{run:#}");
    let audit = keyhole.call(&["--json", "audit", "--kind", "request"]).ok().json();
    let paths: Vec<_> = audit.as_array().unwrap().iter().map(|used| used["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/v1/held", "/v1/me"]);
}

#[test]
fn nothing_lost_what_was_acknowledged_outlives_a_kill_at_any_instant() {
    let mut workspace = Workspace::new();
    let rounds = if std::env::var_os("KEYHOLE_LONG").is_some() { 200 } else { 20 };
    let began = Instant::now();
    workspace.keyhole.connect("alice", KEY);
    let whole = began.elapsed();
    for round in 0..rounds {
        let mut command = workspace.keyhole.command(&[
            "--json",
            "accounts",
            "connect",
            "acme",
            "--as",
            "alice",
            "--stdin",
            "--no-test",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), KEY.as_bytes()).unwrap();
        // From long before it has begun to after it has ended; the last ones end by themselves.
        if round + 4 < rounds {
            std::thread::sleep(whole * round / rounds);
            let _ = child.kill();
        }
        let output = child.wait_with_output().unwrap();
        if let Ok(said) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
            workspace.accounts.push(said["id"].as_str().unwrap().to_owned());
        } else {
            // Not acknowledged: it may be there or not.
            let listed = workspace.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
            let listed = listed.as_array().unwrap().iter().map(|account| account["id"].as_str().unwrap().to_owned());
            let listed: Vec<_> = listed.collect();
            assert!(workspace.accounts.iter().all(|account| listed.contains(account)), "round {round}");
            workspace.accounts = listed;
        }
    }
    assert!(workspace.accounts.len() > 3, "some were acknowledged");
    workspace.accounts.sort_unstable();
    let last = workspace.accounts.split_off(workspace.accounts.len() - 3);
    let rest = std::mem::replace(&mut workspace.accounts, last);
    // Each of the three last works; that all are there was seen above.
    for account in &workspace.accounts {
        assert_eq!(workspace.run(account)["status"], "ok");
    }
    workspace.accounts.extend(rest);
    let listed = workspace.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), workspace.accounts.len());
}
