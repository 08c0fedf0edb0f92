//! Triggers: an address that nobody guesses, signatures, the clock.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::rig::*;

async fn post(url: &str, body: impl Into<String>) -> Response {
    Client::new().post(url).header("content-type", "application/json").body(body.into()).send().await.unwrap()
}

fn client_ready() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn an_event_is_answered_202_and_run() {
    client_ready();
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}trigger.http = {{}}\n{}", verb("a", "return", "\"{{ event.body.n }}\""))).ok();
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let accepted = post(&url, json!({"n": 7}).to_string()).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let run = accepted.json::<Value>().await.unwrap()["run"].as_str().unwrap().to_owned();
    let shown = until_status(&keyhole, &run, "ok");
    assert_eq!(returned(&shown)["a"], 7);
    assert_eq!(shown["event"]["method"], "POST");

    for wrong in [url.replace("/w/", "/v/"), url.replace("alice", "bob"), url[..url.len() - 1].to_owned() + "!"] {
        let answer = post(&wrong, "{}").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{wrong}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("there is nothing at this address"), "{text}");
    }
    let long = post(&url, format!("\"{}\"", "x".repeat(512 * 1024))).await;
    assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    keyhole.call(&["workflows", "disable", "w", "--as", "alice"]).ok();
    assert_eq!(post(&url, "{}").await.status(), StatusCode::NOT_FOUND);
    keyhole.call(&["workflows", "enable", "w", "--as", "alice"]).ok();
    assert_eq!(post(&url, "{}").await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_caller_who_waits_gets_what_the_workflow_answers() {
    client_ready();
    let keyhole = keyhole();
    let serving = Serving::on(&keyhole);
    let respond = "trigger.http = { respond = \"workflow\" }\n";
    deploy(
        &keyhole,
        &format!("{HEAD}{respond}{}{}", verb("a", "respond", "{ hello = \"you\" }"), verb("b", "return", "1")),
    )
    .ok();
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let answer = post(&url, "{}").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-step"].to_str().unwrap()), (201, "verbs"));
    assert_eq!(answer.headers()["content-security-policy"], "sandbox");
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"hello": "you"}));
    deploy(&keyhole, &format!("{HEAD}{respond}{}", verb("a", "return", "[1, 2]"))).ok();
    assert_eq!(post(&url, "{}").await.json::<Value>().await.unwrap(), json!([1, 2]));
    deploy(&keyhole, &format!("{HEAD}{respond}{}", verb("a", "fail", "\"a secret reason\""))).ok();
    let failed = post(&url, "{}").await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!failed.text().await.unwrap().contains("secret reason"));
    // What a step gave for the end is not sent when the run fails; what it gave for now is, while the step runs.
    deploy(&keyhole, &format!("{HEAD}{respond}{}{}", verb("a", "respond", "1"), verb("b", "fail", "0"))).ok();
    assert_eq!(post(&url, "{}").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let limits = "limits.timeout = \"60s\"\n";
    deploy(&keyhole, &format!("{HEAD}{limits}{respond}{}", verb("a", "respond-now", "{ hello = \"now\" }"))).ok();
    let answer = post(&url, "{}").await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"hello": "now"}));
    let running = until("it to be under way", || list(&keyhole, &["--status", "running"]).pop());
    keyhole.call(&["runs", "cancel", running["id"].as_str().unwrap(), "--as", "alice"]).ok();
}

#[tokio::test]
async fn with_a_signature_only_who_has_the_secret_starts_a_run() {
    client_ready();
    let keyhole = keyhole();
    let secret = "it's a webhook secret";
    keyhole
        .call_with(
            &["accounts", "connect", "webhook", "--nickname", "hook", "--as", "alice", "--stdin", "--no-test"],
            secret,
        )
        .ok();
    let signature = "trigger.http.signature = { scheme = \"github\", secret = \"hook\" }\n";
    deploy(&keyhole, &format!("{HEAD}{signature}{}", verb("a", "return", "1"))).ok();
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let signed = |body: &str, secret: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Client::new().post(&url).header("x-hub-signature-256", format!("sha256={hex}"))
    };
    let status = async |request: reqwest::RequestBuilder, body: &str| {
        request.body(body.to_owned()).send().await.unwrap().status()
    };
    assert_eq!(status(signed("{}", secret), "{}").await, StatusCode::ACCEPTED);
    assert_eq!(status(signed("{}", "another"), "{}").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(signed("{}", secret), "{ }").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(Client::new().post(&url), "{}").await, StatusCode::UNAUTHORIZED);
    let stored = keyhole.stored_bytes();
    assert!(memchr::memmem::find(&stored, secret.as_bytes()).is_none());
    assert_eq!(list(&keyhole, &[]).len(), 1);

    // The account is meant, not its nickname: one that another member shares under it opens nothing.
    keyhole.call(&["accounts", "rename", "hook", "renamed", "--as", "alice"]).ok();
    assert_eq!(status(signed("{}", secret), "{}").await, StatusCode::ACCEPTED);
    keyhole.call(&["accounts", "delete", "renamed", "--as", "alice"]).ok();
    keyhole.member("mallory");
    let connect = ["accounts", "connect", "webhook", "--nickname", "hook", "--as", "mallory", "--stdin", "--no-test"];
    keyhole.call_with(&connect, "another secret").ok();
    keyhole.call(&["accounts", "access", "hook", "workspace", "--as", "mallory"]).ok();
    assert_eq!(status(signed("{}", "another secret"), "{}").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(signed("{}", secret), "{}").await, StatusCode::UNAUTHORIZED);
}

