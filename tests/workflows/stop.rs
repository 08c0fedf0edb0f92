//! SIGTERM: nothing new begins, what runs may end, and whoever comes next goes on with the rest, in its order.

use std::time::Duration;

use keyhole::workflow::record::{Cause, RunStatus};
use keyhole_tests::program::KEY;
use keyhole_tests::server::Server;
use reqwest::Client;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::house::{Hands, House};
use crate::rig::*;

/// An http-request step that is answered when the test says so, by `released`.
fn slow(authority: &keyhole_tests::server::Authority, released: watch::Receiver<bool>) -> Server {
    Server::raw(authority, &["api.acme.example"], move |mut stream| {
        let mut released = released.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = released.wait_for(|released| *released).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_ends_and_nothing_else_begins_when_the_server_is_asked_to_stop() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut keyhole = keyhole();
    let (release, released) = watch::channel(false);
    let server = slow(&keyhole.authority, released);
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let asks = format!(
        "[[steps]]\nname = \"a\"\nuses = \"http-request\"\nlinks = {{ account = {account:?} }}\nprops = {{ url = \"v1/slow\" }}\n"
    );
    let limits = "trigger.http = { respond = \"workflow\" }\nlimits = { concurrency = 1, timeout = \"60s\" }\n";
    deploy(&keyhole, &[HEAD, limits, &asks, &verb("b", "return", "\"done\"")].concat()).ok();
    let serving = Serving::with(&keyhole, &["--metrics", "127.0.0.1:0"]);
    let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let first = tokio::spawn(client.post(&url).json(&json!({})).send());
    until("the first one's request", || (server.accepted() == 1).then_some(()));
    let second = tokio::spawn(client.post(&url).json(&json!({})).send());
    let queued = until("the second one behind it", || {
        // That the first one runs is told after a moment.
        let runs = |status| list(&keyhole, &["--status", status]);
        (runs("running").len() == 1).then(|| runs("queued").pop()).flatten()
    });

    serving.terminate();
    // Who waits for a run that this process does not begin any more is told so.
    let answer = second.await.unwrap().unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.json::<Value>().await.unwrap()["run"], queued["id"]);
    let ready = serving.metrics.clone().unwrap().replace("/metrics", "/readyz");
    assert_eq!(client.get(&ready).send().await.unwrap().status(), 503);
    release.send(true).unwrap();
    let answer = first.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.json::<Value>().await.unwrap()), (200, json!("done")));
    assert_eq!(serving.ended(), Some(0));
    assert_eq!(list(&keyhole, &["--status", "ok"]).len(), 1);
    assert_eq!(list(&keyhole, &["--status", "queued"]), std::slice::from_ref(&queued));
    assert_eq!(server.accepted(), 1);

    let _again = Serving::on(&keyhole);
    let ended = until_status(&keyhole, queued["id"].as_str().unwrap(), "ok");
    assert_eq!((&ended["steps"][0]["attempts"], &ended["steps"][1]["attempts"]), (&json!(1), &json!(1)), "{ended:#}");
}

#[tokio::test]
async fn what_takes_too_long_is_begun_again_at_the_next_start_and_what_was_queued_keeps_its_order_and_first_attempt() {
    let house = House::new(&Hands::at("2030-01-01T00:00:00Z")).await;
    let limits = "limits = { concurrency = 1, timeout = \"60s\" }\n";
    let steps = verb("a", "loop-before", "\"{{ event.before }}\"") + &stored("b", "count", "1");
    let workflow = house.deploy(&[HEAD, limits, &steps].concat()).await;
    let runner = house.process().await;
    // The first one is done at its second attempt.
    for before in [2, 1, 1, 1, 1] {
        let event = RawValue::from_string(format!("{{\"before\": {before}}}")).unwrap();
        runner.accept(&workflow, Cause::Manual, event, None).await.unwrap();
    }
    house.until("the first to be under way", |runs| runs[4].status == RunStatus::Running).await;
    assert_eq!(runner.stop(Duration::ZERO).await, 1, "one was broken off");
    let _runner = house.process().await;
    let ended = house.until("all", |runs| runs.iter().all(|run| run.status == RunStatus::Ok)).await;
    for (place, run) in ended.iter().rev().enumerate() {
        let (_, details) = house.history().details(&run.id).await.unwrap().unwrap();
        let attempt = if place == 0 { 2 } else { 1 };
        let given = |step: usize| details.steps[step].return_value.as_ref().unwrap().get().parse::<usize>().unwrap();
        assert_eq!((details.steps[0].attempts, given(0)), (attempt, attempt as usize), "{place}: {details:#?}");
        assert_eq!(given(1), place + 1, "in the order of the events");
    }
}

#[tokio::test]
async fn a_url_that_is_still_to_be_told_of_a_failure_is_told_by_whoever_comes_next() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut keyhole = keyhole();
    let up = std::sync::Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let server = Server::http(&keyhole.authority, &["alarm.example"], move |_| {
        keyhole_tests::server::json(if is_up.load(Ordering::SeqCst) { 200 } else { 503 }, &json!({}))
    });
    keyhole.lead("alarm.example", &server);
    let head = "on_error = \"https://alarm.example/x\"\ntrigger.http = { respond = \"workflow\" }\n";
    deploy(&keyhole, &[HEAD, head, &verb("a", "fail", "\"no luck\"")].concat()).ok();
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    // Who waits for the run does not wait for that.
    assert_eq!(Client::new().post(&url).json(&json!({})).send().await.unwrap().status(), 500);
    let run = list(&keyhole, &["--status", "running"]).pop().expect("it is being told");
    let id = run["id"].as_str().unwrap();
    until("it to be told once", || (!server.received().is_empty()).then_some(()));
    assert_eq!(serving.stop().0, Some(0));
    up.store(true, Ordering::SeqCst);
    let _again = Serving::on(&keyhole);
    let failed = until_status(&keyhole, id, "failed");
    assert_eq!((&failed["run"]["error"]["message"], &failed["steps"][0]["attempts"]), (&json!("no luck"), &json!(1)));
    assert_eq!((&failed["steps"][1]["name"], &failed["steps"][1]["status"]), (&json!("on_error"), &json!("ok")));
}
