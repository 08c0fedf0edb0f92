//! Runs that answer before the disk has: what a stop keeps, and what a kill leaves whole.

use std::collections::BTreeSet;

use keyhole_tests::program::Keyhole;
use serde_json::{Value, json};

use crate::rig::*;

fn serving(keyhole: &Keyhole) -> Serving {
    let config = keyhole.data.path().join("relaxed.toml");
    std::fs::write(&config, "[runs]\ndurability = \"relaxed\"\n").unwrap();
    Serving::with(keyhole, &["--config", config.to_str().unwrap()])
}

/// The runs that so many events led to.
async fn accepted(url: &str, events: usize) -> BTreeSet<String> {
    let client = reqwest::Client::new();
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..events {
        let event = client.post(url).json(&json!({ "n": n }));
        sent.spawn(async move {
            let answer = event.send().await.unwrap();
            assert_eq!(answer.status(), reqwest::StatusCode::ACCEPTED);
            answer.json::<Value>().await.unwrap()["run"].as_str().unwrap().to_owned()
        });
    }
    sent.join_all().await.into_iter().collect()
}

/// All that there are, with how they ended.
fn all(keyhole: &Keyhole) -> Vec<(String, Value)> {
    let word = |run: &Value| run["id"].as_str().unwrap().to_owned();
    list(keyhole, &["--limit", "1000"]).iter().map(|run| (word(run), run["status"].clone())).collect()
}

const EVENTS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_accepted_is_there_after_a_stop() {
    let keyhole = keyhole();
    let steps = format!("{}{}", verb("a", "return", "\"{{ event.body.n }}\""), verb("b", "return", "1"));
    deploy(&keyhole, &format!("{HEAD}trigger.http = {{}}\nlimits.concurrency = 50\n{steps}")).ok();
    let serving = serving(&keyhole);
    let runs = accepted(&format!("{}{}", serving.url, hook(&keyhole, "w")), EVENTS).await;
    let (code, _) = serving.stop();
    assert_eq!(code, Some(0));
    // Those that the stop left go on.
    let _serving = Serving::on(&keyhole);
    let ended = until("their ends", || Some(all(&keyhole)).filter(|all| all.iter().all(|(_, status)| status == "ok")));
    assert_eq!(ended.into_iter().map(|(run, _)| run).collect::<BTreeSet<_>>(), runs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_takes_nothing_that_others_saw_and_leaves_nothing_by_halves() {
    let keyhole = keyhole();
    let steps = format!("{}{}", verb("a", "return", "\"{{ event.body.n }}\""), verb("b", "return", "1"));
    deploy(&keyhole, &format!("{HEAD}trigger.http = {{}}\nlimits.concurrency = 50\n{steps}")).ok();
    let path = hook(&keyhole, "w");
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let serving = serving(&keyhole);
        let url = format!("{}{path}", serving.url);
        let mut runs = accepted(&url, EVENTS).await;
        until("another process to see them", || {
            let ended: BTreeSet<_> =
                all(&keyhole).into_iter().filter(|(_, status)| status == "ok").map(|(run, _)| run).collect();
            runs.is_subset(&ended).then_some(())
        });
        seen.append(&mut runs);
        // Some of these are on disk when it is killed, and some are not.
        accepted(&url, EVENTS).await;
        serving.kill();
    }
    let _serving = Serving::on(&keyhole);
    let ended = until("the end of every run", || {
        Some(all(&keyhole)).filter(|all| all.iter().all(|(_, status)| status == "ok"))
    });
    assert!(seen.is_subset(&ended.iter().map(|(run, _)| run.clone()).collect()));
    for (run, _) in ended.iter().take(EVENTS) {
        let run = show(&keyhole, run);
        assert_eq!(run["steps"].as_array().map(Vec::len), Some(2), "{run:#}");
    }
}