/// HMAC-SHA256 in hex.
fn hmac(secret: &str, signed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn each_scheme_of_signatures_lets_in_who_has_the_secret_now() {
    client_ready();
    let keyhole = keyhole();
    let secret = "it's a webhook secret";
    let connect = ["accounts", "connect", "webhook", "--nickname", "hook", "--as", "alice", "--stdin", "--no-test"];
    keyhole.call_with(&connect, secret).ok();
    let serving = Serving::on(&keyhole);
    type Sign = fn(&str, &str, i64) -> Vec<(&'static str, String)>;
    let schemes: [(&str, Sign, bool); 3] = [
        ("scheme = \"hmac\", header = \"X-Sign\"", |secret, body, _| vec![("x-sign", hmac(secret, body))], false),
        (
            "scheme = \"slack\"",
            |secret, body, time| {
                let signature = format!("v0={}", hmac(secret, &format!("v0:{time}:{body}")));
                vec![("x-slack-request-timestamp", time.to_string()), ("x-slack-signature", signature)]
            },
            true,
        ),
        (
            "scheme = \"stripe\"",
            |secret, body, time| {
                vec![("stripe-signature", format!("t={time},v1={}", hmac(secret, &format!("{time}.{body}"))))]
            },
            true,
        ),
    ];
    for (scheme, sign, is_timed) in schemes {
        let trigger = format!("trigger.http.signature = {{ {scheme}, secret = \"hook\" }}\n");
        deploy(&keyhole, &format!("{HEAD}{trigger}{}", verb("a", "return", "1"))).ok();
        let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
        let now = jiff::Timestamp::now().as_second();
        let status = async |secret: &str, time: i64, body: &str| {
            let headers = sign(secret, "{}", time);
            let request = headers
                .into_iter()
                .fold(Client::new().post(&url), |request, (name, value)| request.header(name, value));
            request.body(body.to_owned()).send().await.unwrap().status()
        };
        assert_eq!(status(secret, now, "{}").await, StatusCode::ACCEPTED, "{scheme}");
        assert_eq!(status("another", now, "{}").await, StatusCode::UNAUTHORIZED, "{scheme}");
        assert_eq!(status(secret, now, "{ }").await, StatusCode::UNAUTHORIZED, "{scheme}");
        if is_timed {
            assert_eq!(status(secret, now - 400, "{}").await, StatusCode::UNAUTHORIZED, "{scheme}");
            assert_eq!(status(secret, now + 400, "{}").await, StatusCode::UNAUTHORIZED, "{scheme}");
        }
        assert_eq!(post(&url, "{}").await.status(), StatusCode::UNAUTHORIZED, "{scheme}");
    }
    assert_eq!(list(&keyhole, &[]).len(), 3);
}

#[tokio::test]
async fn more_events_than_may_wait_are_refused_with_429() {
    client_ready();
    let keyhole = keyhole();
    let limits = "trigger.http = {}\nlimits = { queue = 3, concurrency = 1, timeout = \"20s\" }\n";
    deploy(&keyhole, &format!("{HEAD}{limits}{}", verb("a", "loop", "0"))).ok();
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(post(&url, "{}").await);
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).collect();
    assert!((3..=5).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|answer| answer.headers().contains_key("retry-after")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_wait_than_may_when_a_hundred_events_come_at_once() {
    client_ready();
    let keyhole = keyhole();
    let limits = "trigger.http = {}\nlimits = { queue = 3, concurrency = 1, timeout = \"60s\" }\n";
    deploy(&keyhole, &format!("{HEAD}{limits}{}", verb("a", "loop", "0"))).ok();
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let client = Client::new();
    let sent: Vec<_> = (0..100).map(|_| tokio::spawn(client.post(&url).body("{}").send())).collect();
    let mut accepted = 0;
    for answer in sent {
        match answer.await.unwrap().unwrap().status() {
            StatusCode::ACCEPTED => accepted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    // One of them may run by then.
    assert!((3..=4).contains(&accepted), "{accepted}");
    assert_eq!(list(&keyhole, &[]).len(), accepted);
}

#[test]
fn the_clock_starts_what_is_due() {
    let keyhole = keyhole();
    let cron = "trigger.cron = { schedule = \"* * * * * *\", time_zone = \"Europe/Vienna\" }\n";
    let deployed =
        deploy(&keyhole, &format!("{HEAD}{cron}{}", verb("a", "return", "\"{{ event.scheduled }}\""))).ok().json();
    assert!(deployed["workflow"]["next"].is_string(), "{deployed:#}");
    // Two processes: each time is one run all the same.
    let (one, other) = (Serving::on(&keyhole), Serving::on(&keyhole));
    let runs = until("five runs", || Some(list(&keyhole, &["--status", "ok"])).filter(|runs| runs.len() >= 5));
    drop((one, other));
    let mut times: Vec<String> = runs
        .iter()
        .map(|run| returned(&show(&keyhole, run["id"].as_str().unwrap()))["a"].as_str().unwrap().to_owned())
        .collect();
    let all = times.len();
    times.sort();
    times.dedup();
    assert_eq!(times.len(), all, "{times:?}");
}
