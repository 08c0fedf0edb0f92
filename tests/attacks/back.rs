//! C1 to C7: what comes back. Whatever a server does with the credential that it was sent, the step sees
//! the placeholder or no answer.

use std::sync::Arc;
use std::time::Duration;

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use keyhole_host_api::broker::{Decision, SendError, Timeouts};
use keyhole_tests::host::{Answer, member};
use keyhole_tests::server::{Authority, Server, answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::forms::{encodings, reads_the_key};
use crate::rig::*;

/// A service that answers the request number n with the pieces that `said` gives for n, one write each.
fn speaking(authority: &Authority, said: impl Fn(usize) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
    let (said, number) = (Arc::new(said), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    Server::raw(authority, &[HOST, "custom.example", "ledger.example"], move |mut stream| {
        let said = said.clone();
        let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            read_head(&mut stream).await;
            for piece in said(number) {
                if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
            let mut rest = [0; 1024];
            while let Ok(1..) = stream.read(&mut rest).await {}
        }
    })
}

async fn read_head(stream: &mut TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
}

/// An answer with these header lines, cut into chunks of the transfer coding.
fn chunked(headers: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n{headers}\r\n");
    let mut writes = vec![head.into_bytes()];
    for piece in pieces {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        writes.push(chunk);
    }
    writes.push(b"0\r\n\r\n".to_vec());
    writes
}

/// An answer with these header lines and this body.
fn whole(headers: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    vec![[head.as_bytes(), body].concat()]
}

async fn get(run: &Run) -> Result<Answer, SendError> {
    run.get(&format!("https://{HOST}/")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_an_echo_in_any_part_of_an_answer_is_the_placeholder() {
    let scene = Scene::at(|authority| {
        speaking(authority, |number| {
            let (status, reason) = [("200", "OK"), ("404", KEY), ("500", KEY), ("302", KEY)][number % 4];
            let text = format!(
                "HTTP/1.1 103 {KEY}\r\nlink: <https://x.example/{KEY}>\r\n\r\nHTTP/1.1 {status} {reason}\r\n\
                 connection: close\r\nx-echo: a {KEY} b\r\nx-{KEY}: 1\r\nset-cookie: s={KEY}; Path=/{KEY}\r\n\
                 set-cookie: t=Bearer%20{KEY}\r\nlocation: https://{HOST}/?key={KEY}\r\n\
                 www-authenticate: Bearer error=\"invalid\", token=\"{KEY}\"\r\ntrailer: x-last\r\n\
                 transfer-encoding: chunked\r\n\r\n"
            );
            let body = format!("<h1>The key {KEY} is not valid</h1>");
            let end = format!("{:x}\r\n{body}\r\n0\r\nx-last: {KEY}\r\nx-{KEY}: {KEY}\r\n\r\n", body.len());
            vec![text.into_bytes(), end.into_bytes()]
        })
    })
    .await;
    let run = scene.run().await;
    for _ in 0..4 {
        let sent = request("GET", &format!("https://{HOST}/"), &[("authorization", &run.bearer)], "");
        let answer = run.session.clone().send(sent, Timeouts::default()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = format!("{:?}", body.trailers());
        let text = format!("{:?} {trailers} {:?}", parts.headers, body.to_bytes());
        assert!(!text.to_lowercase().contains(&KEY.to_lowercase()), "{text}");
        assert_eq!(parts.headers["x-echo"], format!("a {} b", run.placeholder));
        assert_eq!(parts.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(parts.headers["location"], format!("https://{HOST}/?key={}", run.placeholder));
        assert!(text.matches(&run.placeholder).count() >= 6, "{text}");
    }
    let uses = scene.uses().await;
    let statuses: Vec<_> = uses.iter().map(|used| used.status.unwrap()).collect();
    assert_eq!(statuses, [200, 404, 500, 302]);
}

#[test]
fn c1_nor_does_a_component_or_a_record_see_it() {
    let mut guest = Guest::new();
    let service = speaking(&guest.keyhole.authority, |_| {
        let text = format!(
            "HTTP/1.1 500 {KEY}\r\nx-echo: {KEY}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             {:x}\r\n{KEY}\r\n0\r\nx-last: {KEY}\r\n\r\n",
            KEY.len()
        );
        vec![text.into_bytes()]
    });
    guest.keyhole.lead(HOST, &service);
    let how = serde_json::json!({"request": {"url": format!("https://{HOST}/"), "account": true}});
    let found = guest.attack("request", how, &[])["return_value"].clone();
    assert_eq!((&found["status"], &found["body"]), (&serde_json::json!(500), &serde_json::json!("‹acme.api_key›")));
    assert!(found["headers"].to_string().contains("‹acme.api_key›"), "{found}");
    assert_eq!(found["trailers"].to_string().matches("‹acme.api_key›").count(), 1, "{found}");
    assert_eq!(guest.audit()[0]["status"], 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_an_encoded_echo_is_scrubbed_in_headers_and_bodies() {
    assert!(reads_the_key(&STANDARD.encode(format!("?{KEY}"))) && reads_the_key(&format!("x{KEY}")));
    let forms = encodings();
    let said = forms.clone();
    let scene = Scene::at(|authority| {
        speaking(authority, move |number| {
            let form = &said[number % said.len()].1;
            whole(&format!("x-echo: {form}\r\n"), format!("[\"{form}\", \"end\"]").as_bytes())
        })
    })
    .await;
    let run = scene.run().await;
    for (name, form) in &forms {
        let answer = get(&run).await.unwrap();
        let text = seen(&answer);
        assert!(!text.contains(form.as_str()) && !reads_the_key(&text), "{name}: {text}");
        assert!(text.ends_with("\", \"end\"]"), "{name}: what follows stays: {text}");
        assert_eq!(
            answer.headers["x-echo"],
            std::str::from_utf8(&answer.body).unwrap()[2..].split('"').next().unwrap()
        );
    }
    assert!(scene.uses().await.len() == forms.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_an_echo_split_over_chunks_is_scrubbed_wherever_it_is_cut() {
    let text = format!("{KEY} start, {KEY}{KEY}, end {KEY}");
    let cuts = KEY.len() + 2;
    let said = text.clone();
    let scene = Scene::at(|authority| {
        speaking(authority, move |number| {
            let bytes = said.as_bytes();
            if number < cuts {
                chunked("", &[&bytes[..number + 1], &bytes[number + 1..]])
            } else {
                let size = [1, 2, 7][number - cuts];
                chunked("", &bytes.chunks(size).collect::<Vec<_>>())
            }
        })
    })
    .await;
    let run = scene.run().await;
    let expected = text.replace(KEY, &run.placeholder);
    for _ in 0..cuts + 3 {
        let answer = get(&run).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.body), expected);
    }
    assert_eq!(scene.uses().await.len(), cuts + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_credential_that_overlaps_itself_leaves_nothing_behind() {
    let secret = "QwQwErTyQwQwErTy";
    let text = format!("<{secret}{}>", &secret[8..]);
    let said = text.clone();
    let scene = Scene::at(|authority| {
        speaking(authority, move |number| chunked("", &said.as_bytes().chunks([1, 3, 64][number]).collect::<Vec<_>>()))
    })
    .await;
    let account = scene.host.connect("alice", "ledger", &[("token", secret)]).await;
    let run = scene.run_with("ledger", &account).await;
    for _ in 0..3 {
        let sent = request("GET", &format!("https://ledger.example/bot{}/x", run.placeholder), &[], "");
        let answer = run.send(sent).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.body), format!("<{}>", run.placeholder));
    }
    assert!(scene.uses().await.iter().all(|used| used.decision == Decision::Allowed));
}

async fn coded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    macro_rules! encode {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(bytes).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match coding {
        "gzip" => encode!(GzipEncoder),
        "deflate" => encode!(ZlibEncoder),
        "br" => encode!(BrotliEncoder),
        "zstd" => encode!(ZstdEncoder),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_an_echo_under_a_content_encoding_is_scrubbed_or_the_answer_refused() {
    let text = format!("{} {KEY} {}", "a".repeat(300), "b".repeat(300));
    let codings = ["gzip", "deflate", "br"];
    let mut answers = Vec::new();
    for coding in codings {
        let body = coded(coding, text.as_bytes()).await;
        answers.push((true, whole(&format!("content-encoding: {coding}\r\n"), &body)));
        let pieces: Vec<_> = body.chunks(5).collect();
        answers.push((true, chunked(&format!("content-encoding: {coding}\r\n"), &pieces)));
        // Codings are the same in upper case (RFC 9110, section 8.4.1).
        answers.push((true, whole(&format!("Content-Encoding: {}\r\n", coding.to_uppercase()), &body)));
    }
    let (gzip, br) = (coded("gzip", text.as_bytes()).await, coded("br", text.as_bytes()).await);
    let (twice, zstd) = (coded("gzip", &gzip).await, coded("zstd", text.as_bytes()).await);
    for (headers, body) in [
        ("content-encoding: gzip, gzip\r\n", &twice),
        ("content-encoding: gzip\r\ncontent-encoding: gzip\r\n", &twice),
        ("content-encoding: gzip\r\ncontent-encoding: identity\r\n", &gzip),
        ("content-encoding: br, gzip\r\n", &twice),
        ("content-encoding: compress\r\n", &gzip),
        ("content-encoding: x-unknown\r\n", &gzip),
        ("content-encoding: aes128gcm\r\n", &gzip),
        ("content-encoding: dcb\r\n", &br),
        ("content-encoding: br\r\n", &gzip),
        ("content-encoding: gzip\r\n", &br),
        ("content-encoding: deflate\r\n", &gzip),
        ("content-encoding: zstd\r\n", &gzip),
        // Nor what is not asked for, since its decoder takes too much memory.
        ("content-encoding: zstd\r\n", &zstd),
    ] {
        answers.push((false, whole(headers, body)));
    }
    let cut = gzip[..gzip.len() / 2].to_vec();
    answers.push((false, whole("content-encoding: gzip\r\n", &cut)));
    let count = answers.len();
    let said: Vec<_> = answers.iter().map(|(_, pieces)| pieces.clone()).collect();
    let scene = Scene::at(|authority| speaking(authority, move |number| said[number].clone())).await;
    let run = scene.run().await;
    for (number, (decoded, pieces)) in answers.iter().enumerate() {
        let head = String::from_utf8_lossy(&pieces[0]).into_owned();
        match get(&run).await {
            Ok(answer) => {
                assert!(decoded, "{number}: passed on: {head}");
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(body, text.replace(KEY, &run.placeholder), "{head}");
                assert!(!answer.headers.contains_key("content-encoding"));
            }
            Err(SendError::Answer(reason)) => {
                assert!(!decoded, "{number}: {reason}: {head}");
                assert!(!reason.contains(KEY));
            }
            Err(other) => panic!("{number}: {other}: {head}"),
        }
    }
    assert_eq!(scene.uses().await.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_a_body_that_is_compressed_and_does_not_say_so_is_not_asked_for() {
    // Nobody can undo what nobody names; what the step gets is no credential until it undoes it itself.
    let body = coded("gzip", KEY.as_bytes()).await;
    let scene = Scene::at(|authority| {
        Server::http(authority, &[HOST], move |got| {
            let asked = got.header("accept-encoding").unwrap_or_default().to_owned();
            let mut answer = answer(200, "application/octet-stream", body.clone());
            answer.headers_mut().insert("x-asked", asked.parse().unwrap());
            answer
        })
    })
    .await;
    let run = scene.run().await;
    let headers = [("authorization", run.bearer.as_str()), ("accept-encoding", "compress, aes128gcm")];
    let answer = run.send(request("GET", &format!("https://{HOST}/"), &headers, "")).await.unwrap();
    assert_eq!(answer.headers["x-asked"], "gzip, br, deflate", "the step has no say in it");
    assert!(!seen(&answer).contains(KEY));
    scene.uses().await;
}

/// This process's memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_an_answer_without_end_is_refused_at_the_limit_and_is_in_no_memory() {
    let zeros = vec![0; 1 << 20];
    let mut bomb = GzipEncoder::new(Vec::new());
    for _ in 0..300 {
        bomb.write_all(&zeros).await.unwrap();
    }
    bomb.shutdown().await.unwrap();
    let bomb = bomb.into_inner();
    let scene = Scene::at(|authority| {
        Server::raw(authority, &[HOST], move |mut stream| {
            let bomb = bomb.clone();
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let piece = vec![b'x'; 256 * 1024];
                let head = String::from_utf8(head).unwrap();
                let (begin, repeated): (Vec<u8>, &[u8]) = if head.starts_with("GET /bomb ") {
                    let coded =
                        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
                    ([coded.as_bytes(), &bomb].concat(), b"")
                } else if head.starts_with("GET /endless ") {
                    (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), &piece)
                } else if head.starts_with("GET /headers ") {
                    (
                        b"HTTP/1.1 200 OK\r\n".to_vec(),
                        b"x-more: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
                    )
                } else if head.starts_with("GET /header ") {
                    (b"HTTP/1.1 200 OK\r\nx-long: ".to_vec(), &piece)
                } else {
                    (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort".to_vec(), b"")
                };
                let _ = stream.write_all(&begin).await;
                let _ = stream.flush().await;
                while !repeated.is_empty() && stream.write_all(repeated).await.is_ok() {}
                let _ = stream.shutdown().await;
            }
        })
    })
    .await;
    let run = scene.run().await;
    for (path, told) in [
        ("/bomb", "104857600 bytes, the run's limit"),
        ("/endless", "104857600 bytes, the run's limit"),
        ("/headers", ""),
        ("/header", ""),
        ("/short", ""),
    ] {
        let before = resident();
        let sent = request("GET", &format!("https://{HOST}{path}"), &[("authorization", &run.bearer)], "");
        let answer = run.session.clone().send(sent, Timeouts::default()).await;
        let (mut received, mut most) = (0, resident());
        let error = match answer {
            Err(error) => error.to_string(),
            Ok(answer) => {
                let mut body = answer.into_body();
                loop {
                    match body.frame().await {
                        Some(Ok(frame)) => received += frame.data_ref().map_or(0, |data| data.len()),
                        Some(Err(error)) => break error.to_string(),
                        None => panic!("{path}: it ended well after {received} bytes"),
                    }
                    most = most.max(resident());
                }
            }
        };
        assert!(error.contains(told) && !error.contains(KEY), "{path}: {error}");
        assert!(received <= 100 << 20, "{path}: {received}");
        // Other tests run beside this one; the answers are larger than what is left to them here.
        assert!(most.saturating_sub(before) < 80 << 20, "{path}: {} MiB more", (most - before) >> 20);
    }
    let uses = scene.uses().await;
    assert!(
        uses.len() == 5 && uses.iter().all(|used| used.reason.is_some() && used.bytes_in <= 101 << 20),
        "{uses:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_a_part_of_an_answer_is_neither_asked_for_nor_passed_on() {
    let scene = Scene::at(|authority| {
        Server::http(authority, &[HOST], |got| {
            // A part for whoever asks, and for some who do not.
            if got.header("range").is_none() && got.target != "/part" {
                return answer(200, "text/plain", KEY);
            }
            let mut part = answer(206, "text/plain", &KEY.as_bytes()[10..11]);
            part.headers_mut().insert("content-range", "bytes 10-10/42".parse().unwrap());
            part
        })
    })
    .await;
    let run = scene.run().await;
    let auth = ("authorization", run.bearer.as_str());
    let url = format!("https://{HOST}/");
    for byte in 0..KEY.len() {
        let range = format!("bytes={byte}-{byte}");
        run.refused(&range, run.send(request("GET", &url, &[auth, ("range", &range)], "")).await);
    }
    let if_range = [auth, ("if-range", "\"a\"")];
    run.refused("If-Range", run.send(request("GET", &url, &if_range, "")).await);
    assert_eq!(scene.service.accepted(), 0);
    Scene::all_refused(&scene.uses().await, KEY.len() + 1);

    // Without the credential, and where the server gives one unasked: the answer is refused.
    let asked = run.send(request("GET", &url, &[("range", "bytes=10-10")], "")).await;
    let unasked = run.get(&format!("https://{HOST}/part")).await;
    for outcome in [asked, unasked] {
        let Err(SendError::Answer(reason)) = outcome else { panic!("a part was passed on") };
        assert!(reason.contains("206"), "{reason}");
    }
    assert_eq!(scene.uses().await.last().unwrap().status, Some(206));
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_a_short_credential_is_warned_of_and_changes_nothing_in_an_answer() {
    let short = "k3Y9";
    // Every word of the kind: were one replaced, the step would know which.
    let letters = ['3', 'Y', '9', 'k', 'a'];
    let mut words = vec![String::new()];
    for _ in 0..4 {
        words = words.iter().flat_map(|word| letters.map(|letter| format!("{word}{letter}"))).collect();
    }
    let all = words.join(" ");
    let said = all.clone();
    let scene = Scene::at(|authority| {
        Server::http(authority, &["ledger.example"], move |_| answer(200, "text/plain", said.clone()))
    })
    .await;
    let fields = [("token".to_owned(), keyhole_host_api::vault::Secret::new(short.to_owned()))].into();
    let given = keyhole_host_api::accounts::Connect { app: "ledger".to_owned(), nickname: None, fields, custom: None };
    let connected = scene.host.accounts.connect(&member("alice"), given).await.unwrap();
    let warned = connected.warnings.join(" ");
    assert!(warned.contains("token") && !warned.contains(short), "{warned}");
    let run = scene.run_with("ledger", &connected.account.id).await;
    let sent = request("GET", &format!("https://ledger.example/bot{}/x", run.placeholder), &[], "");
    let answer = tokio::time::timeout(Duration::from_secs(30), run.send(sent)).await.unwrap().unwrap();
    assert_eq!(scene.service.received()[0].target, format!("/bot{short}/x"));
    assert_eq!(String::from_utf8_lossy(&answer.body), all, "as the server sent it");
    assert_eq!(answer.headers["content-length"], all.len().to_string());
    assert_eq!(scene.uses().await[0].path, "/bot‹ledger.token›/x");
}
