//! What an operator's machines are told, without a token: whether Keyhole lives and can work, and how much it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Server, json};
use keyhole_tests::workspace::component;
use serde_json::json;

use crate::rig::*;

async fn get(url: &str) -> Answer {
    let answer = client_at(9).get(url).send().await.unwrap();
    Answer { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await.unwrap() }
}

/// The value of the sample whose line begins so.
fn sample(text: &str, begins: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no {begins} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_done_and_not_for_whom() {
    let mut keyhole = Keyhole::default();
    let service = Server::http(&keyhole.authority, &["api.acme.example"], |_| json(404, &json!({})));
    keyhole.lead("api.acme.example", &service);
    keyhole.member("alice");
    let account = keyhole.connect("alice", KEY);
    let step = component("hostile").display().to_string();
    let text = format!(
        "keyhole = 1\nname = \"secretive\"\n[[steps]]\nname = \"a\"\nuses = {step:?}\nlinks = {{ acme = {account:?} }}\n"
    );
    let file = keyhole.data.path().join("workflow.toml");
    std::fs::write(&file, text).unwrap();
    keyhole.call(&["workflows", "deploy", file.to_str().unwrap(), "--as", "alice"]).ok();
    let served = Served::on(keyhole, &["--metrics", "127.0.0.1:0"]);
    let metrics = served.metrics.clone().expect("it says where");
    let (token, _) = served.token("alice", &[]);
    let url = "https://api.acme.example/v1/private";
    let event = json!({"attack": "sequence", "requests": [
        {"url": url, "account": true}, {"url": url, "account": true}, {"url": "https://elsewhere.example/"}
    ]});
    let run = format!("{}/api/workflows/alice/secretive/runs", served.url);
    let ended = by(&token, "post", &run, Some(&json!({"event": event, "wait": true}))).await.ok().json();
    assert_eq!(ended["status"], "ok", "{ended:#}");
    let told = get(&metrics).await;
    assert!(told.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = told.text;
    assert_eq!(sample(&text, "keyhole_runs_ended_total{status=\"ok\"}"), 1.0);
    assert_eq!(sample(&text, "keyhole_requests_total{app=\"acme\",decision=\"allowed\",status=\"404\"}"), 2.0);
    assert_eq!(sample(&text, "keyhole_requests_refused_total{reason=\"policy\"}"), 1.0);
    assert_eq!(sample(&text, "keyhole_run_seconds_count"), 1.0);
    assert_eq!(sample(&text, "keyhole_step_seconds_count{status=\"ok\"}"), 1.0);
    assert_eq!(sample(&text, "keyhole_runs{state=\"running\"}"), 0.0);
    assert!(sample(&text, "keyhole_instances_limit") >= 16.0);
    for private in ["alice", "secretive", "/v1", "elsewhere", KEY, account.as_str()] {
        assert!(!text.contains(private), "{private} in {text}");
    }
    // On an address of their own, and not on the one that others reach.
    assert_eq!(get(&format!("{}/metrics", served.url)).await.status, 404);
    for base in [metrics.trim_end_matches("/metrics"), &served.url] {
        for path in ["/healthz", "/readyz"] {
            let answer = get(&format!("{base}{path}")).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ok\n"), "{base}{path}");
        }
    }
    // No workflow asks there either.
    let url = metrics.trim_end_matches("/metrics").to_owned();
    let asked = json!({"attack": "sequence", "requests": [{"url": format!("{url}/metrics")}]});
    let link = format!("acme={account}");
    let flags = ["--as", "alice", "--link", &link, "--allow-host", &url];
    let run = served.keyhole.run(&component("hostile"), &asked, &flags);
    assert!(run["requests"][0]["reason"].as_str().unwrap().contains("Keyhole's own address"), "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_runs_by_state_of_refreshes_and_of_instances_in_use() {
    let mut keyhole = Keyhole::default();
    // The token that the service takes; from 3 on it gives none any more.
    let valid = Arc::new(AtomicUsize::new(1));
    let (knows, asked) = (valid.clone(), AtomicUsize::new(0));
    let service = Server::http(&keyhole.authority, &["auth.acme.example"], move |request| {
        let valid = knows.load(Ordering::SeqCst);
        let token = format!("robot_access_5hT0pQz81mX{valid}");
        let is_taken = request.header("authorization") == Some(&format!("Bearer {token}"));
        match request.target.as_str() {
            "/token" if valid < 3 => {
                json(200, &json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))
            }
            "/token" => json(400, &json!({"error": "invalid_grant"})),
            _ if is_taken => json(200, &json!({"client": format!("robot-{}", asked.fetch_add(1, Ordering::SeqCst))})),
            _ => json(401, &json!({"error": "invalid_token"})),
        }
    });
    keyhole.lead("auth.acme.example", &service);
    keyhole.member("alice");
    let flags: Vec<_> = keyhole.flags().iter().map(String::as_str).collect();
    let connect = |nickname: &str| {
        let args = ["--json", "accounts", "connect", "robot", "--field", "client_id=robot", "--as", "alice", "--stdin"];
        let args = [&args[..], &["--nickname", nickname], &flags].concat();
        keyhole.call_with(&args, "robot-secret-4f1b7c2e9d").ok();
    };
    connect("renewed");
    connect("dead");
    let verbs = component("verbs").display().to_string();
    let verb = |verb: &str, value: u32| {
        format!("[[steps]]\nname = {verb:?}\nuses = {verbs:?}\nprops = {{ verb = {verb:?}, value = {value} }}\n")
    };
    let look = |account: &str| {
        let links = format!("links = {{ account = {account:?} }}");
        format!("[[steps]]\nname = \"look\"\nuses = \"http-request\"\n{links}\nprops = {{ url = \"notes\" }}\n")
    };
    for (name, more) in [
        ("renewed", look("renewed")),
        ("dead", look("dead")),
        ("later", verb("delay", 600_000) + &verb("return", 1)),
        ("busy", format!("limits = {{ concurrency = 1, timeout = \"600s\" }}\n{}", verb("loop", 0))),
    ] {
        let file = keyhole.data.path().join("workflow.toml");
        std::fs::write(&file, format!("keyhole = 1\nname = {name:?}\n{more}")).unwrap();
        keyhole.call(&["workflows", "deploy", file.to_str().unwrap(), "--as", "alice"]).ok();
    }
    let served = Served::on(keyhole, &["--metrics", "127.0.0.1:0"]);
    let metrics = served.metrics.clone().expect("it says where");
    let (token, _) = served.token("alice", &[]);
    let start = async |name: &str, wait: bool| {
        let runs = format!("{}/api/workflows/alice/{name}/runs", served.url);
        by(&token, "post", &runs, Some(&json!({ "wait": wait }))).await.ok();
    };
    // The service takes the tokens no more; it gives one account another, and the other one none.
    for (account, turn) in [("renewed", 2), ("dead", 3)] {
        valid.store(turn, Ordering::SeqCst);
        start(account, true).await;
    }
    for name in ["dead", "later", "busy", "busy"] {
        start(name, false).await;
    }
    let states = ["queued", "running", "waiting"].map(|state| format!("keyhole_runs{{state=\"{state}\"}}"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let text = loop {
        let text = get(&metrics).await.text;
        let is_one = states.iter().all(|state| sample(&text, state) == 1.0);
        if is_one && sample(&text, "keyhole_runs{state=\"held\"}") >= 1.0 && sample(&text, "keyhole_instances ") >= 1.0
        {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(sample(&text, "keyhole_refreshes_total{app=\"robot\",outcome=\"ok\"}"), 1.0);
    assert_eq!(sample(&text, "keyhole_refreshes_total{app=\"robot\",outcome=\"failed\"}"), 1.0);
    assert!(sample(&text, "keyhole_instances ") <= sample(&text, "keyhole_instances_limit"), "{text}");
}
