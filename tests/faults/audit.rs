//! The audit when processes are killed, and when somebody writes its store: what was recorded is told to be
//! whole exactly if it is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Expect, Store as _};
use keyhole_tests::program::Keyhole;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::rig::*;

/// What `keyhole audit verify` finds.
fn verify(keyhole: &Keyhole, more: &[&str]) -> Value {
    let ended = keyhole.call(&[&["--json", "audit", "verify"], more].concat());
    let verified = ended.json();
    assert_eq!(ended.code, i32::from(verified["wrong"] != 0), "{verified:#}");
    verified
}

/// `keyhole audit --follow --json`, and the uses that it tells.
struct Following {
    child: Child,
    told: std::sync::mpsc::Receiver<Value>,
}

impl Following {
    fn begin(keyhole: &Keyhole) -> Self {
        let mut command = keyhole.command(&["--json", "audit", "--follow", "--kind", "request"]);
        // Where it follows is known once it has told of something: see `until`.
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = tell.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        Self { child, told }
    }

    /// All that is told until the use `last`, without those before the use `first`.
    fn between(&self, first: &str, last: &str) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let used = self.told.recv_timeout(Duration::from_secs(60)).expect("it tells more");
            ids.push(used["id"].as_str().unwrap().to_owned());
            if ids.last().unwrap() == last {
                break;
            }
        }
        let from = ids.iter().position(|id| id == first).expect("it told the first");
        ids.split_off(from)
    }

    /// Ctrl-C.
    fn end(mut self) {
        std::process::Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(self.told.recv().is_err(), "nothing more is told");
    }
}

