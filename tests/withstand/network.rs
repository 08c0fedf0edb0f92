//! Requests without end, and servers that are on the attacker's side. The broker lives on when
//! the run has ended, as it would in a server; so a connection left behind would show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhole::engine::{Limits, RunOutcome};
use keyhole_host_api::broker::{self, Brokered, Decision, RunBooks, Scope};
use keyhole_tests::program::KEY;
use keyhole_tests::server::{Authority, Server, acme};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::rig::*;

type Stream = TlsStream<TcpStream>;

/// What became of one run of the hostile step.
struct Met {
    outcome: RunOutcome,
    requests: Vec<Brokered>,
}

impl Met {
    fn value(&self) -> Value {
        self.outcome.result.as_ref().unwrap_or_else(|failure| panic!("{failure}")).to_value()
    }

    /// What the only request found instead of an answer.
    fn error(&self) -> String {
        let value = self.value();
        value["error"].as_str().unwrap_or_else(|| panic!("no error: {value}")).to_owned()
    }

    fn reason(&self) -> &str {
        self.requests[0].reason.as_deref().expect("a reason")
    }
}

/// Runs the attack against the server. When it has ended, no connection is left.
async fn meet(authority: &Authority, server: &Server, attack: &str, how: Value, limits: &Limits) -> Met {
    meet_as(authority, server, attack, how, limits, |_| {}).await
}

async fn meet_as(
    authority: &Authority,
    server: &Server,
    attack: &str,
    how: Value,
    limits: &Limits,
    change: impl FnOnce(&mut Scope),
) -> Met {
    let world = World::new(authority, server).await;
    let mut scope = world.scope();
    change(&mut scope);
    let session = world.broker.session(scope);
    let outcome = run(&*step("hostile").await, session.clone(), &event(attack, how), limits).await;
    let requests = session.requests();
    drop(session);
    server.wait_until_idle();
    Met { outcome, requests }
}

fn get() -> Value {
    json!({"url": format!("https://{HOST}/v1/me"), "account": true, "count_only": true})
}

