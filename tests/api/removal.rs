//! Members who are added and removed by somebody who does not wait for it, and what of them a later one of the same name
//! finds.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use keyhole_tests::program::Keyhole;
use keyhole_tests::server::{Server, json as answer};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::rig::{Served, by, call, client_at};

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

#[tokio::test]
async fn whoever_was_added_is_told_of_also_when_the_caller_hangs_up_at_that_moment() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let (client, authorization) = (client_at(1), format!("Bearer {admin}"));
    let names: Vec<String> = (0..30).map(|number| format!("m{number}")).collect();
    for name in &names {
        let (token, url, new) = (admin.clone(), at("/members"), json!({"name": name}));
        let adding = tokio::spawn(async move { by(&token, "post", &url, Some(&new)).await.status });
        let named = format!("\"{name}\"");
        // At once when they are there, while it is being recorded.
        let there = async || call(&client, "get", &at("/members"), Some(&authorization), None).await.ok().text;
        while !there().await.contains(&named) {
            assert!(!adding.is_finished() || there().await.contains(&named), "{name} is not added");
        }
        adding.abort();
    }
    until("the audit to tell of each", async || {
        let acts = by(&admin, "get", &at("/audit?kind=act&limit=100"), None).await.ok().json();
        let told = |name: &String| {
            let of = |act: &Value| act["act"] == "members_add" && act["about"] == name.as_str();
            acts.as_array().expect("a list").iter().any(of)
        };
        names.iter().all(told)
    })
    .await;
}

#[tokio::test]
async fn a_later_bearer_of_the_name_has_none_of_the_workflows_and_runs_before() {
    let keyhole = Keyhole::default();
    for name in ["alice", "bob"] {
        keyhole.member(name);
    }
    let component = component("verbs").display().to_string();
    let path = keyhole.data.path().join("watch.toml");
    let step = |name: &str, verb: &str, value: &str| {
        format!("[[steps]]\nname = {name:?}\nuses = {component:?}\nprops = {{ verb = {verb:?}, value = {value} }}\n")
    };
    let head = "keyhole = 1\nname = \"watch\"\ntrigger.http = {}\n";
    let file = format!("{head}{}{}", step("look", "suspend", "600000"), step("say", "return", "\"done\""));
    std::fs::write(&path, file).expect("the file is written");
    keyhole.call(&["workflows", "deploy", path.to_str().expect("text"), "--as", "bob"]).ok();
    let served = Served::on(keyhole, &[]);
    let (admin, _) = served.token("alice", &[]);
    let (bobs, _) = served.token("bob", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let one = at("/workflows/bob/watch");
    let hook = by(&bobs, "get", &one, None).await.ok().json()["hook"].as_str().expect("its address").to_owned();
    let hook = format!("{}{}", served.url, &hook[hook.find("/hooks/").expect("a path")..]);
    let knock = async || by("", "post", &hook, Some(&json!({"secret": "of bob's"}))).await;
    let run = knock().await.ok().json()["run"].as_str().expect("a run").to_owned();
    let run = at(&format!("/runs/{run}"));
    let status = async |token: &str| by(token, "get", &run, None).await.ok().json()["run"]["status"].clone();
    until("the run to wait", async || status(&bobs).await == "waiting").await;

    by(&admin, "delete", &at("/members/bob"), None).await.ok();
    knock().await.problem(404);
    let added = by(&admin, "post", &at("/members"), Some(&json!({"name": "bob", "invite": true}))).await.ok();
    assert!(added.json()["invite"].is_string(), "{}", added.text);
    let (bobs, _) = served.token("bob", &[]);
    for list in ["/runs", "/runs?workflow=watch", "/runs?status=waiting", "/workflows"] {
        assert_eq!(by(&bobs, "get", &at(list), None).await.ok().json(), json!([]), "{list}");
    }
    by(&bobs, "get", &run, None).await.problem(404);
    by(&bobs, "post", &format!("{run}/retry"), Some(&json!({}))).await.problem(404);
    by(&bobs, "get", &one, None).await.problem(404);
    by(&bobs, "patch", &one, Some(&json!({"enabled": true}))).await.problem(404);
    by(&bobs, "post", &format!("{one}/runs"), Some(&json!({}))).await.problem(404);
    // Turned on by an admin, it is nobody's all the same.
    by(&admin, "patch", &one, Some(&json!({"enabled": true}))).await.ok();
    knock().await.problem(404);

    // One of their own in its place is theirs alone, at an address that nobody else knows.
    served.keyhole.call(&["workflows", "deploy", path.to_str().expect("text"), "--as", "bob"]).ok();
    let theirs = by(&bobs, "get", &one, None).await.ok().json();
    assert_eq!((&theirs["enabled"], &theirs["version"]), (&json!(true), &json!(2)), "{theirs:#}");
    knock().await.problem(404);
    let own = by(&bobs, "post", &format!("{one}/runs"), Some(&json!({}))).await.ok().json();
    let listed = by(&bobs, "get", &at("/runs"), None).await.ok().json();
    let listed: Vec<&Value> = listed.as_array().expect("a list").iter().map(|run| &run["id"]).collect();
    assert_eq!(listed, [&own["run"]]);
    by(&bobs, "get", &run, None).await.problem(404);
}
