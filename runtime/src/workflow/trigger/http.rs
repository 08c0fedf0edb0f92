//! A request as a trigger: what of it becomes the event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::signature::Signature;
use crate::workflow::file::size;

/// A request to an address of its own. `keyhole workflows show` prints the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTrigger {
    /// What the caller is answered.
    pub respond: RespondWith,
    /// The check of a signature, beside the address that nobody can guess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The longest body: `512KiB`, at most 8 MiB. What is longer is refused (413).
    #[serde(with = "size")]
    #[schemars(schema_with = "size::schema")]
    pub body_limit: u64,
}

impl Default for HttpTrigger {
    fn default() -> Self {
        Self { respond: RespondWith::default(), signature: None, body_limit: 512 * 1024 }
    }
}

/// What the caller of a trigger is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RespondWith {
    /// 202 with the run's id, as soon as the event is on disk.
    #[default]
    Accepted,
    /// What a step gives to `respond`, or 200 with the last step's return value. 202 if that takes longer than 30 s.
    Workflow,
}

/// Headers that tell of the connection and not of the event.
const HOP: [header::HeaderName; 3] = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];

/// The event: method, path, query, headers, body. JSON and form bodies are read, other text is a text, and what is
/// no text is `{"base64": "…"}`. `raw_body` is the text as it came, so that a step can check a signature over it.
pub fn event_of(request: &Parts, path: &str, body: &[u8]) -> Value {
    let mut headers = Map::new();
    for name in request.headers.keys().filter(|name| !HOP.contains(name)) {
        let values: Vec<_> =
            request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), json!(values.join(", ")));
    }
    let text = std::str::from_utf8(body).ok();
    json!({
        "method": request.method.as_str(),
        "path": path,
        "query": pairs(request.uri.query().unwrap_or_default().as_bytes()),
        "headers": headers,
        "body": body_of(&request.headers, body),
        "raw_body": text,
    })
}

/// Levels of a body's values within one another. Steps and templates read it within a few more, and readers of JSON
/// have 128.
pub const NESTED: usize = 100;

/// Whether a body is JSON whose values are deeper in one another than those who read it later can follow.
pub fn is_too_deep(request: &Parts, body: &[u8]) -> bool {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > NESTED && is_json(&kind(&request.headers))
}

fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind.ends_with("+json")
}

fn body_of(headers: &HeaderMap, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let kind = kind(headers);
    if is_json(&kind)
        && let Ok(value) = serde_json::from_slice(body)
    {
        return value;
    }
    match std::str::from_utf8(body) {
        Ok(_) if kind == "application/x-www-form-urlencoded" => pairs(body),
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(body) }),
    }
}

/// Names and values; of a name that is there several times, a list.
fn pairs(encoded: &[u8]) -> Value {
    let mut pairs = Map::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        let value = Value::String(value.into_owned());
        match pairs.get_mut(name.as_ref()) {
            None => drop(pairs.insert(name.into_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, body: &[u8]) -> Value {
        let request = http::Request::post("/hooks/x?a=1&b=2&b=3").header("content-type", kind).body(()).unwrap();
        event_of(&request.into_parts().0, "/", body)
    }

    #[test]
    fn a_body_is_as_deep_as_those_who_read_it_can_follow() {
        let parts = |kind: &str| http::Request::post("/").header("content-type", kind).body(()).unwrap().into_parts().0;
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let json = parts("application/json; charset=utf-8");
        assert!(!is_too_deep(&json, nested(NESTED).as_bytes()));
        assert!(is_too_deep(&json, nested(NESTED + 1).as_bytes()));
        assert!(is_too_deep(&json, nested(100_000).as_bytes()));
        assert!(is_too_deep(&parts("application/ld+json"), "{\"a\":".repeat(NESTED + 1).as_bytes()));
        // In a text they are none, and a text is no JSON.
        assert!(!is_too_deep(&json, format!("\"\\\"{}\"", "[".repeat(500)).as_bytes()));
        assert!(!is_too_deep(&parts("text/plain"), nested(500).as_bytes()));
    }

    #[test]
    fn a_body_is_read_by_its_type() {
        assert_eq!(event("application/json; charset=utf-8", b"{\"a\":1}")["body"], json!({"a": 1}));
        assert_eq!(event("application/json", b"{\"a\":")["body"], json!("{\"a\":"));
        assert_eq!(
            event("application/x-www-form-urlencoded", b"a=1&a=2&b=%26")["body"],
            json!({"a": ["1", "2"], "b": "&"})
        );
        assert_eq!(event("text/plain", b"hi")["body"], json!("hi"));
        assert_eq!(event("image/png", b"\xff\x00")["body"], json!({"base64": "/wA="}));
        assert_eq!(event("text/plain", b"")["body"], Value::Null);
        assert_eq!(event("text/plain", b"x")["query"], json!({"a": "1", "b": ["2", "3"]}));
    }
}
