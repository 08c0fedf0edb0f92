//! The libraries and built-ins that code of the component API uses.

use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use keyhole_tests::server::{Body, answer, json};
use serde_json::{Value, json};

use crate::house::{House, echo, file};

/// An answer in chunks, whose length nobody says beforehand.
fn chunked(chunks: &'static [&str]) -> http::Response<Body> {
    let frames = chunks.iter().map(|chunk| Ok(Frame::data(chunk.as_bytes().into())));
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    http::Response::builder().header("content-type", "text/plain").body(body).expect("a valid answer")
}

#[test]
fn libraries_and_builtins_work_as_in_node() {
    let mut house = House::new();
    let _server = house.serve(&["api.libraries.example"], |request| match request.target.split('?').next() {
        Some("/text") => answer(200, "text/plain", "plain text"),
        Some("/chunked.txt") => chunked(&["in ", "chunks"]),
        Some("/missing") => json(404, &json!({"error": "missing"})),
        Some("/redirect") => http::Response::builder()
            .status(302)
            .header("location", "/echo?redirected")
            .body(answer(200, "text/plain", "").into_body())
            .expect("a valid answer"),
        _ => echo(request),
    });
    let allow = ["--allow-host", "api.libraries.example", "--timeout", "120s"];
    let found = house.value(&file("steps/libraries.mjs"), &allow);
    let expected = json!({
        "platform_axios": ["/echo?q=w&x=1", r#"{"a":1}"#],
        "platform_axios_error": [404, r#"{"error":"missing"}"#],
        "platform_full_response": [200, "GET"],
        "platform_configuration_error": true,
        "platform_file_stream": ["plain text", 10, "text/plain"],
        "platform_file_stream_of_unknown_length": [null, "in chunks", 9, "text/plain", "chunked.txt"],
        "platform_file_stream_of_tmp": ["a,é", 4, "text/csv", "given.csv", true, "File not found: /tmp/none.csv"],
        "platform_file_stream_uploaded": [
            ["multipart/form-data", "text", "text/plain", "plain text"],
            ["multipart/form-data", "chunked.txt", "text/plain", "in chunks"],
            ["multipart/form-data", "to-send.txt", "text/plain", "from a file"],
        ],
        "axios_params": "/echo?list[]=1&list[]=2&text=x+y",
        "axios_basic": "Basic dTpw",
        "axios_urlencoded": ["application/x-www-form-urlencoded", "a=1&b=2+3"],
        "axios_arraybuffer": [true, "cGxhaW4gdGV4dA=="],
        "axios_stream_to_tmp": "plain text",
        "axios_redirect": "/echo?redirected",
        "axios_cancelled": "ERR_CANCELED",
        "axios_several": ["/echo?n=1", "/echo?n=2", "/echo?n=3"],
        "fetch_json": [200, r#"{"a":1}"#],
        "fetch_redirect": "/echo?redirected",
        "fetch_stream": "plain text",
        "fetch_refused": "fetch failed: GET https://elsewhere.example was refused or got no answer; the run's list of requests says why",
        "node_fetch": "from node-fetch",
        "node_https": [200, "one two"],
        "form_data": ["multipart/form-data", true, true, true],
        "form_data_of_the_web": [true, true],
        "lodash": [[0, 1], [2]],
        "uuid": true,
        "hash": ["0cc175b9", "86f7e437", "ca978112", "1f40fc92"],
        "hmac": "bp7ym3X//Ft6uuUn1Y/a2y/kLnIZARl2kXNDBl9Y7Uo=",
        "cipher": "secret",
        "random": [8, 36, true, 4],
        "subtle": "ca978112",
        "tmp": ["here", false, ["b"], 4],
        "streams": ["ab", "web"],
        "zlib": ["packed", "flat"],
        "url": ["https://a.example/b?c=d%20e", "a=1%262"],
        "buffer": ["aMOpbGxv", "hé", "é"],
        "timers": ["tick", "immediate"],
        "environment": [0, "linux", "undefined"],
        "english": ["January 1, 1970", "1,234,567.5", 2],
    });
    let (Value::Object(found), Value::Object(expected)) = (&found, &expected) else { panic!("{found}") };
    for (name, value) in expected {
        // Whether axios writes brackets as they are has changed between its versions.
        let shown = found.get(name).map(|value| value.to_string().replace("%5B", "[").replace("%5D", "]"));
        assert_eq!(shown, Some(value.to_string()), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "every check is expected");
}
