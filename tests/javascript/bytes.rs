//! Requests as the server's socket sees them, byte for byte: whether a step sends by raw `wasi:http`, by the Rust
//! SDK or by JavaScript's `fetch`, the broker changes what it has to and nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::Server;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::file;

const HOST: &str = "api.acme.example";

/// One request as it came: the first line, the header lines in order of the alphabet, and the body's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    first: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

/// Where a body of this framing ends, if it has come: its bytes as they are on the wire.
fn end_of_body(headers: &[String], rest: &[u8]) -> Option<usize> {
    let value = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if value("transfer-encoding:").is_some() {
        return rest.windows(5).position(|bytes| bytes == b"0\r\n\r\n").map(|at| at + 5);
    }
    let length = value("content-length:").map_or(0, |length| length.parse().unwrap());
    (rest.len() >= length).then_some(length)
}

/// A server that reads as a socket does, and what it saw.
fn server(keyhole: &Keyhole) -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = seen.clone();
    let server = Server::raw(&keyhole.authority, &[HOST], move |mut stream| {
        let log = log.clone();
        async move {
            let mut bytes = Vec::new();
            loop {
                let head = bytes.windows(4).position(|window: &[u8]| window == b"\r\n\r\n").map(|at| at + 4);
                if let Some(head) = head {
                    let text = String::from_utf8_lossy(&bytes[..head - 4]).into_owned();
                    let mut lines = text.split("\r\n").map(str::to_owned);
                    let first = lines.next().unwrap();
                    let mut headers: Vec<String> = lines.collect();
                    if let Some(end) = end_of_body(&headers, &bytes[head..]) {
                        headers.sort();
                        let body = bytes[head..head + end].to_vec();
                        bytes.drain(..head + end);
                        log.lock().unwrap().push(Seen { first, headers, body });
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                        continue;
                    }
                }
                let mut part = [0; 16 * 1024];
                match stream.read(&mut part).await {
                    Ok(length @ 1..) => bytes.extend_from_slice(&part[..length]),
                    _ => return,
                }
            }
        }
    });
    (server, seen)
}

/// What is asked: method, target, headers, body.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<&'static str>);

const REQUESTS: &[Asked] = &[
    ("GET", "/v1/me?a=b%20c&d=%C3%A9&e=%2F&f=a+b&g", &[], None),
    ("GET", "/v1/a%2Fb//c/;p=1,2/~x'()*!$&@:", &[("X-Odd", "a,  b; c=\"d\"  e")], None),
    (
        "POST",
        "/v1/items",
        &[("content-type", "application/json")],
        Some("{ \"a\" : [1,  2], \"b\":\"\u{e9}\\u00e9\" }"),
    ),
    ("PUT", "/v1/items/1", &[("content-type", "text/plain")], Some("line\r\nline\n\ttab \u{1f511}")),
    ("PATCH", "/v1/items/1", &[("content-type", "application/x-www-form-urlencoded")], Some("a=b+c&d=%26&e=")),
    ("DELETE", "/v1/items/1", &[("if-match", "\"abc\"")], None),
    ("POST", "/v1/items/1/start", &[], None),
    ("OPTIONS", "/v1/items", &[("accept", "application/vnd.acme.v2+json")], None),
];

/// What the server should see of it: what was asked, the key in the placeholder's stead, what the host's client adds,
/// and what the step's own library does.
fn expected(adds: &[&str]) -> Vec<Seen> {
    let one = |(method, target, headers, body): &Asked| {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect();
        lines.push(format!("authorization: Bearer {KEY}"));
        lines.push(format!("host: {HOST}"));
        lines.extend(adds.iter().map(|line| (*line).to_owned()));
        lines.push("accept-encoding: gzip, br, deflate".to_owned());
        if !headers.iter().any(|(name, _)| *name == "accept") {
            lines.push("accept: */*".to_owned());
        }
        // Also of no body, where the method leads one to expect one.
        if body.is_some() || *method == "POST" {
            lines.push(format!("content-length: {}", body.unwrap_or_default().len()));
        }
        lines.sort();
        let body = body.unwrap_or_default().as_bytes().to_vec();
        Seen { first: format!("{method} {target} HTTP/1.1"), headers: lines, body }
    };
    REQUESTS.iter().map(one).collect()
}

struct Scene {
    keyhole: Keyhole,
    account: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _server: Server,
}

impl Scene {
    fn new() -> Self {
        let mut keyhole = Keyhole::default();
        let (server, seen) = server(&keyhole);
        keyhole.lead(HOST, &server);
        keyhole.member("alice");
        let account = keyhole.connect("alice", KEY);
        Self { keyhole, account, seen, _server: server }
    }

    /// What the server saw of this step's requests.
    fn by(&self, step: &Path, requests: &[Value], more: &Value) -> Vec<Seen> {
        let mut event = json!({ "requests": requests });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let link = format!("acme={}", self.account);
        let run = self.keyhole.run(step, &event, &["--as", "alice", "--link", &link]);
        assert_eq!(run["status"], "ok", "{run:#}");
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn requests(extra: &[(&str, &str)]) -> Vec<Value> {
    let one = |(method, target, headers, body): &Asked| {
        let headers: Vec<_> = headers.iter().chain(extra).collect();
        json!({"method": method, "url": format!("https://{HOST}{target}"), "headers": headers, "body": body})
    };
    REQUESTS.iter().map(one).collect()
}

#[track_caller]
fn same(who: &str, adds: &[&str], seen: &[Seen]) {
    let expected = expected(adds);
    assert_eq!(seen.len(), expected.len(), "{who}");
    for (seen, expected) in seen.iter().zip(&expected) {
        assert_eq!(seen, expected, "{who}: {}", expected.first);
    }
}

#[test]
fn bound_a_request_leaves_as_the_step_made_it_but_for_the_credential() {
    let scene = Scene::new();
    let raw = requests(&[("authorization", "Bearer {api_key}")]);
    same("raw wasi:http", &[], &scene.by(&component("hostile"), &raw, &json!({"attack": "sequence"})));
    same("the Rust SDK", &["user-agent: keyhole-step"], &scene.by(&component("client"), &requests(&[]), &json!({})));
    same("fetch", &[], &scene.by(&file("steps/fetch.mjs"), &requests(&[]), &json!({})));
}
