//! One way out: what standard toolchains import is there, and finds nothing of the host's. The
//! guest calls every function of it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;

use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::workspace::component;
use serde_json::{Map, Value, json};

/// What must not be found.
const SECRET: &str = "the-hosts-own-9Qk2vT";

/// Runs the inert step where there is much to find: variables, standard input, files, open ports.
fn run(keyhole: &Keyhole, event: &Value) -> Ended {
    let file = keyhole.data.path().join("event.json");
    std::fs::write(&file, event.to_string()).unwrap();
    let (step, file) = (component("inert").display().to_string(), file.display().to_string());
    let mut command = keyhole.command(&["--json", "run", &step, "--event", &file]);
    command.env("THE_HOSTS_SECRET", SECRET).current_dir(keyhole.data.path());
    let secrets = keyhole.data.path().join("secrets.txt");
    std::fs::write(&secrets, SECRET).unwrap();
    command.stdin(std::fs::File::open(secrets).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.output().unwrap().into()
}

fn alone() -> Keyhole {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    keyhole
}

fn found(keyhole: &Keyhole, event: &Value) -> (Value, Map<String, Value>) {
    let ended = run(keyhole, event).ok();
    assert_eq!(ended.stderr, "", "what the step writes is not the program's");
    assert!(!ended.stdout.contains(SECRET));
    let run = ended.json();
    let seen = run["return_value"].as_object().unwrap().clone();
    (run, seen)
}

/// Fails unless every call whose name has one of `parts` was denied, and there are `calls` of them.
#[track_caller]
fn all_denied(seen: &Map<String, Value>, parts: &[&str], calls: usize) {
    let of = seen.iter().filter(|(call, _)| parts.iter().any(|part| call.contains(part)));
    let of: Vec<_> = of.collect();
    assert_eq!(of.len(), calls, "{of:?}");
    for (call, outcome) in of {
        assert!(outcome.as_str().is_some_and(|outcome| outcome.starts_with("denied: ")), "{call}: {outcome}");
    }
}

#[test]
fn one_way_out_there_are_no_variables_arguments_or_standard_input() {
    let (_, seen) = found(&alone(), &json!({}));
    assert_eq!(seen["environment"], json!([]));
    assert_eq!(seen["arguments"], json!([]));
    assert_eq!(seen["initial-cwd"], Value::Null);
    all_denied(&seen, &["stdin."], 3);
    for terminal in ["terminal-stdin", "terminal-stdout", "terminal-stderr"] {
        assert_eq!(seen[terminal], false);
    }
}

#[test]
fn one_way_out_there_are_no_files_or_directories() {
    let (_, seen) = found(&alone(), &json!({}));
    assert_eq!(seen["directories"], json!([]));
    all_denied(&seen, &["read /", "read ..", "list ", "write "], 12);
}

#[test]
fn one_way_out_sockets_and_look_ups_are_denied_and_nothing_arrives() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    udp.set_nonblocking(true).unwrap();

    let (_, seen) = found(&alone(), &json!({"port": port}));
    all_denied(&seen, &["look up"], 4);
    // Connecting, binding, listening, accepting and sending are calls on a socket. The guest tells of each that it
    // could make, and there is none: no socket is made.
    let is_of_a_socket = |call: &&str| call.starts_with("tcp ") || call.starts_with("udp ");
    let calls: BTreeSet<&str> = seen.keys().map(String::as_str).filter(is_of_a_socket).collect();
    let creations = [
        "tcp IpAddressFamily::Ipv4 create",
        "tcp IpAddressFamily::Ipv6 create",
        "udp IpAddressFamily::Ipv4 create",
        "udp IpAddressFamily::Ipv6 create",
    ];
    assert_eq!(calls, BTreeSet::from(creations));
    all_denied(&seen, &creations, 4);
    for call in creations {
        assert!(seen[call].as_str().unwrap().contains("access-denied"), "{call}: {}", seen[call]);
    }
    assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(udp.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_a_step_writes_to_standard_output_and_error_is_in_the_runs_log() {
    let (run, seen) = found(&alone(), &json!({}));
    assert_eq!((&seen["stdout"], &seen["stderr"]), (&json!("ok"), &json!("ok")));
    let log: Vec<_> = run["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["level"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    assert_eq!(log, [("info", "inert: to stdout"), ("error", "inert: to stderr")]);
}

#[test]
fn clocks_and_random_are_real() {
    let (_, seen) = found(&alone(), &json!({}));
    assert_eq!([&seen["monotonic"], &seen["wall"], &seen["random"]], [true, true, true]);
}

#[test]
fn exit_ends_the_run_and_not_the_program() {
    let ended = run(&alone(), &json!({"exit": true}));
    assert_eq!(ended.code, 1);
    assert_eq!(ended.json()["error"]["failure"], "exited");
    assert_eq!(ended.json()["error"]["code"], 1);
}
