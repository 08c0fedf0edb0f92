//! Keeping tokens fresh: once, whoever asks, and through every trouble of the server's.

use std::sync::Arc;
use std::time::Duration;

use keyhole_host_api::accounts::{AccountId, UseError};
use keyhole_host_api::apps::REFRESH_TOKEN;
use keyhole_host_api::broker::SendError;
use keyhole_host_api::oauth::TestAccountError;
use serde_json::json;
use tokio::sync::Barrier;

use crate::connect::{connect, new, until};
use crate::house::{House, client_secret, use_it, who};
use crate::server::Server;

const TOKEN: &str = "oauth_access_token";

/// Waits until the account's access token has expired.
pub async fn expiry(house: &House, id: &AccountId) {
    let account = house.accounts.usable(id, &who("alice")).await.unwrap();
    tokio::time::sleep_until(until(account.oauth.clone().unwrap().expires.unwrap())).await;
}

/// `tasks` runs over these houses use the account at one moment. The statuses that they got.
pub async fn stampede(houses: &[Arc<House>], id: &AccountId, tasks: usize) -> Vec<u16> {
    let barrier = Arc::new(Barrier::new(tasks));
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..tasks {
        let (house, id, barrier) = (houses[number % houses.len()].clone(), id.clone(), barrier.clone());
        runs.spawn(async move {
            let session = house.session("alice", "notes", &id);
            session.account("it").await.unwrap();
            barrier.wait().await;
            let (status, answer) = use_it(&session, "").await.unwrap();
            assert!(!answer.to_string().contains(&house.secret(&id, TOKEN).await), "the new token is scrubbed, too");
            status
        });
    }
    runs.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_runs_at_the_instant_of_expiry_cause_one_refresh() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 4})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    server.set(json!({"accessTtl": 3600})).await;
    expiry(&house, &id).await;
    let statuses = stampede(&[Arc::new(house)], &id, 1000).await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(server.count("refresh_token").await, 1);
    assert_eq!(server.count("refresh_token refused").await, 0);
    assert_eq!(server.count("resource refused").await, 0, "none was sent with the old token");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_two_processes_cause_one_refresh() {
    let (dir, server, house) = new().await;
    server.set(json!({"accessTtl": 4})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    // Nothing but the file is shared. The server takes its time, so that both find the token expired.
    let other = House::open(dir.path(), &server.pem, server.port).await;
    server.set(json!({"accessTtl": 3600, "before": 500})).await;
    expiry(&house, &id).await;
    let statuses = stampede(&[Arc::new(house), Arc::new(other)], &id, 200).await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(server.count("refresh_token").await, 1);
    assert_eq!(server.count("error:invalid_grant").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_rotates_what_is_on_disk_and_the_old_tokens_stay_scrubbed() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 4})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    let before = [house.secret(&id, TOKEN).await, house.secret(&id, REFRESH_TOKEN).await];
    let session = house.session("alice", "notes", &id);
    assert_eq!(use_it(&session, "").await.unwrap().0, 200);
    expiry(&house, &id).await;
    assert_eq!(use_it(&session, "").await.unwrap().0, 200);
    let after = [house.secret(&id, TOKEN).await, house.secret(&id, REFRESH_TOKEN).await];
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));

    // The service echoes what it is sent: the tokens of before and after come back as labels or placeholders.
    let all: Vec<&String> = before.iter().chain(&after).collect();
    let (_, answer) =
        use_it(&session, &all.iter().map(|token| token.as_str()).collect::<Vec<_>>().join(" ")).await.unwrap();
    let text = answer.to_string();
    assert!(all.iter().all(|token| !text.contains(token.as_str())), "{text}");
    assert_eq!(text.matches("‹notes.oauth_refresh_token›").count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_refreshed_and_the_request_sent_again_once() {
    let (_dir, server, house) = new().await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    let session = house.session("alice", "notes", &id);
    server.forget().await;
    let (status, answer) = use_it(&session, "the body, too").await.unwrap();
    assert_eq!((status, &answer["sent"]), (200, &json!("the body, too")));
    assert_eq!((server.count("refresh_token").await, server.count("resource refused").await), (1, 1));
    assert_eq!(session.requests().len(), 1, "one use is one record");

    // A service that refuses fresh tokens, too, does not mean tokens: it is not asked for one each time.
    server.forget().await;
    for _ in 0..3 {
        assert_eq!(use_it(&session, "").await.unwrap().0, 401);
    }
    assert_eq!((server.count("refresh_token").await, server.count("resource refused").await), (1, 4));
    assert_eq!(house.dead(&id).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_trouble_is_told_of_left_alone_and_forgiven() {
    let (_dir, server, house) = new().await;
    let mut browser = server.browser();
    let id = connect(&house, &mut browser, "notes", "ann").await;
    let session = house.session("alice", "notes", &id);
    for (knobs, told) in [
        (json!({"token": "status", "status": 500, "accessTtl": 2}), "it answered 500"),
        (json!({"token": "status", "status": 503, "retryAfter": 1, "accessTtl": 2}), "it answered 503"),
        (json!({"token": "garbage", "accessTtl": 2}), "it answered neither JSON nor a form"),
        (json!({"token": "error200", "accessTtl": 2}), "ratelimited"),
        (json!({"token": "echo", "accessTtl": 2}), "invalid_request: what is this?"),
    ] {
        server.set(json!({"accessTtl": 2})).await;
        renew(&house, &server, &session).await;
        let secrets = [house.secret(&id, REFRESH_TOKEN).await, client_secret("keyhole")];
        server.set(knobs.clone()).await;
        expiry(&house, &id).await;
        let requests = server.count("token requests").await;
        let error = match use_it(&session, "").await {
            Err(SendError::Unavailable(error)) => error,
            other => panic!("{knobs}: {other:?}"),
        };
        assert!(error.contains(told) && error.contains("https://auth.acme.example/token"), "{error}");
        assert!(secrets.iter().all(|secret| !error.contains(secret)), "{error}");
        assert!(use_it(&session, "").await.is_err());
        assert_eq!(server.count("token requests").await, requests + 1, "it is left alone for a while");
        assert_eq!(house.dead(&id).await, None, "{knobs}");

        // Once it works again, so does the account.
        server.set(json!({})).await;
        let status = loop {
            match use_it(&session, "").await {
                Ok((status, _)) => break status,
                Err(SendError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(status, 200);
    }
}

/// Has the account's token refreshed by a refusal.
async fn renew(house: &House, server: &Server, session: &Arc<keyhole_host_api::broker::Session>) {
    let id = house.accounts.list(&who("alice")).await.unwrap()[0].id.clone();
    house.forget_lease(&id).await;
    server.forget().await;
    assert_eq!(use_it(session, "").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_no_other_account() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 3})).await;
    let slow = connect(&house, &mut server.browser(), "notes", "ann").await;
    server.set(json!({})).await;
    let other = connect(&house, &mut server.browser(), "notes", "zoe").await;
    expiry(&house, &slow).await;
    server.set(json!({"before": 5000})).await;
    let session = house.session("alice", "notes", &slow);
    let waiting = tokio::spawn(async move { use_it(&session, "").await });
    while server.count("token requests").await < 3 {
        tokio::task::yield_now().await;
    }
    let session = house.session("alice", "notes", &other);
    assert_eq!(use_it(&session, "").await.unwrap().0, 200);
    assert!(!waiting.is_finished(), "the other one waits");
    assert_eq!(waiting.await.unwrap().unwrap().0, 200);
    assert_eq!(server.count("refresh_token").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_work_are_used_while_the_endpoint_does_not() {
    let (_dir, server, house) = new().await;
    // Due at once, as the margin is bounded by half the lifetime, and expired only later.
    server.set(json!({"accessTtl": 6})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    server.set(json!({"token": "status", "status": 500})).await;
    let account = house.accounts.usable(&id, &who("alice")).await.unwrap();
    let almost = account.oauth.clone().unwrap().expires.unwrap() - Duration::from_millis(900);
    tokio::time::sleep_until(until(almost)).await;
    assert_eq!(use_it(&house.session("alice", "notes", &id), "").await.unwrap().0, 200);
    assert_eq!(server.count("token requests").await, 2, "a refresh was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_an_account_renews_its_tokens_as_a_run_would() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 3})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    let check = async |id: &AccountId| house.oauth().test_account(id, &who("alice")).await;
    server.set(json!({"accessTtl": 3600})).await;
    expiry(&house, &id).await;
    assert!(check(&id).await.unwrap().is_some(), "its access token had expired");
    assert_eq!(server.count("refresh_token").await, 1);
    assert_eq!(server.count("resource refused").await, 0, "none was sent with the old token");
    server.forget().await;
    assert!(check(&id).await.unwrap().is_some(), "the service had forgotten it");
    assert_eq!(server.count("refresh_token").await, 2);
    // While nobody can say whether it could be renewed, nothing is said of the account.
    let id = connect(&house, &mut server.browser(), "notes", "eve").await;
    server.forget().await;
    server.set(json!({"token": "status", "status": 503})).await;
    let unsaid = check(&id).await;
    assert!(matches!(unsaid, Err(TestAccountError::Refresh(_))), "{unsaid:?}");
    assert_eq!(house.dead(&id).await, None);
    let bobs = house.oauth().test_account(&id, &who("bob")).await;
    assert!(matches!(bobs, Err(TestAccountError::Use(UseError::NoAccess { .. }))), "{bobs:?}");

    server.set(json!({"accessTtl": 3})).await;
    let id = connect(&house, &mut server.browser(), "notes", "zoe").await;
    assert!(server.refresh("keyhole", &house.secret(&id, REFRESH_TOKEN).await).await, "a thief was faster");
    expiry(&house, &id).await;
    let stolen = check(&id).await;
    assert!(matches!(stolen, Err(TestAccountError::Use(UseError::ReconnectNeeded { .. }))), "{stolen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_refresh_token_is_noticed_and_the_account_says_so() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 3})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    let stolen = house.secret(&id, REFRESH_TOKEN).await;
    assert!(server.refresh("keyhole", &stolen).await, "a thief was faster");
    expiry(&house, &id).await;
    let session = house.session("alice", "notes", &id);
    match use_it(&session, "").await {
        Err(SendError::Refused(text)) => {
            assert!(text.contains("must be reconnected by its owner: invalid_grant"), "{text}");
            assert!(!text.contains(&stolen));
        }
        other => panic!("{other:?}"),
    }
    assert!(house.dead(&id).await.unwrap().starts_with("invalid_grant"));
    assert_eq!(server.count("grant revoked").await, 1);
    let requests = server.count("token requests").await;
    assert!(house.session("alice", "notes", &id).account("it").await.is_err());
    assert_eq!(server.count("token requests").await, requests, "the dead are left in peace");

    // Reconnecting brings it back.
    let start = keyhole_host_api::oauth::Start::again(id.clone());
    let begun = house.oauth().begin(&who("alice"), start, crate::server::CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "ann", crate::server::Decision::Allow).await;
    house.oauth().finish(&who("alice"), &back).await.unwrap();
    assert_eq!(house.dead(&id).await, None);
    assert_eq!(use_it(&house.session("alice", "notes", &id), "").await.unwrap().0, 200);
}
