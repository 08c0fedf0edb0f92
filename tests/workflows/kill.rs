//! kill -9 of the server at any instant, under load: what was answered 2xx has one run, and no step whose
//! result was on disk runs again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keyhole_tests::program::KEY;
use keyhole_tests::server::{Server, json as answer};
use serde_json::{Value, json};

use crate::rig::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_was_accepted_has_one_run_whenever_the_server_is_killed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rounds: u32 = if std::env::var_os("KEYHOLE_LONG").is_some() { 100 } else { 6 };
    let mut keyhole = keyhole();
    // When each request came, and for what.
    let came: Arc<Mutex<Vec<(Timestamp, String)>>> = Arc::default();
    let note = came.clone();
    let server = Server::http(&keyhole.authority, &["api.acme.example"], move |request| {
        note.lock().unwrap().push((Timestamp::now(), request.target.clone()));
        answer(200, &json!({"ok": true}))
    });
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let step = |name: &str| {
        format!(
            "[[steps]]\nname = {name:?}\nuses = \"http-request\"\nlinks = {{ account = {account:?} }}\nprops = {{ url = \"v1/{name}?n={{{{ event.body.n }}}}&run={{{{ run.id }}}}\" }}\n"
        )
    };
    deploy(&keyhole, &format!("{HEAD}trigger.http = {{}}\n{}{}{}", step("one"), step("two"), step("three"))).ok();
    let path = hook(&keyhole, "w");

    let accepted: Arc<Mutex<BTreeMap<u32, String>>> = Arc::default();
    let number = Arc::new(AtomicU32::new(0));
    // Runs that were seen to have ended, and when.
    let mut over: BTreeMap<String, Value> = BTreeMap::new();
    for round in 0..rounds {
        let serving = Serving::on(&keyhole);
        let url = format!("{}{path}", serving.url);
        let done = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (url, done, accepted, number) = (url.clone(), done.clone(), accepted.clone(), number.clone());
                tokio::spawn(async move {
                    let client = reqwest::Client::new();
                    while !done.load(Ordering::Relaxed) {
                        let n = number.fetch_add(1, Ordering::Relaxed);
                        // Whether an answer comes is the server's life.
                        let sent = client.post(&url).json(&json!({ "n": n })).send().await;
                        let Ok(answer) = sent else { break };
                        if answer.status() == reqwest::StatusCode::ACCEPTED
                            && let Ok(said) = answer.json::<Value>().await
                        {
                            let run = said["run"].as_str().unwrap().to_owned();
                            accepted.lock().unwrap().insert(n, run);
                        }
                    }
                })
            })
            .collect();
        // At another instant each time.
        tokio::time::sleep(Duration::from_millis(100 + u64::from(round * 37 % 200))).await;
        serving.kill();
        done.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.unwrap();
        }
        let ended = list(&keyhole, &["--status", "ok", "-n", "1000"]).into_iter();
        over.extend(ended.map(|run| (run["id"].as_str().unwrap().to_owned(), run["ended"].clone())));
    }
    let accepted = std::mem::take(&mut *accepted.lock().unwrap());
    assert!(accepted.len() > rounds as usize, "{} events were accepted", accepted.len());

    let serving = Serving::on(&keyhole);
    until("the end of every run", || {
        let under_way =
            ["queued", "running", "waiting"].iter().map(|status| list(&keyhole, &["--status", status]).len());
        (under_way.sum::<usize>() == 0).then_some(())
    });
    drop(serving);
    let mut runs: BTreeMap<String, Value> = BTreeMap::new();
    let mut before: Option<String> = None;
    loop {
        let more: Vec<&str> = before.iter().flat_map(|run| ["--before", run]).collect();
        let page = list(&keyhole, &more);
        let Some(last) = page.last() else { break };
        before = Some(last["id"].as_str().unwrap().to_owned());
        for run in &page {
            assert_eq!(run["status"], "ok", "{run:#}");
            let before = runs.insert(run["id"].as_str().unwrap().to_owned(), run["ended"].clone());
            assert!(before.is_none(), "listed twice: {run:#}");
        }
    }
    for (n, run) in &accepted {
        assert!(runs.contains_key(run), "event {n} was accepted and has no run {run}");
    }
    for (run, ended) in &over {
        assert_eq!(&runs[run], ended, "{run} had ended, and did so again");
    }
    // What the service saw: once a later step was there, an earlier one did not come again.
    let mut furthest: BTreeMap<u32, usize> = BTreeMap::new();
    let mut run_of: BTreeMap<u32, String> = BTreeMap::new();
    for (at, target) in came.lock().unwrap().iter() {
        let target = reqwest::Url::parse("https://api.acme.example").unwrap().join(target).unwrap();
        let step = ["one", "two", "three"].iter().position(|name| target.path().ends_with(name)).unwrap();
        let given = |wanted: &str| {
            target.query_pairs().find_map(|(name, value)| (name == wanted).then(|| value.into_owned())).unwrap()
        };
        let (n, run): (u32, _) = (given("n").parse().unwrap(), given("run"));
        let ended: Timestamp = runs[&run].as_str().unwrap().parse().unwrap();
        assert!(*at <= ended, "event {n}: step {step} came at {at}, and its run ended at {ended}");
        assert_eq!(*run_of.entry(n).or_insert(run.clone()), run, "event {n} has two runs");
        let before = furthest.entry(n).or_insert(step);
        assert!(step >= *before, "event {n}: step {step} after step {before}");
        *before = step;
    }
    println!("{rounds} kills, {} events accepted, {} runs", accepted.len(), runs.len());
}

