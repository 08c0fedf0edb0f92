//! Limits on one run, on one account and on the workspace.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use keyhole_host_api::accounts::{Access, AccountId};
use keyhole_host_api::broker::{
    Broker, Decision, Egress, Limits, Rate, SendError, Session, Share, Shares, Spent, Timeouts,
};
use keyhole_tests::host::{Host, member, request, scope, send};
use keyhole_tests::program::KEY;
use keyhole_tests::server::{Authority, Server, answer};

const HOST: &str = "api.acme.example";
const URL: &str = "https://api.acme.example/v1/me";

struct Scene {
    host: Host,
    server: Server,
    broker: Arc<Broker>,
    account: AccountId,
}

impl Scene {
    /// A service whose answers have so many bytes.
    async fn new(shares: Shares, answer_bytes: usize) -> Self {
        let authority = Authority::default();
        let server = Server::http(&authority, &[HOST], move |_| answer(200, "text/plain", vec![b'x'; answer_bytes]));
        let host = Host::new().await;
        let broker = host.broker(&authority, &[(HOST, &server)], Egress { shares, ..Egress::default() });
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        Self { host, server, broker, account }
    }

    /// A run of `who`'s with this account, and what it sends for its credential.
    async fn run(&self, who: &str, account: &AccountId) -> Run {
        let mut scope = scope(who, &[("acme", "acme", Some(account))]);
        scope.books = self.broker.books(Spent::default());
        let session = self.broker.session(scope);
        let injected = session.account("acme").await.unwrap();
        let bearer = injected.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
        Run { session, bearer }
    }

    async fn refusals(&self) -> Vec<String> {
        self.broker.audit().flush().await.unwrap();
        let entries = self.broker.audit().uses(None).await.unwrap();
        entries
            .into_iter()
            .filter(|used| used.decision == Decision::Refused)
            .map(|used| used.reason.unwrap_or_default())
            .collect()
    }
}

struct Run {
    session: Arc<Session>,
    bearer: String,
}

impl Run {
    async fn get(&self) -> Result<Vec<u8>, SendError> {
        send(&self.session, request("GET", URL, &[("authorization", &self.bearer)], "")).await.map(|answer| answer.body)
    }

    async fn post(&self, body: &str) -> Result<Vec<u8>, SendError> {
        let answer = send(&self.session, request("POST", URL, &[("authorization", &self.bearer)], body)).await;
        answer.map(|answer| answer.body)
    }
}

fn rate(amount: u32, seconds: u64) -> Rate {
    Rate::new(NonZeroU32::new(amount).unwrap(), Duration::from_secs(seconds)).unwrap()
}

#[track_caller]
fn limited(outcome: Result<Vec<u8>, SendError>, says: &str) {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("limit: ") && text.contains(says), "{text}");
}

#[tokio::test]
async fn bounded_an_accounts_requests_are_counted_over_all_runs_and_members() {
    let account = Share { requests: vec![rate(3, 3600)], ..Share::default() };
    let scene = Scene::new(Shares { account, ..Shares::default() }, 2).await;
    scene.host.accounts.set_access(&member("alice"), &scene.account, Access::Workspace).await.unwrap();
    let (first, second) = (scene.run("alice", &scene.account).await, scene.run("bob", &scene.account).await);
    first.get().await.unwrap();
    second.get().await.unwrap();
    first.get().await.unwrap();
    limited(second.get().await, "the account may send 3 requests an hour; try again in 12");
    limited(first.get().await, "try again in 12");
    assert_eq!(scene.server.received().len(), 3);
    let refusals = scene.refusals().await;
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    // Another account is not the poorer for it.
    let other = scene.host.connect("alice", "acme", &[("api_key", "acme_live_another0123456789")]).await;
    scene.run("alice", &other).await.get().await.unwrap();
}

#[tokio::test]
async fn bounded_the_workspaces_requests_are_counted_with_and_without_an_account() {
    let workspace = Share { requests: vec![rate(2, 3600)], ..Share::default() };
    let scene = Scene::new(Shares { workspace, ..Shares::default() }, 2).await;
    let run = scene.run("alice", &scene.account).await;
    run.get().await.unwrap();
    send(&run.session, request("GET", URL, &[], "")).await.unwrap();
    limited(run.get().await, "the workspace may send 2 requests an hour");
    assert_eq!(scene.server.received().len(), 2);
}

#[tokio::test]
async fn bounded_so_many_requests_at_once_and_a_place_is_free_when_a_body_has_ended() {
    let account = Share { at_once: Some(2), ..Share::default() };
    let scene = Scene::new(Shares { account, ..Shares::default() }, 200_000).await;
    let run = scene.run("alice", &scene.account).await;
    let open = |patience| {
        let request = request("GET", URL, &[("authorization", &run.bearer)], "");
        let timeouts = Timeouts { first_byte: Some(patience), between_bytes: None };
        run.session.clone().send(request, timeouts)
    };
    let long = Duration::from_secs(20);
    let (first, _second) = (open(long).await.unwrap(), open(long).await.unwrap());
    let error = open(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("2 requests of the account are open"), "{error}");
    // One that waits is let in as soon as a body has been read.
    let (third, read) = tokio::join!(open(long), async { first.into_body().collect().await.unwrap().to_bytes().len() });
    assert_eq!((third.unwrap().status().as_u16(), read), (200, 200_000));
}

