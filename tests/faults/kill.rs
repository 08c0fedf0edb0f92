//! kill -9 at any instant of each command that writes. What was acknowledged is there, what was
//! not is there whole or not at all, and everything opens.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyhole_tests::program::KEY;
use serde_json::Value;

use crate::rig::*;

/// Another key for the same service, which does not know it.
const OTHER: &str = "ak_live_another0key0that0was0reconnected";

/// Starts the command, kills it after `delay` if there is one, and says what it had acknowledged by then.
fn killed(mut command: Command, input: &str, delay: Option<Duration>) -> Option<Value> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It may have been killed before it read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    if let Some(delay) = delay {
        std::thread::sleep(delay);
        let _ = child.kill();
    }
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn nothing_lost_killed_at_random_instants_everything_opens_and_what_was_acknowledged_is_there() {
    let workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    keyhole.member("bob");
    let [steady, changing, _] = &workspace.accounts[..] else { panic!("three accounts") };
    let rounds: u32 = if std::env::var_os("KEYHOLE_LONG").is_some() { 200 } else { 15 };
    let begun = Instant::now();
    keyhole.call(&["--json", "vault", "check"]).ok();
    // A whole command takes about this long, with what it starts.
    let whole = begun.elapsed();
    let mut acknowledged = [0_u32; 5];
    let mut before = show(&workspace, changing);
    for round in 0..rounds {
        let kind = (round % 5) as usize;
        let nickname = format!("round {round}");
        let shared = if before["access"] == "private" { "workspace" } else { "private" };
        let (args, input): (&[&str], &str) = match kind {
            0 => (&["accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test"], KEY),
            1 => (&["accounts", "reconnect", changing, "--as", "alice", "--stdin", "--no-test"], OTHER),
            2 => (&["accounts", "access", changing, shared, "--as", "alice"], ""),
            3 => (&["accounts", "rename", changing, &nickname, "--as", "alice"], ""),
            _ => (&["vault", "rotate"], ""),
        };
        let args: Vec<&str> = [&["--json"], args].concat();
        let chance = f64::from(rand(round)) / f64::from(u32::MAX);
        // One of each kind comes through, however busy the machine is.
        let delay = (round + 5 < rounds).then(|| whole.mul_f64(1.3 * chance));
        let said = killed(keyhole.command(&args), input, delay);

        let report = keyhole.call(&["--json", "vault", "check"]).ok().json();
        assert_eq!(report["damaged"], serde_json::json!([]), "round {round}: {report:#}");
        let now = show(&workspace, changing);
        if let Some(said) = &said {
            acknowledged[kind] += 1;
            match kind {
                0 => drop(show(&workspace, said["id"].as_str().unwrap())),
                1 => assert_ne!(now["updated"], before["updated"], "round {round}"),
                2 => assert_eq!(now["access"], shared, "round {round}"),
                3 => assert_eq!(now["nickname"], nickname, "round {round}"),
                _ => assert_eq!(report["seals"], said["to"], "round {round}"),
            }
        }
        before = now;
    }
    assert_eq!(workspace.run(steady)["status"], "ok", "it was never touched, but for its wrapping");
    println!(
        "{rounds} rounds of up to {whole:?}: of connect, reconnect, access, rename, rotate were acknowledged {acknowledged:?}"
    );
    assert!(acknowledged.iter().all(|count| *count > 0), "some of each were acknowledged: {acknowledged:?}");
    assert!(acknowledged.iter().sum::<u32>() < rounds, "some were not");
    // Keys that nothing needs can be forgotten, however many a killed rotation left.
    let report = keyhole.call(&["--json", "vault", "check"]).ok().json();
    let rotated = keyhole.call(&["--json", "vault", "rotate"]).ok().json();
    assert_eq!(rotated["report"]["opened"], report["opened"]);
    keyhole.call(&["vault", "forget", rotated["from"].as_str().unwrap()]).ok();
    assert_eq!(workspace.run(steady)["status"], "ok");
}

fn show(workspace: &Workspace, account: &str) -> Value {
    workspace.keyhole.call(&["--json", "accounts", "show", account, "--as", "alice"]).ok().json()
}

/// Spread evenly, and the same in each run of the test.
fn rand(round: u32) -> u32 {
    round.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15)
}
