//! A member who is removed while the service of their accounts takes its time, by somebody who does not wait for it.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use keyhole_tests::program::Keyhole;
use keyhole_tests::server::{Server, json as answer};
use serde_json::json;

use crate::rig::{Served, by};

/// More than are revoked at a time.
const ACCOUNTS: usize = 20;

/// Asks until it is so. Fails after 30 s.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so().await {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_removal_turns_workflows_off_first_and_goes_on_when_nobody_waits_for_it() {
    let mut keyhole = Keyhole::default();
    // It answers no revocation before it is let to.
    let (let_it, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let service = Server::http(&keyhole.authority, &["auth.acme.example"], move |request| {
        match request.target.as_str() {
            "/token" => {
                answer(200, &json!({"access_token": "robot_access", "token_type": "Bearer", "expires_in": 3600}))
            }
            "/token/revocation" => {
                // An error says that all may go on.
                let _ = wait.lock().expect("no panic with it held").recv();
                answer(200, &json!({}))
            }
            _ => answer(200, &json!({"client": "robot"})),
        }
    });
    keyhole.lead("auth.acme.example", &service);
    for name in ["alice", "bob"] {
        keyhole.member(name);
    }
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let connect = ["--json", "accounts", "connect", "robot", "--as", "bob", "--stdin", "--field", "client_id=robot"];
    let connect = [&connect[..], &flags].concat();
    let ids: Vec<String> = (0..ACCOUNTS)
        .map(|_| keyhole.call_with(&connect, "robot-secret").ok().json()["id"].as_str().expect("an id").to_owned())
        .collect();
    let path = keyhole.data.path().join("watch.toml");
    let file = format!(
        "keyhole = 1\nname = \"watch\"\n[[steps]]\nname = \"look\"\nuses = \"http-request\"\n\
         links = {{ account = {:?} }}\nprops = {{ url = \"notes\" }}\n",
        ids[0]
    );
    std::fs::write(&path, file).expect("the file is written");
    keyhole.call(&["workflows", "deploy", path.to_str().expect("text"), "--as", "bob"]).ok();

    let served = Served::on(keyhole, &[]);
    let (admin, _) = served.token("alice", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let revoked = || service.received().iter().filter(|request| request.target == "/token/revocation").count();
    let enabled = async || by(&admin, "get", &at("/workflows/bob/watch"), None).await.ok().json()["enabled"].clone();
    assert_eq!(enabled().await, true);
    let (token, url) = (admin.clone(), at("/members/bob"));
    let removing = tokio::spawn(async move { by(&token, "delete", &url, None).await.status });
    until("the service to be asked", async || revoked() > 0).await;
    // Bob is out, and nothing of theirs runs, however long the service takes.
    assert_eq!(enabled().await, false);
    let members = by(&admin, "get", &at("/members"), None).await.ok();
    assert!(!members.text.contains("bob"), "{}", members.text);

    removing.abort();
    assert!(removing.await.is_err(), "whoever asked is gone before there is an answer");
    drop(let_it);
    until("each account to be revoked", async || revoked() == ACCOUNTS).await;
    let acts = at("/audit?kind=act");
    until("the audit to tell", async || by(&admin, "get", &acts, None).await.ok().text.contains("members_remove"))
        .await;
    by(&admin, "delete", &at("/members/bob"), None).await.problem(404);
    by(&admin, "post", &at("/members"), Some(&json!({"name": "bob"}))).await.ok();
    assert_eq!(enabled().await, false, "another bob finds nothing that runs");
}