#[tokio::test]
async fn bounded_bytes_that_come_back_are_cut_at_the_limit_and_then_not_asked_for() {
    let account = Share { kib_in: Some(rate(100, 3600)), ..Share::default() };
    let scene = Scene::new(Shares { account, ..Shares::default() }, 60_000).await;
    let run = scene.run("alice", &scene.account).await;
    assert_eq!(run.get().await.unwrap().len(), 60_000);
    limited(run.get().await, "the account may receive 100 KiB an hour");
    // What is left is less than an answer of no bytes takes up, after a few of them.
    let mut sent = scene.server.received().len();
    while run.get().await.is_err() && scene.server.received().len() > sent {
        sent = scene.server.received().len();
        assert!(sent < 60, "it goes on being asked");
    }
    limited(run.get().await, "try again in");
    assert_eq!(scene.server.received().len(), sent);
}

#[tokio::test]
async fn bounded_bytes_that_go_out_are_counted_before_they_leave_and_while_they_stream() {
    let workspace = Share { kib_out: Some(rate(64, 3600)), ..Share::default() };
    let scene = Scene::new(Shares { workspace, ..Shares::default() }, 2).await;
    let run = scene.run("alice", &scene.account).await;
    run.post(&"x".repeat(40 * 1024)).await.unwrap();
    limited(run.post(&"x".repeat(40 * 1024)).await, "the workspace may send 64 KiB an hour");
    assert_eq!(scene.server.received().len(), 1);
    // Of unknown length, so that it streams: it is cut, and the server never has the whole.
    let frames = futures_util::stream::iter((0..40).map(|_| Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 1024])))));
    let streamed = http::Request::post(URL)
        .header("authorization", &run.bearer)
        .body(http_body_util::StreamBody::new(frames).boxed_unsync())
        .unwrap();
    let error = send(&run.session, streamed).await.err().unwrap().to_string();
    assert!(error.contains("limit: ") || error.contains("connection failed"), "{error}");
    assert!(scene.server.received()[1..].iter().all(|request| request.body.len() < 40 * 1024), "cut short");
}

#[tokio::test]
async fn bounded_a_runs_own_bytes_and_rate_hold_for_all_its_requests_together() {
    let run = Limits { bytes_in: 10_000, bytes_out: 1_000, rate: Some(rate(50, 1)), ..Limits::default() };
    let scene = Scene::new(Shares { run, ..Shares::default() }, 6_000).await;
    let run = scene.run("alice", &scene.account).await;
    run.get().await.unwrap();
    limited(run.get().await, "a run may receive 10000 bytes in all");
    limited(run.post(&"x".repeat(1_001)).await, "a run may send 1000 bytes in all");
    // The next run begins anew; and is held to its rate by waiting, not by failing.
    let quick = Limits { rate: Some(rate(20, 1)), ..Limits::default() };
    let scene = Scene::new(Shares { run: quick, ..Shares::default() }, 2).await;
    let run = scene.run("alice", &scene.account).await;
    let began = std::time::Instant::now();
    for _ in 0..30 {
        run.get().await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test]
async fn settings_that_are_changed_hold_for_the_next_request_and_books_are_kept_where_they_stay() {
    let account = Share { requests: vec![rate(2, 3600)], ..Share::default() };
    let shares = Shares { account, ..Shares::default() };
    let authority = Authority::default();
    let server = Server::http(&authority, &[HOST], |_| answer(200, "text/plain", "x"));
    let host = Host::new().await;
    let egress = Egress {
        ca_certs: vec![authority.pem.clone()],
        allow_ranges: vec!["127.0.0.0/8".parse().unwrap()],
        resolve: vec![server.resolve(HOST).parse().unwrap()],
        shares,
        ..Egress::default()
    };
    let broker = host.broker(&authority, &[(HOST, &server)], egress.clone());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let scene = Scene { host, server, broker, account };
    let run = scene.run("alice", &scene.account).await;
    run.get().await.unwrap();
    // The same limits: what was used of them stays used. Another host is closed meanwhile.
    let closed = vec!["other.example".parse().unwrap()];
    scene.broker.change(Egress { closed_hosts: closed, ..egress.clone() }).unwrap();
    run.get().await.unwrap();
    limited(run.get().await, "2 requests an hour");
    // Others: the run under way has them.
    scene.broker.change(Egress { shares: Shares::default(), ..egress.clone() }).unwrap();
    run.get().await.unwrap();
    // And what makes no sense changes nothing.
    let broken =
        Egress { ca_certs: vec!["no certificate".to_owned()], closed_hosts: vec![HOST.parse().unwrap()], ..egress };
    assert!(scene.broker.change(broken).is_err());
    run.get().await.unwrap();
    assert_eq!(scene.server.received().len(), 4);
}
