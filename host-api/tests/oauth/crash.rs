//! Processes of their own: several that refresh at once, and one that is killed in the midst
//! of it. The account works afterwards, or says that it must be reconnected, and which of
//! the two depends on what the server had done alone.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::SendError;
use keyhole_host_api::oauth::Start;
use serde_json::json;

use crate::connect::{connect, new};
use crate::house::{House, use_it, who};
use crate::keep::{expiry, stampede};
use crate::server::{CALLBACK, Decision, Server};

const DIR: &str = "OAUTH_CHILD_DIR";

/// What such a process does: uses the account, as so many runs do.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part that other tests start in a process of its own"]
async fn child() {
    let given = |name: &str| std::env::var(name).expect("started by another test");
    let house =
        House::open(given(DIR).as_ref(), &given("OAUTH_CHILD_PEM"), given("OAUTH_CHILD_PORT").parse().unwrap()).await;
    let id: AccountId = given("OAUTH_CHILD_ACCOUNT").parse().unwrap();
    let runs = given("OAUTH_CHILD_RUNS").parse().unwrap();
    // Both processes are open before the token expires.
    if runs > 1 {
        expiry(&house, &id).await;
    }
    let statuses = stampede(&[house.into()], &id, runs).await;
    assert!(statuses.iter().all(|status| *status == 200));
}

fn start(dir: &std::path::Path, server: &Server, id: &AccountId, runs: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored"])
        .env(DIR, dir)
        .env("OAUTH_CHILD_PEM", &server.pem)
        .env("OAUTH_CHILD_PORT", server.port.to_string())
        .env("OAUTH_CHILD_ACCOUNT", id.as_str())
        .env("OAUTH_CHILD_RUNS", runs.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Kills a process once the server has counted one more of `what`, while it refreshes.
async fn kill_in_mid_refresh(knobs: serde_json::Value, what: &str) -> (tempfile::TempDir, Server, House, AccountId) {
    let (dir, server, house) = new().await;
    server.set(json!({"accessTtl": 2})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    expiry(&house, &id).await;
    server.set(knobs).await;
    let before = server.count(what).await;
    let mut child = start(dir.path(), &server, &id, 1);
    while server.count(what).await == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    server.set(json!({})).await;
    (dir, server, house, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_server_gave_tokens_the_account_works() {
    // The request is there; the server has not begun its work, and does so only if it is still wanted.
    let (_dir, server, house, id) = kill_in_mid_refresh(json!({"token": "hang"}), "token requests").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(use_it(&house.session("alice", "notes", &id), "").await.unwrap().0, 200);
    assert!(begun.elapsed() < Duration::from_secs(12), "the lease of the dead ran out: {:?}", begun.elapsed());
    assert_eq!(server.count("refresh_token").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_server_had_given_tokens_the_account_says_so() {
    // The only copy of the rotated token was in the killed process: no client can know better.
    let (_dir, server, house, id) = kill_in_mid_refresh(json!({"after": 60_000}), "refresh_token").await;
    match use_it(&house.session("alice", "notes", &id), "").await {
        Err(SendError::Refused(text)) => {
            assert!(text.contains("must be reconnected by its owner: invalid_grant"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    assert!(house.dead(&id).await.unwrap().starts_with("invalid_grant"));
    assert_eq!(server.count("refresh_token").await, 1);
    // Every account still opens.
    let account = house.accounts.list(&who("alice")).await.unwrap().remove(0);
    assert_eq!(account.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_runs_in_two_processes_cause_one_refresh() {
    let (dir, server, house) = new().await;
    server.set(json!({"accessTtl": 6})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    server.set(json!({})).await;
    let mut children = [(); 2].map(|()| start(dir.path(), &server, &id, 500));
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "each of its runs was answered");
    }
    assert_eq!(server.count("resource").await, 1000);
    assert_eq!(server.count("refresh_token").await, 1);
    assert_eq!(server.count("resource refused").await + server.count("error:invalid_grant").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_instants_of_a_refresh_no_token_that_was_used_is_missing_from_disk() {
    let (dir, server, house) = new().await;
    let mut browser = server.browser();
    let id = connect(&house, &mut browser, "notes", "ann").await;
    assert_eq!(use_it(&house.session("alice", "notes", &id), "").await.unwrap().0, 200);
    let rounds = if std::env::var_os("KEYHOLE_LONG").is_some() { 100 } else { 4 };
    let (mut kept, mut lost) = (0, 0);
    for round in 0..rounds {
        // The next use is refused, and refreshes.
        house.forget_lease(&id).await;
        server.forget().await;
        server.set(json!({"before": 20, "after": 20})).await;
        let (refused, before) = (server.count("resource refused").await, server.taken().await);
        let mut child = start(dir.path(), &server, &id, 1);
        while server.count("resource refused").await == refused {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let chance = u64::from(ulid::Ulid::generate().to_bytes()[15]);
        tokio::time::sleep(Duration::from_millis(chance * 100 / 255)).await;
        let _ = child.kill();
        child.wait().unwrap();
        server.set(json!({})).await;

        let taken = server.taken().await;
        if taken != before {
            assert_eq!(house.secret(&id, "oauth_access_token").await, taken, "round {round}");
        }
        match use_it(&house.session("alice", "notes", &id), "").await {
            Ok((status, _)) => {
                assert_eq!(status, 200, "round {round}");
                kept += 1;
            }
            Err(SendError::Refused(text)) => {
                assert!(text.contains("must be reconnected"), "round {round}: {text}");
                let begun = house.oauth().begin(&who("alice"), Start::again(id.clone()), CALLBACK).await.unwrap();
                let back = browser.open(begun.url.as_str(), "ann", Decision::Allow).await;
                house.oauth().finish(&who("alice"), &back).await.unwrap();
                assert_eq!(use_it(&house.session("alice", "notes", &id), "").await.unwrap().0, 200, "round {round}");
                lost += 1;
            }
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    println!("{rounds} rounds: {kept} times the account worked, {lost} times it said that it must be reconnected");
}
