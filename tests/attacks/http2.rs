//! Rows of B and C against a service that speaks HTTP/2: another parser, other places for the same tricks.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use keyhole_host_api::broker::{Decision, SendError, Timeouts};
use keyhole_tests::server::{Server, answer};

use crate::rig::*;

const URL: &str = "https://api.acme.example/v1/echo";

#[tokio::test(flavor = "multi_thread")]
async fn b2_over_http2_the_authority_is_the_urls_and_there_is_one() {
    let scene = Scene::at(|authority| Server::http2(authority, &[HOST], echo)).await;
    let run = scene.run().await;
    for hosts in [&[EVIL][..], &[EVIL, HOST]] {
        // What is a matter of an HTTP/1 connection would be an error here (RFC 9113, section 8.2.2), had it stayed.
        let mut headers = vec![
            ("authorization", run.bearer.as_str()),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("connection", "close"),
        ];
        headers.extend(hosts.iter().map(|host| ("host", *host)));
        assert_eq!(run.send(request("POST", URL, &headers, "a body")).await.unwrap().status, 200);
    }
    let got = scene.service.received();
    assert_eq!(got.len(), 2);
    for got in got {
        let named: Vec<_> = got
            .headers
            .iter()
            .filter(|(name, _)| name == "host" || name == ":authority")
            .map(|(_, host)| host)
            .collect();
        assert_eq!(named, [HOST]);
        assert_eq!(got.header("authorization"), Some(&*format!("Bearer {KEY}")));
        assert!(["te", "keep-alive", "transfer-encoding", "connection"].iter().all(|name| got.header(name).is_none()));
        assert_eq!(got.body, b"a body");
    }
    assert!(scene.uses().await.iter().all(|used| used.host == HOST && used.decision == Decision::Allowed));
    assert_eq!(scene.evil.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_over_http2_an_echo_in_headers_body_and_trailers_is_the_placeholder() {
    let scene = Scene::at(|authority| {
        Server::http2(authority, &[HOST], |_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-last", KEY.parse().unwrap());
            let body = Full::new(Bytes::from(format!("<{KEY}>"))).with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::builder().status(500).header("x-echo", KEY).body(body.boxed_unsync()).unwrap()
        })
    })
    .await;
    let run = scene.run().await;
    let sent = request("GET", URL, &[("authorization", &run.bearer)], "");
    let (parts, body) = run.session.clone().send(sent, Timeouts::default()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    assert_eq!(parts.headers["x-echo"], run.placeholder);
    assert_eq!(body.trailers().unwrap()["x-last"], run.placeholder);
    assert_eq!(body.to_bytes(), format!("<{}>", run.placeholder));
    assert_eq!(scene.uses().await[0].status, Some(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_over_http2_headers_beyond_the_limit_fail_the_request() {
    let scene = Scene::at(|authority| {
        Server::http2(authority, &[HOST], |got| {
            let mut answer = answer(200, "text/plain", "ok");
            let (count, length) = if got.target == "/many" { (2_000, 200) } else { (1, 70_000) };
            for number in 0..count {
                let name: http::HeaderName = format!("x-{number}").parse().unwrap();
                answer.headers_mut().insert(name, "x".repeat(length).parse().unwrap());
            }
            answer
        })
    })
    .await;
    let run = scene.run().await;
    for path in ["/many", "/long"] {
        let outcome = run.get(&format!("https://{HOST}{path}")).await;
        assert!(matches!(outcome, Err(SendError::Answer(_) | SendError::Transport(_))), "{path}");
    }
    let uses = scene.uses().await;
    assert!(uses.len() == 2 && uses.iter().all(|used| used.reason.is_some() && used.bytes_in == 0), "{uses:#?}");
}
