//! What Node.js has and the engine of a step lacks.

use http_body_util::BodyExt as _;
use keyhole_tests::server::{answer, json};
use serde_json::json;

use crate::house::{House, all, echo, file};

/// For each kind of key its two halves and a signature, by the Node.js that builds need anyway.
fn keys() -> String {
    const MAKE: &str = r#"
        const { generateKeyPairSync, sign } = require("crypto");
        const kinds = { rsa: ["rsa", { modulusLength: 2048 }, "sha256"], ec: ["ec", { namedCurve: "prime256v1" }, "sha256"], ed: ["ed25519", {}, null] };
        const made = Object.entries(kinds).map(([name, [kind, options, hash]]) => {
            const { privateKey, publicKey } = generateKeyPairSync(kind, options);
            const secret = privateKey.export({ type: "pkcs8", format: "pem" });
            const open = publicKey.export({ type: "spki", format: "pem" });
            return [name, { secret, open, signature: sign(hash, Buffer.from("data"), privateKey).toString("base64") }];
        });
        process.stdout.write(JSON.stringify(Object.fromEntries(made)));
    "#;
    let made = std::process::Command::new("node").args(["-e", MAKE]).output().expect("node starts");
    String::from_utf8(made.stdout).expect("keys")
}

#[test]
fn what_the_engine_lacks_is_as_in_node() {
    let mut house = House::new();
    let _server = house.serve(&["api.node.example"], |request| match request.target.as_str() {
        "/text" => answer(200, "text/plain", "plain text"),
        "/redirect" => http::Response::builder()
            .status(307)
            .header("location", "/echo?redirected")
            .body(answer(200, "text/plain", "").into_body())
            .expect("a valid answer"),
        _ => echo(request),
    });
    let keys = format!("keys={}", keys());
    let more = ["--allow-host", "api.node.example", "--timeout", "120s", "--prop", &keys];
    let mut found = house.value(&file("steps/node.js"), &more);
    for response in found["responses_as_values"].as_array_mut().expect("responses") {
        let headers = response["headers"].take();
        assert_eq!(headers["content-type"], "text/plain");
    }
    let expected = json!({
        "lines": [["one", "two", "three"], ["one", "two", "three"]],
        "on_use": [true, true],
        "promised_timers": ["later", "soon"],
        "body_of_a_get": ["GET", "6012", "application/json", 3012],
        "body_of_a_get_that_is_redirected": ["/echo?redirected", "again"],
        "body_of_a_get_by_fetch": "Request with GET/HEAD method cannot have body. node:http and axios can send one",
        "sets_of_characters": ["a-z", false],
        "urls": [false, true],
        "aborted": [true, "AbortError"],
        "text_of_chunks": "é€",
        "response": [true, "application/json"],
        "channel": "over",
        "responses_as_values": [{"status": 200, "headers": null, "data": "plain text"}, {"status": 200, "headers": null}],
        "base64url": "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs",
        "signatures": [true, true, true, false, 64, true, true],
        "names": ["SourceError", "SourceError", "CallSite"],
        "call_sites": ["call_sites", "node.js", true, true],
        "keys": [[true, true], [true, true], [true, true]],
        "kinds": [["ec", true], ["ed25519", true], ["rsa", true]],
        "never_silently": [true, true],
        "zones": ["12/31/1969, 7:00:00 PM", "2 PM GMT+2", "05:30:00", true, "Invalid time zone specified: Mars/Olympus"],
        "locales": [
            "1970-01-01",
            "1970-01-01",
            "01/01/1970",
            "1.1.1970",
            "01/01/1970",
            "Donnerstag, 1. Januar 1970",
            "1.234,5",
            true,
        ],
        "order_of_texts": [["a", "A", "b", "é", "z"], 0, -1, 1, -1],
    });
    all(&found, &expected);
}

#[test]
fn a_step_sends_hundreds_of_requests_reads_long_answers_and_leaves_others_unread() {
    const LONG: usize = 30 << 20;
    let mut house = House::new();
    let server = house.serve(&["api.many.example"], |request| match request.target.as_str() {
        "/long" => answer(200, "application/octet-stream", vec![b'x'; LONG]),
        "/chunked" => answer(200, "text/plain", "").map(|_| {
            let frames = ["in ", "two"].map(|part| Ok(http_body::Frame::data(part.into())));
            http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
        }),
        _ => json(200, &json!({"text": "x".repeat(20_000)})),
    });
    let found = house.value(&file("steps/many.mjs"), &["--allow-host", "api.many.example", "--timeout", "120s"]);
    assert_eq!(
        found,
        json!({
            "short": 500 * 20_011,
            "whole": LONG,
            "streamed": LONG,
            "unread": {"length": 100, "chunked": 100, "head": 100},
        })
    );
    assert_eq!(server.received().len(), 802);
}