#[test]
fn a_step_that_was_cut_by_a_kill_is_begun_again_and_told_that_it_is_the_second_attempt() {
    let keyhole = keyhole();
    let limits = "limits = { concurrency = 1, timeout = \"60s\" }\n";
    let steps = verb("a", "loop-before", "\"{{ event.before }}\"") + &stored("b", "count", "1");
    deploy(&keyhole, &[HEAD, limits, &steps].concat()).ok();
    let serving = Serving::on(&keyhole);
    let begin = |before: u32| {
        let args = ["--json", "workflows", "run", "w", "--no-wait", "--as", "alice", "--event", "-"];
        let started = keyhole.call_with(&args, &json!({ "before": before }).to_string()).ok().json();
        started["run"].as_str().unwrap().to_owned()
    };
    let first = begin(2);
    until("its log", || show(&keyhole, &first).get("live").cloned());
    let behind = [begin(1), begin(1), begin(1)];
    serving.kill();
    let _serving = Serving::on(&keyhole);
    let ended = until_status(&keyhole, &first, "ok");
    assert_eq!((&returned(&ended)["a"], &ended["steps"][0]["attempts"]), (&json!(2), &json!(2)), "{ended:#}");
    // And what was behind it goes on behind it, in its order.
    let counts: Vec<_> = behind.iter().map(|run| returned(&until_status(&keyhole, run, "ok"))["b"].clone()).collect();
    assert_eq!((&returned(&ended)["b"], counts), (&json!(1), vec![json!(2), json!(3), json!(4)]));
}

#[test]
fn a_delay_goes_on_after_a_restart_and_sigterm_leaves_nothing_undone() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}{}", verb("a", "delay", "1500"), verb("b", "return", "1"))).ok();
    let serving = Serving::on(&keyhole);
    let started = keyhole.call(&["--json", "workflows", "run", "w", "--no-wait", "--as", "alice"]).ok().json();
    let run = started["run"].as_str().unwrap().to_owned();
    until_status(&keyhole, &run, "waiting");
    let (code, took) = serving.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    std::thread::sleep(Duration::from_millis(1600));
    let _again = Serving::on(&keyhole);
    let shown = until_status(&keyhole, &run, "ok");
    assert_eq!(returned(&shown)["b"], 1);
}
