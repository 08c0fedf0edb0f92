//! Pages are small whatever members, steps and services write. Each is looked at with the longest that it can be given.

use std::fmt::Display;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keyhole::workflow::history::History;
use keyhole::workflow::record::{Details, Pending, Run};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::RedbStore;
use serde_json::{Value, json};

use crate::house::{House, Words, deploy, request, run_as};
use crate::many::{MOST, assets, connect, fill};
use crate::visit::{Answer, Visit, client, send};

/// What is six times as long in a page.
fn quotes(count: usize) -> String {
    "\"".repeat(count)
}

/// A name as long as one may be.
fn name(number: impl Display) -> String {
    format!("{number:0>3}-{}", "n".repeat(59))
}

/// A step that did all that it could.
fn step(number: usize, kind: usize, at: Timestamp, account: &str) -> Value {
    let log = |lines: usize, text: &str| -> Vec<Value> {
        (0..lines).map(|_| json!({"time": at, "level": "error", "text": text})).collect()
    };
    let request = json!({
        "at": at, "method": "GET", "host": "h".repeat(250), "path": format!("/{}", "&".repeat(511)), "status": 502, "account": account,
        "app": "acme", "decision": "allowed", "reason": quotes(300), "bytes_out": 1, "bytes_in": 1, "duration_ms": 1.5,
    });
    let exports: serde_json::Map<String, Value> =
        (0..256).map(|at| (format!("{at:03}{}", quotes(120)), json!(quotes(30)))).collect();
    let more = match kind {
        0 => json!({"log": log(8_192, ""), "log_cut": true}),
        1 => json!({"log": log(20, &quotes(10_000))}),
        2 => json!({"requests": vec![request; 1_000]}),
        3 => json!({"exports": exports}),
        4 => json!({"return_value": vec![quotes(3); 10_000], "props": {"given": quotes(20_000)}}),
        _ => json!({}),
    };
    let mut step = json!({
        "name": format!("s{}", name(number)), "status": "failed", "started": at, "duration_ms": 123_456, "attempts": 50, "peak_memory": 268_435_455_u64,
        "error": {"step": null, "kind": "upstream", "message": quotes(6_000), "trace": quotes(6_000)},
    });
    step.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
    step
}

/// Writes a run of alice's that ended, with these steps.
async fn ended(history: &History, workflow: &str, at: Timestamp, event: &Value, steps: Vec<Value>) -> String {
    let id = ulid::Ulid::from_parts(u64::try_from(at.as_millisecond()).expect("after 1970"), 7).to_string();
    let pending =
        json!({"workflow": workflow, "version": 1, "cause": "http", "accepted": at, "instance": "many", "event": {}});
    let run = json!({
        "id": id, "workflow": workflow, "version": 1, "cause": "http", "status": "failed", "accepted": at, "started": at, "ended": at,
        "steps": 0, "error": {"step": "look", "kind": "upstream", "message": quotes(60_000), "trace": quotes(60_000)},
    });
    let details = json!({"event": event, "steps": steps, "exit": quotes(4_000)});
    let pending: Pending = serde_json::from_str(&pending.to_string()).expect("a run that is pending");
    let run: Run = serde_json::from_str(&run.to_string()).expect("a run");
    let details: Details = serde_json::from_str(&details.to_string()).expect("its details");
    history.accept(&id, &pending).await.expect("it is accepted");
    history.end(&run, &details).await.expect("it ends");
    id
}

/// What judges pages.
struct Scales {
    assets: usize,
    wrong: Vec<String>,
}

impl Scales {
    fn weigh(&mut self, what: &str, status: u16, answer: &Answer) {
        let size = answer.text.len() + self.assets;
        println!("{size:>7}  {what}");
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        if size >= MOST {
            self.wrong.push(format!("{what} has {size} bytes"));
        }
    }
}

