//! What the Rust SDK streams: a step that the built program runs, with an account, and a real server. Each body is
//! longer than all the memory that the step uses, and its first part arrives before the second is there to be sent.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Body, Server, answer, json as answer_json};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};
use tokio::sync::Notify;

const HOST: &str = "api.acme.example";

const MIB: usize = 1 << 20;
/// Bytes of each body.
const LENGTH: usize = 8 * MIB;
/// More memory than the step's code and a few buffers take, and less than a body would.
const AT_HAND: usize = 4 * MIB;
/// Bytes that the server sends at a time.
const PART: usize = 64 * 1024;

/// The byte of a body at this place: they count up, so that one which is out of its place is seen.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// A body in parts, of which the second leaves when the first has arrived, and not before.
fn in_parts(first_arrived: Arc<Notify>) -> Body {
    let part = move |begin: usize| {
        let first_arrived = first_arrived.clone();
        async move {
            if begin == PART {
                first_arrived.notified().await;
            }
            let part: Vec<u8> = (begin..begin + PART).map(byte).collect();
            Ok::<_, Infallible>(Frame::data(Bytes::from(part)))
        }
    };
    StreamBody::new(stream::iter((0..LENGTH).step_by(PART)).then(part)).boxed_unsync()
}

/// Counts what arrives, and tells of the first part.
async fn count(mut body: Incoming, first_arrived: &Notify) -> Value {
    let (mut length, mut in_place) = (0, true);
    while let Some(frame) = body.frame().await {
        let Some(part) = frame.ok().and_then(|frame| frame.into_data().ok()) else {
            return json!({ "broken_off_after": length });
        };
        in_place &= (length..).zip(&part).all(|(at, is)| *is == byte(at));
        length += part.len();
        first_arrived.notify_one();
    }
    json!({ "length": length, "in_place": in_place })
}

/// `export` gives a body and `import` takes one. The step says with `seen` that the first part of an export has arrived,
/// and asks with `arrived` whether that of an import has.
async fn serve(request: Request<Incoming>, first_arrived: Arc<Notify>) -> Response<Body> {
    if request.headers().get("authorization").is_none_or(|value| *value != format!("Bearer {KEY}")) {
        return answer(401, "text/plain", "the key is not valid");
    }
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/v1/export" => Response::new(in_parts(first_arrived)),
        "/v1/import" => answer_json(200, &count(request.into_body(), &first_arrived).await),
        "/v1/seen" => {
            first_arrived.notify_one();
            answer(200, "text/plain", "")
        }
        "/v1/arrived" => {
            first_arrived.notified().await;
            answer(200, "text/plain", "")
        }
        _ => answer(404, "text/plain", "there is no such thing"),
    }
}

fn server(keyhole: &Keyhole) -> Server {
    let first_arrived = Arc::new(Notify::new());
    Server::raw(&keyhole.authority, &[HOST], move |stream| {
        let first_arrived = first_arrived.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = serve(request, first_arrived.clone());
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
}

/// What the step returns for the event, having used its account, and never as much memory as a body has bytes.
fn run(event: &Value) -> Value {
    let mut keyhole = Keyhole::default();
    let server = server(&keyhole);
    keyhole.lead(HOST, &server);
    keyhole.member("alice");
    let link = format!("acme={}", keyhole.connect("alice", KEY));
    let run = keyhole.run(&component("client"), event, &["--as", "alice", "--link", &link]);
    assert_eq!(run["status"], "ok", "{run:#}");
    let peak = run["peak_memory"].as_u64().unwrap();
    assert!(peak < AT_HAND as u64, "{peak}");
    run["return_value"].clone()
}

fn url(path: &str) -> String {
    format!("https://{HOST}/v1/{path}")
}

#[test]
fn an_answer_is_read_chunk_by_chunk_while_the_server_still_sends_it() {
    let found = run(&json!({ "download": { "from": url("export"), "seen": url("seen") } }));
    assert_eq!((&found["length"], &found["in_place"]), (&json!(LENGTH), &json!(true)), "{found}");
    assert!(found["longest"].as_u64().unwrap() <= PART as u64, "{found}");
}

#[test]
fn a_body_from_a_reader_is_sent_while_it_is_still_read() {
    let taken = run(&json!({ "relay": { "from": url("export"), "to": url("import") } }));
    assert_eq!(taken, json!({ "length": LENGTH, "in_place": true }));
}

#[test]
fn a_body_that_is_written_piece_by_piece_is_sent_while_it_is_still_written() {
    let event = json!({ "upload": { "to": url("import"), "arrived": url("arrived"), "length": LENGTH } });
    assert_eq!(run(&event), json!({ "length": LENGTH, "in_place": true }));
}