/// Reads whatever comes, until the other side has closed the connection.
async fn read_to_the_end(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

/// Reads one request's head.
async fn read_head(stream: &mut Stream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// Writes `piece` over and over, until the other side has closed the connection.
async fn write_without_end(mut stream: impl AsyncWrite + Unpin, piece: impl Fn(u64) -> Vec<u8>) {
    for number in 0.. {
        if stream.write_all(&piece(number)).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// A server that answers each connection with `head`, and with `piece` without end.
fn endless(
    authority: &Authority,
    head: &'static str,
    piece: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Server {
    let piece = Arc::new(piece);
    Server::raw(authority, &[HOST], move |mut stream: Stream| {
        let piece = piece.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(head.as_bytes()).await;
            write_without_end(stream, |number| piece(number)).await;
        }
    })
}

/// A server that takes every connection and never says a word.
fn silent(authority: &Authority) -> Server {
    Server::raw(authority, &[HOST], read_to_the_end)
}

/// A server that sends `head` at once and then one byte of `rest` each second.
fn dripping(authority: &Authority, head: &'static str, rest: &'static [u8]) -> Server {
    Server::raw(authority, &[HOST], move |mut stream: Stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for byte in rest.iter().cycle() {
            second.tick().await;
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_ten_thousand_open_requests_end_at_a_limit_and_leave_no_connection() {
    let authority = Authority::default();
    let server = silent(&authority);
    let how = json!({"count": 10_000, "request": get()});
    let met = meet(&authority, &server, "open-requests", how, &within(Duration::from_secs(30))).await;
    let (limit, message) = limit_of(&met.outcome);
    assert_eq!(limit, "unanswered");
    assert!(message.contains("1024"), "{message}");
    assert!(server.accepted() <= 64, "{} connections", server.accepted());
    assert!(met.requests.len() <= 1024);
    assert!(met.requests.iter().all(|request| request.status.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_requests_under_way_wait_for_their_turn_and_end_with_the_run() {
    let authority = Authority::default();
    let server = silent(&authority);
    let how = json!({"count": 400, "request": get()});
    let met = meet(&authority, &server, "open-requests", how, &within(Duration::from_secs(2))).await;
    assert_eq!(limit_of(&met.outcome).0, "deadline");
    // 64 at once; and when these are ended one by one, none that waited gets its turn.
    assert!((1..=64).contains(&server.accepted()), "{} connections", server.accepted());
    assert_eq!(met.requests.len(), 400);
    assert!(
        met.requests.iter().all(|request| request.reason.as_deref().is_some_and(|why| why.contains("the run ended")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_answers_that_are_held_unread_end_with_the_run() {
    let authority = Authority::default();
    let server =
        endless(&authority, "HTTP/1.1 200 OK\r\ncontent-length: 107374182400\r\n\r\n", |_| vec![b'x'; 16 * 1024]);
    let how = json!({"count": 100, "request": get()});
    let met = meet(&authority, &server, "open-requests", how, &within(Duration::from_secs(3))).await;
    // 64 are answered and held, so the others wait until the run is over.
    assert_eq!(limit_of(&met.outcome).0, "deadline");
    assert!((1..=64).contains(&server.accepted()), "{} connections", server.accepted());
    assert!(met.requests.iter().any(|request| request.status == Some(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_the_thousand_and_first_request_is_refused() {
    let authority = Authority::default();
    let server = acme(&authority, KEY);
    let world = World::new(&authority, &server).await;
    let session = world.session();
    let fetch = json!({"url": format!("https://{HOST}/v1/me"), "count": 1001, "account": true});
    let outcome = run(&*step("fetch").await, session.clone(), &fetch, &within(Duration::from_secs(60))).await;
    let failure = outcome.result.unwrap_err().to_string();
    assert!(failure.contains("a run may send 1000 requests"), "{failure}");
    assert_eq!(server.received().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_server_that_never_answers_holds_a_run_to_its_deadline_and_no_longer() {
    let authority = Authority::default();
    let server = silent(&authority);
    let met = meet(&authority, &server, "request", json!({"request": get()}), &within(Duration::from_secs(1))).await;
    assert_eq!(limit_of(&met.outcome).0, "deadline");
    assert_eq!(server.accepted(), 1);
    assert!(met.reason().contains("the run ended before the answer"), "{}", met.reason());
    assert_eq!(met.requests[0].decision, Decision::Allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_server_that_never_answers_is_given_up_after_the_wait_for_the_first_byte() {
    let authority = Authority::default();
    let server = silent(&authority);
    let how = json!({"request": get()});
    let limits = within(Duration::from_secs(30));
    let met = meet_as(&authority, &server, "request", how, &limits, |scope| {
        scope.books = RunBooks::new(broker::Limits { first_byte: Duration::from_millis(300), ..Default::default() });
    });
    let met = met.await;
    // The contract's own code, of which each SDK makes what its language has for that.
    assert!(met.error().contains("HttpResponseTimeout"), "{}", met.error());
    assert_eq!(met.requests[0].reason.as_deref(), Some("timed out"));
    assert!(met.outcome.duration < Duration::from_secs(20), "{:?}", met.outcome.duration);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_body_of_one_byte_a_second_ends_with_the_run() {
    let authority = Authority::default();
    let server = dripping(&authority, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x");
    let met = meet(&authority, &server, "request", json!({"request": get()}), &within(Duration::from_secs(3))).await;
    assert_eq!(limit_of(&met.outcome).0, "deadline");
    assert_eq!(met.requests[0].status, Some(200));
    assert!((1..=4).contains(&met.requests[0].bytes_in), "{}", met.requests[0].bytes_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_headers_of_one_byte_a_second_end_with_the_run() {
    let authority = Authority::default();
    let server = dripping(&authority, "HTTP/1.1 200 OK\r\nx-slow: ", b"x");
    let met = meet(&authority, &server, "request", json!({"request": get()}), &within(Duration::from_secs(2))).await;
    assert_eq!(limit_of(&met.outcome).0, "deadline");
    assert_eq!(met.requests[0].status, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_body_that_stops_is_given_up_after_the_wait_between_bytes() {
    let authority = Authority::default();
    let server = Server::raw(&authority, &[HOST], |mut stream: Stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc").await;
        read_to_the_end(stream).await;
    });
    let how = json!({"request": get()});
    let limits = within(Duration::from_secs(30));
    let met = meet_as(&authority, &server, "request", how, &limits, |scope| {
        scope.books = RunBooks::new(broker::Limits { between_bytes: Duration::from_millis(300), ..Default::default() });
    });
    let met = met.await;
    let value = met.value();
    assert_eq!((&value["status"], &value["bytes"]), (&json!(200), &json!(3)), "{value}");
    says(&value["body_error"], &["connection read timeout"]);
    assert_eq!(met.requests[0].reason.as_deref(), Some("the server sent nothing for 0.3 s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_hundred_gigabytes_are_cut_at_the_answers_limit() {
    let authority = Authority::default();
    for head in
        ["HTTP/1.1 200 OK\r\ncontent-length: 107374182400\r\n\r\n", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"]
    {
        let server = endless(&authority, head, |_| vec![b'x'; 256 * 1024]);
        let how = json!({"request": get()});
        let met = meet(&authority, &server, "request", how, &within(Duration::from_secs(30))).await;
        let value = met.value();
        says(&value["body_error"], &["104857600 bytes, the run's limit"]);
        assert!(value["bytes"].as_u64().unwrap() <= 100 << 20, "{value}");
        assert!(met.reason().contains("104857600 bytes, the run's limit"), "{}", met.reason());
        // What was not passed on was hardly held either.
        assert!(met.outcome.peak_memory < 64 << 20, "{}", met.outcome.peak_memory);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_headers_without_end_fail_the_request() {
    let authority = Authority::default();
    let servers: [Server; 4] = [
        endless(&authority, "HTTP/1.1 200 OK\r\n", |number| format!("x-{number}: y\r\n").into_bytes()),
        endless(&authority, "HTTP/1.1 200 OK\r\nx-long: ", |_| vec![b'x'; 16 * 1024]),
        endless(&authority, "HTTP/1.1 200 ", |_| vec![b'x'; 16 * 1024]),
        // The body ends, and then the trailers don't.
        endless(&authority, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", |number| {
            format!("x-{number}: y\r\n").into_bytes()
        }),
    ];
    for (number, server) in servers.iter().enumerate() {
        let how = json!({"request": get()});
        let started = Instant::now();
        let met = meet(&authority, server, "request", how, &within(Duration::from_secs(30))).await;
        let value = met.value();
        let found = [&value["error"], &value["body_error"]].into_iter().find(|error| error.is_string());
        assert!(found.is_some(), "{number}: {value}");
        assert_eq!(value["bytes"].as_u64().unwrap_or(0), 0, "{number}: {value}");
        assert!(started.elapsed() < Duration::from_secs(20), "{number}: not by the run's deadline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_interim_answers_without_end_end_with_the_run() {
    let authority = Authority::default();
    let server = endless(&authority, "", |_| b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec());
    let met = meet(&authority, &server, "request", json!({"request": get()}), &within(Duration::from_secs(2))).await;
    match &met.outcome.result {
        Ok(_) => assert!(!met.error().is_empty()),
        Err(_) => assert_eq!(limit_of(&met.outcome).0, "deadline"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_what_is_no_http_fails_the_request() {
    let authority = Authority::default();
    for head in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "\0\0\0"] {
        let server = endless(&authority, head, |_| b"\r\n\r\n".to_vec());
        let how = json!({"request": get()});
        let met = meet(&authority, &server, "request", how, &within(Duration::from_secs(30))).await;
        assert!(met.error().contains("the connection failed"), "{head:?}: {}", met.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_an_upload_without_end_is_cut_at_the_requests_limit() {
    let authority = Authority::default();
    let server = silent(&authority);
    let how = json!({"request": {"url": format!("https://{HOST}/v1/echo"), "method": "POST", "account": true}});
    let met = meet(&authority, &server, "upload-endless", how, &within(Duration::from_secs(60))).await;
    let value = met.value();
    let sent = value["sent"].as_u64().unwrap();
    // What has been taken and not yet sent is little.
    assert!((99 << 20..101 << 20).contains(&sent), "{value}");
    assert!(met.requests[0].bytes_out <= 101 << 20);
    assert!(met.outcome.peak_memory < 64 << 20, "{}", met.outcome.peak_memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_an_upload_that_nobody_reads_ends_with_the_run() {
    let authority = Authority::default();
    let over = Arc::new(tokio::sync::Notify::new());
    let run_is_over = over.clone();
    let server = Server::raw(&authority, &[HOST], move |mut stream: Stream| {
        let over = run_is_over.clone();
        async move {
            read_head(&mut stream).await;
            over.notified().await;
            // What was on its way is still there, and then comes the end.
            read_to_the_end(stream).await;
        }
    });
    let world = World::new(&authority, &server).await;
    let session = world.session();
    let how = json!({"request": {"url": format!("https://{HOST}/v1/echo"), "method": "POST", "account": true}});
    let hostile = step("hostile").await;
    let outcome = run(&hostile, session.clone(), &event("upload-endless", how), &within(Duration::from_secs(2))).await;
    assert_eq!(limit_of(&outcome).0, "deadline");
    let sent = session.requests()[0].bytes_out;
    assert!(sent < 64 << 20, "{sent}");
    over.notify_one();
    server.wait_until_idle();
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_header_map_without_end_ends_saying_which_limit() {
    let authority = Authority::default();
    let server = silent(&authority);
    let met = meet(&authority, &server, "headers-endless", json!({}), &within(Duration::from_secs(30))).await;
    let (limit, message) = limit_of(&met.outcome);
    assert_eq!(limit, "headers");
    assert!(message.contains("16 KiB"), "{message}");
}

#[test]
fn bounded_the_program_says_what_became_of_a_request_that_was_never_answered() {
    let mut scene = Scene::new();
    let server = silent(&scene.keyhole.authority);
    scene.keyhole.lead(HOST, &server);
    let run = scene.attack("request", json!({"request": get()}), &["--timeout", "1s"]);
    assert_eq!(limit(&run), "deadline");
    assert_eq!(run["requests"][0]["status"], Value::Null);
    says(&run["requests"][0]["reason"], &["the run ended before the answer"]);
    server.wait_until_idle();
    let audit = scene.keyhole.call(&["--json", "audit", "--kind", "request"]).ok().json();
    assert_eq!(audit[0]["decision"], "allowed");
    says(&audit[0]["reason"], &["the run ended before the answer"]);
}