#[tokio::test]
async fn every_page_is_small_whatever_is_written_on_it() {
    let house = House::new(&Words::default());
    house.served.keyhole.has_long_been("alice").await;
    let alice = Visit::of(&house.served, "alice").await;
    let mut scales = Scales { assets: assets(&alice).await, wrong: Vec::new() };
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&house.served.keyhole.data_dir()).expect("the store"));
    let history = History::new(store);
    let at = |minutes: i64| Timestamp::now() - SignedDuration::from_mins(minutes);

    // Runs.
    let big = json!({"note": quotes(20_000)});
    let edited = json!({"note": "e".repeat(11_000)});
    let steps = (0..100).map(|number| step(number, number, at(9_000), &house.healthy)).collect();
    let mut runs = vec![ended(&history, "alice/orders", at(9_000), &edited, steps).await];
    for kind in 0..5 {
        let (begun, event) =
            (at(9_100 + i64::try_from(kind).expect("few")), if kind % 2 == 0 { &big } else { &edited });
        runs.push(ended(&history, "alice/orders", begun, event, vec![step(0, kind, begun, &house.healthy)]).await);
    }
    for run in &runs {
        let page = alice.get(&format!("/runs/{run}")).await;
        scales.weigh(&format!("/runs/{run}"), 200, &page);
        assert!(page.text.contains("there is more") && page.text.contains("keyhole --json runs show"), "{}", page.text);
    }
    let all = alice.get(&format!("/runs/{}", runs[0])).await.text;
    assert_eq!(all.matches("<details class=\"step\"").count(), 100, "each step is there");
    assert!(all.contains("e".repeat(1_000).as_str()), "and the event");
    for minute in 0..60 {
        ended(&history, &format!("alice/{}", name(0)), at(10_000 + minute), &big, Vec::new()).await;
    }

    // Workflows: many, each with a long description and with runs; one account is used by all.
    let (token, _) = house.served.token("alice", &[]);
    let api = client(1);
    let scopes: Vec<String> = (0..100).map(|number| format!("{number:03}{}", "&".repeat(250))).collect();
    let step = |number: i64| {
        let step = request(&format!("s{}", name(number)), "account", &house.healthy, "v1/me");
        format!("{step}scopes = {{ account = {} }}\n", json!(scopes))
    };
    for number in 0..55_i64 {
        let head = format!("keyhole = 1\nname = {:?}\ndescription = {}\n", name(number), json!(quotes(5_000)));
        let new = json!({"file": head + &step(number)});
        let answer = send(api.post(format!("{}/api/workflows", house.served.url)).bearer_auth(&token).json(&new)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        fill(&history, &format!("alice/{}", name(number)), at(20_000 + number), 12).await;
    }
    scales.weigh("/workflows", 200, &alice.get("/workflows").await);
    scales.weigh("/runs", 200, &alice.get(&format!("/runs?status=failed&workflow={}", name(0))).await);
    scales.weigh("/runs", 200, &alice.get("/runs?status=failed").await);
    scales.weigh("a workflow", 200, &alice.get(&format!("/workflows/alice/{}", name(0))).await);

    // Files: the longest that there may be, and the longest that is edited here, with many choices and suggestions.
    connect(&house.served, 120).await;
    let keyhole = &house.served.keyhole;
    let many = |name: &str, comment: usize| {
        let steps: String =
            (0..100).map(|number| request(&format!("s{number}"), "account", &house.healthy, "v1/me")).collect();
        let file = format!("keyhole = 1\nname = {name:?}\ndescription = {}\n{steps}", json!(quotes(2_000)));
        let rest = comment.saturating_sub(file.len() + 3);
        format!("{file}# {}\n", quotes(rest))
    };
    deploy(keyhole, "long", &many("long", 256 * 1024));
    let page = alice.get("/workflows/alice/long").await;
    scales.weigh("/workflows/alice/long", 200, &page);
    assert!(page.text.contains("too long to be edited here") && !page.text.contains("name=\"file\""), "{}", page.text);
    let whole = alice.get("/workflows/alice/long/workflow.toml").await;
    assert_eq!((whole.status, whole.text.len()), (200, 256 * 1024), "all of it is to be had");
    assert!(whole.header("content-disposition").starts_with("attachment"), "{}", whole.header("content-disposition"));
    let mut edited = String::new();
    for length in (15_000..24_000).step_by(1_000) {
        deploy(keyhole, "wide", &many("wide", length));
        let page = alice.get("/workflows/alice/wide").await;
        scales.weigh("/workflows/alice/wide", 200, &page);
        if page.text.contains("name=\"file\"") {
            edited = page.text;
        }
    }
    assert!(edited.contains("number-00001"), "one of these is edited here, and accounts are suggested");
    let version =
        edited.split("name=\"version\" value=\"").nth(1).and_then(|after| after.split('"').next()).expect("a version");
    let long = quotes(80_000);
    let typed = [("version", version), ("file", long.as_str())];
    scales.weigh("a file that is refused", 409, &alice.post("/workflows/alice/wide/file", &typed[..]).await);
    let typed = [("event", quotes(80_000))].map(|(name, text)| (name, format!("{{{text}")));
    let typed = typed.each_ref().map(|(name, text)| (*name, text.as_str()));
    scales.weigh("an event that is refused", 422, &alice.post("/workflows/alice/orders/runs", &typed).await);

    // Requests with long paths, for the audit and the account's page.
    let url = format!("v1/{}", "&".repeat(500));
    let asks: String =
        (0..50).map(|number| request(&format!("s{}", name(number)), "account", &house.healthy, &url)).collect();
    deploy(keyhole, "asks", &format!("keyhole = 1\nname = \"asks\"\n{asks}"));
    let ran = run_as(keyhole, "alice", "asks", &json!({}));
    assert_eq!(ran["run"]["status"], "ok", "{ran:#}");
    scales.weigh("/audit", 200, &alice.get("/audit").await);
    scales.weigh("an account", 200, &alice.get(&format!("/accounts/{}", house.healthy)).await);
    scales.weigh("/runs of all", 200, &alice.get("/runs").await);
    assert!(scales.wrong.is_empty(), "{:#?}", scales.wrong);
}
