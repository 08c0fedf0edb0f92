//! Requests that are sent again by themselves: only where that is asked for, and only what does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{Broker, Decision, Egress, Session, Timeouts};
use keyhole_tests::host::{Host, member, request, scope, send};
use keyhole_tests::program::KEY;
use keyhole_tests::server::{Authority, Server, answer};

const HOST: &str = "api.acme.example";
const URL: &str = "https://api.acme.example/v1/me";

/// A service that is busy for the first `busy` requests, with this status and `Retry-After`.
struct Scene {
    host: Host,
    server: Server,
    session: Arc<Session>,
    bearer: String,
    broker: Arc<Broker>,
    account: AccountId,
}

impl Scene {
    async fn new(busy: u32, status: u16, retry_after: &'static str, retries: u32) -> Self {
        let authority = Authority::default();
        let seen = AtomicU32::new(0);
        let server = Server::http(&authority, &[HOST], move |_| {
            if seen.fetch_add(1, Ordering::SeqCst) >= busy {
                return answer(200, "text/plain", "done");
            }
            let mut busy = answer(status, "text/plain", "busy");
            busy.headers_mut().insert("retry-after", retry_after.parse().unwrap());
            busy
        });
        let host = Host::new().await;
        let broker = host.broker(&authority, &[(HOST, &server)], Egress::default());
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        let mut scope = scope("alice", &[("acme", "acme", Some(&account))]);
        scope.retries = retries;
        let session = broker.session(scope);
        let injected = session.account("acme").await.unwrap();
        let bearer = injected.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
        Self { host, server, session, bearer, broker, account }
    }

    async fn send(&self, method: &str, body: &str) -> (u16, Option<String>) {
        let answer = send(&self.session, request(method, URL, &[("authorization", &self.bearer)], body)).await.unwrap();
        let after = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status, after)
    }
}

#[tokio::test]
async fn a_busy_service_is_shown_to_the_step_as_it_is_unless_it_asked_for_more() {
    let scene = Scene::new(9, 429, "7", 0).await;
    assert_eq!(scene.send("GET", "").await, (429, Some("7".to_owned())));
    assert_eq!(scene.server.received().len(), 1);
}

#[tokio::test]
async fn what_changes_nothing_is_sent_again_and_each_time_is_a_request_of_its_own() {
    for (status, method) in [(503, "GET"), (429, "PUT"), (502, "DELETE")] {
        let scene = Scene::new(2, status, "0", 3).await;
        assert_eq!(scene.send(method, if method == "PUT" { "body" } else { "" }).await.0, 200, "{method}");
        let received = scene.server.received();
        assert_eq!(received.len(), 3, "{method}");
        let whole = if method == "PUT" { "body" } else { "" };
        for request in received {
            assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
            assert_eq!(request.body, whole.as_bytes());
        }
        scene.broker.audit().flush().await.unwrap();
        let uses = scene.broker.audit().uses(None).await.unwrap();
        let mut statuses: Vec<_> = uses.iter().map(|used| (used.decision, used.status.unwrap())).collect();
        statuses.sort_by_key(|(_, status)| *status);
        let busy = (Decision::Allowed, status);
        assert_eq!(statuses, [(Decision::Allowed, 200), busy, busy]);
    }
}

#[tokio::test]
async fn what_could_be_done_twice_and_what_is_the_steps_fault_is_sent_once() {
    let scene = Scene::new(9, 503, "0", 3).await;
    assert_eq!(scene.send("POST", "order").await.0, 503);
    assert_eq!(scene.send("PATCH", "order").await.0, 503);
    assert_eq!(scene.server.received().len(), 2);
    let scene = Scene::new(9, 404, "0", 3).await;
    assert_eq!(scene.send("GET", "").await.0, 404);
    assert_eq!(scene.server.received().len(), 1);
}

#[tokio::test]
async fn the_last_answer_is_the_steps_also_where_the_service_asks_to_wait_too_long() {
    let scene = Scene::new(9, 503, "0", 2).await;
    assert_eq!(scene.send("GET", "").await.0, 503);
    assert_eq!(scene.server.received().len(), 3);
    // Longer than the step waits for its answer: it is not kept waiting for nothing.
    let scene = Scene::new(9, 503, "3600", 2).await;
    let began = Instant::now();
    assert_eq!(scene.send("GET", "").await, (503, Some("3600".to_owned())));
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(scene.server.received().len(), 1);
}

#[tokio::test]
async fn checked_twice_the_grant_is_read_before_each_of_them() {
    let scene = Scene::new(9, 503, "1", 5).await;
    let request = request("GET", URL, &[("authorization", &scene.bearer)], "");
    let sending = tokio::spawn(scene.session.clone().send(request, Timeouts::default()));
    while scene.server.received().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.host.accounts.delete(&member("alice"), &scene.account).await.unwrap();
    let error = sending.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    assert_eq!(scene.server.received().len(), 1);
}