#[test]
fn a_writer_that_was_killed_leaves_a_whole_chain_and_in_strict_mode_every_request_that_left() {
    let workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    // The first one compiles.
    workspace.run(&workspace.accounts[0]);
    let begun = Instant::now();
    workspace.run(&workspace.accounts[0]);
    let whole = begun.elapsed();
    let step = component("echo-key").display().to_string();
    let link = format!("acme={}", workspace.accounts[0]);
    let rounds: u32 = if std::env::var_os("KEYHOLE_LONG").is_some() { 200 } else { 16 };
    let mut killed = 0;
    for round in 0..rounds {
        let mode = if round % 2 == 0 { "strict" } else { "relaxed" };
        let recorded = || {
            keyhole.call(&["--json", "audit", "--kind", "request", "--decision", "allowed", "-n", "10000"]).ok().json()
        };
        let (before, received) = (recorded().as_array().unwrap().len(), workspace.received());
        let mut run = keyhole.command(&["run", &step, "--as", "alice", "--link", &link, "--audit", mode]);
        run.args(keyhole.flags()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = run.spawn().unwrap();
        std::thread::sleep(whole.mul_f64(1.2 * f64::from(round + 1) / f64::from(rounds)));
        let _ = child.kill();
        killed += u32::from(child.wait().unwrap().code().is_none());

        let verified = verify(keyhole, &[]);
        assert_eq!(verified["wrong"], 0, "round {round}: {verified:#}");
        if mode == "strict" {
            let left = workspace.received() - received;
            let now = recorded().as_array().unwrap().len();
            assert!(now - before >= left, "round {round}: {left} left, and {} are recorded", now - before);
        }
    }
    println!("{killed} of {rounds} were killed within {whole:?}");
    assert!(killed > rounds / 4);
}

#[test]
fn what_somebody_does_to_the_store_is_found_and_what_retention_does_is_not() {
    let workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    // What made the workspace: each by a process of its own.
    let made = verify(keyhole, &[])["records"].as_u64().unwrap();
    let before = usize::try_from(made).unwrap();
    workspace.is_whole();
    let heads = keyhole.data.path().join("heads").display().to_string();
    let verified = verify(keyhole, &["--save-heads", &heads]);
    assert_eq!(
        (&verified["wrong"], &verified["records"], &verified["writers"]),
        (&json!(0), &json!(made + 12), &json!(made + 3))
    );
    keyhole.call(&["audit", "verify", "--save-heads", &heads]).failed(2);
    assert_eq!(std::fs::read_to_string(&heads).unwrap().lines().count(), before + 3);
    assert_eq!(verify(keyhole, &["--heads", &heads])["wrong"], 0);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at = |index: usize, change: &dyn Fn(&str) -> Option<String>| {
        runtime.block_on(async {
            let store = RedbStore::open(&workspace.data()).unwrap();
            let (key, found) = store.scan("audit/", None, 100).await.unwrap().swap_remove(before + index);
            let changed = change(std::str::from_utf8(&found.value).unwrap()).map(String::into_bytes);
            store.write(&key, Expect::Any, changed).await.unwrap();
            (key, found.value)
        })
    };
    let back = |(key, value): (String, Vec<u8>)| {
        runtime.block_on(async {
            let store = RedbStore::open(&workspace.data()).unwrap();
            store.write(&key, Expect::Any, Some(value)).await.unwrap();
        });
    };
    // A change, a cut in the middle, at the end of a chain that others saw, and at the very end.
    let was = at(5, &|text| Some(text.replace("alice", "mallo")));
    let said = keyhole.call(&["audit", "verify"]);
    assert_eq!((said.code, said.stderr.as_str()), (1, ""));
    assert!(said.stdout.contains("changed: it is not what was written"), "{}", said.stdout);
    back(was);
    let was = at(4, &|_| None);
    let verified = verify(keyhole, &[]);
    assert_eq!((&verified["wrong"], &verified["findings"][0]["what"]), (&json!(1), &json!("missing")), "{verified:#}");
    back(was);
    let was = at(7, &|_| None);
    assert_eq!(verify(keyhole, &[])["findings"][0]["what"], "missing", "the next writer saw it");
    back(was);
    let was = at(11, &|_| None);
    assert_eq!(verify(keyhole, &[])["wrong"], 0, "nobody saw it");
    assert_eq!(verify(keyhole, &["--heads", &heads])["findings"][0]["what"], "missing", "but its hash was kept");
    back(was);
    assert_eq!(verify(keyhole, &["--heads", &heads])["wrong"], 0);

    // The operator's word: exported first, then removed, but for what may be under way.
    let export = keyhole.data.path().join("audit.jsonl").display().to_string();
    keyhole.call(&["audit", "export", "--output", &export]).ok();
    keyhole.call(&["audit", "export", "--output", &export]).failed(2);
    assert!(keyhole.call(&["audit", "prune", "--before", "0s"]).failed(2).contains("--yes"));
    let pruned = keyhole.call(&["--json", "audit", "prune", "--before", "0s", "--yes"]).ok().json();
    assert_eq!(pruned, json!({"removed": made + 12, "kept": 0, "more": false}));
    workspace.is_whole();
    let verified = verify(keyhole, &["--heads", &heads]);
    assert_eq!((&verified["wrong"], &verified["records"]), (&json!(0), &json!(12)), "{verified:#}");
    let verified = verify(keyhole, &[&export]);
    assert_eq!((&verified["wrong"], &verified["records"]), (&json!(0), &json!(made + 12)), "{verified:#}");
    let text = std::fs::read_to_string(&export).unwrap();
    std::fs::write(&export, text.replacen("\"status\":200", "\"status\":201", 1)).unwrap();
    assert_eq!(verify(keyhole, &[&export])["findings"][0]["what"], "changed");
    // Also once no master key is as it was.
    let rotated = keyhole.call(&["--json", "vault", "rotate"]).ok().json();
    keyhole.call(&["vault", "forget", rotated["from"].as_str().unwrap()]).ok();
    assert_eq!(verify(keyhole, &["--heads", &heads])["wrong"], 0);
}

#[test]
fn serving_removes_what_is_not_to_be_kept_and_says_so_nowhere_but_in_the_audit() {
    let workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    for _ in 0..3 {
        workspace.is_whole();
    }
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[audit]\nkeep = \"90d\"\nkeep_records = 20\n").unwrap();
    let config = config.display().to_string();
    let mut serve = keyhole
        .command(&["--json", "--config", &config, "serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let records = || verify(keyhole, &[])["records"].as_u64().unwrap();
    let begun = Instant::now();
    while records() > 20 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} are there still", records());
    }
    let _ = serve.kill();
    let _ = serve.wait();
    // Records of one millisecond stay or go together.
    assert!(records() >= 15, "{}", records());
    assert_eq!(verify(keyhole, &[])["wrong"], 0);
    std::fs::write(&config, "[audit]\nkeep = \"5m\"\n").unwrap();
    let said = keyhole.call(&["--config", &config, "audit"]).failed(2);
    assert!(said.contains("an hour at least") && said.contains("keyhole.toml:2:"), "{said}");
}

#[test]
fn whoever_follows_is_told_what_other_processes_do_and_ends_with_ctrl_c() {
    let workspace = Workspace::new();
    let keyhole = &workspace.keyhole;
    let following = Following::begin(keyhole);
    // Until it is known to follow.
    let first = loop {
        workspace.run(&workspace.accounts[0]);
        if let Ok(used) = following.told.recv_timeout(Duration::from_secs(1)) {
            break used["id"].as_str().unwrap().to_owned();
        }
    };
    std::thread::scope(|threads| {
        for account in &workspace.accounts {
            threads.spawn(|| (0..3).for_each(|_| drop(workspace.run(account))));
        }
    });
    workspace.run(&workspace.accounts[0]);
    let all = keyhole.call(&["--json", "audit", "--kind", "request", "-n", "10000"]).ok().json();
    let mut all: Vec<String> =
        all.as_array().unwrap().iter().map(|used| used["id"].as_str().unwrap().to_owned()).collect();
    let from = all.iter().position(|id| *id == first).unwrap() + 1;
    let mut wanted = all.split_off(from);
    let mut told = following.between(&wanted[0].clone(), wanted.last().unwrap());
    following.end();
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted, "each once");
    let _ = std::io::stdout().flush();
}
