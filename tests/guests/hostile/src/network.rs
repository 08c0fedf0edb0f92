//! Attacks through `wasi:http`, without the SDK's client: that one would put right
//! what should stay wrong.

use keyhole_sdk::__private::bindings::wasi::clocks::monotonic_clock;
use keyhole_sdk::__private::bindings::wasi::http::outgoing_handler::handle;
use keyhole_sdk::__private::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use keyhole_sdk::__private::bindings::wasi::io::poll::poll;
use keyhole_sdk::__private::bindings::wasi::io::streams::{InputStream, StreamError};
use keyhole_sdk::prelude::*;

use crate::{Input, template};

/// A request as the event tells it. `url`, header values and `body` are filled in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default = "get")]
    method: String,
    url: String,
    /// In the URL's stead, as it is: not even a template.
    authority: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Add the headers and query that the app's definition has.
    #[serde(default)]
    account: bool,
    body: Option<String>,
    /// Says `content-length`, so that the broker may look into the body.
    #[serde(default = "yes")]
    sized: bool,
    /// How much of the body to read at a time, and how long to wait in between.
    #[serde(default = "chunk")]
    chunk: u64,
    #[serde(default)]
    pause_ms: u64,
    /// Stop reading after this many bytes.
    limit: Option<u64>,
    /// Return how many bytes came rather than the bytes.
    #[serde(default)]
    count_only: bool,
    /// Wait this long before sending.
    #[serde(default)]
    wait_ms: u64,
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

fn chunk() -> u64 {
    64 * 1024
}

/// One request, `event.request`. A refusal or failure is what the attack finds, not how it ends.
pub fn request(input: &Input, event: &Value) -> Result<Value> {
    let spec = spec(&event["request"])?;
    Ok(one(input, &spec).unwrap_or_else(|error| json!({ "error": error })))
}

/// The requests `event.requests`, one after the other. For what changes in between. Of each body the last
/// `event.tail` characters, or all.
pub fn sequence(input: &Input, event: &Value) -> Result<Value> {
    let mut found = Vec::new();
    for request in event["requests"].as_array().into_iter().flatten() {
        let mut one = one(input, &spec(request)?).unwrap_or_else(|error| json!({ "error": error }));
        if let (Some(tail), Some(body)) = (event["tail"].as_u64(), one["body"].as_str()) {
            let start = body.char_indices().rev().take(tail as usize).last().map_or(0, |(at, _)| at);
            one["body"] = json!(body[start..]);
        }
        found.push(one);
    }
    Ok(Value::Array(found))
}

/// `event.count` times `event.request`, all at once and none let go. Returns how many the
/// host took, how many were answered, and the first reason of a refusal.
pub fn open_requests(input: &Input, event: &Value) -> Result<Value> {
    let spec = spec(&event["request"])?;
    let count = event["count"].as_u64().unwrap_or(10_000);
    let mut open = Vec::new();
    let mut reason = None;
    for _ in 0..count {
        match send(input, &spec) {
            Ok((future, body)) => open.push((future, body)),
            Err(error) => {
                reason.get_or_insert(error);
            }
        }
    }
    let taken = open.len();
    let mut answered = 0;
    let mut held = Vec::new();
    while !open.is_empty() {
        let events: Vec<_> = open.iter().map(|(future, _)| future.subscribe()).collect();
        let mut ready = poll(&events.iter().collect::<Vec<_>>());
        drop(events);
        ready.sort_unstable();
        for index in ready.into_iter().rev() {
            let (future, _body) = open.swap_remove(index as usize);
            match future.get() {
                // Held, body unread: each keeps its connection.
                Some(Ok(Ok(response))) => {
                    answered += 1;
                    held.push(response);
                }
                Some(Ok(Err(code))) => {
                    reason.get_or_insert(describe(&code));
                }
                Some(Err(())) | None => {}
            }
        }
    }
    Ok(json!({ "asked": count, "taken": taken, "answered": answered, "held": held.len(), "error": reason }))
}

/// A body without end.
pub fn upload_endless(input: &Input, event: &Value) -> Result<Value> {
    let mut spec = spec(&event["request"])?;
    spec.body = Some(String::new());
    spec.sized = false;
    let (future, body) = send(input, &spec).map_err(|error| error.to_string())?;
    let body = body.ok_or("no body")?;
    let stream = body.write().map_err(|()| "the body is taken")?;
    let chunk = [b'x'; 4096];
    let mut sent = 0_u64;
    let stopped = loop {
        match stream.blocking_write_and_flush(&chunk) {
            Ok(()) => sent += chunk.len() as u64,
            Err(error) => break stream_error(error),
        }
    };
    drop(stream);
    drop(future);
    Ok(json!({ "sent": sent, "stopped": stopped }))
}

/// A header map without end.
pub fn headers_endless() -> Result<Value> {
    let fields = Fields::new();
    let value = vec![b'x'; 1024];
    for number in 0_u64.. {
        if let Err(error) = fields.append(&format!("x-{number}"), &value) {
            return Ok(json!({ "appended": number, "error": error.to_string() }));
        }
    }
    unreachable!("u64 does not end within a run")
}

fn spec(value: &Value) -> Result<Spec> {
    Spec::deserialize(value).map_err(|error| Error::input(format!("request: {error}")))
}

/// Sends one and reads its answer.
fn one(input: &Input, spec: &Spec) -> Result<Value, Value> {
    pause(spec.wait_ms);
    let (future, body) = send(input, spec)?;
    let mut upload = Value::Null;
    if let Some(body) = body {
        let text = template::fill(input, spec.body.as_deref().unwrap_or_default()).map_err(ours)?;
        // A broker that refuses on sight of the body closes it; its reason is the answer.
        upload = write_all(body, text.as_bytes()).err().map_or(Value::Null, Value::String);
    }
    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(describe(&code)),
        Some(Err(())) | None => return Err(json!("no answer")),
    };
    let headers: Vec<_> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = response.consume().map_err(|()| json!("no body"))?;
    let stream = body.stream().map_err(|()| json!("no body"))?;
    let (bytes, count, error) = read(&stream, spec);
    drop(stream);
    let trailers = if error.is_none() && spec.limit.is_none() { trailers(body) } else { Vec::new() };
    let mut found = json!({
        "status": response.status(),
        "headers": headers,
        "bytes": count,
        "body_error": error,
        "trailers": trailers,
        "upload_error": upload,
    });
    if !spec.count_only {
        found["body"] = json!(String::from_utf8_lossy(&bytes));
    }
    Ok(found)
}

fn send(input: &Input, spec: &Spec) -> Result<(FutureIncomingResponse, Option<OutgoingBody>), Value> {
    let url = template::fill(input, &spec.url).map_err(ours)?;
    let (scheme, rest) = url.split_once("://").ok_or_else(|| json!("url: scheme://authority/path"))?;
    let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_start);
    let authority = spec.authority.as_deref().unwrap_or(authority);
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };

    let fields = Fields::new();
    let add = |name: &str, value: &str| {
        fields.append(name, value.as_bytes()).map_err(|error| json!(format!("header {name}: {error}")))
    };
    if spec.account {
        let account = input.acme.as_ref().ok_or_else(|| json!("link acme"))?;
        let template = account.client();
        for (name, value) in template.default_headers().iter() {
            add(name, &String::from_utf8_lossy(value))?;
        }
        for (name, value) in template.default_query() {
            path.push_str(&format!("{}{name}={value}", if path.contains('?') { '&' } else { '?' }));
        }
    }
    for (name, value) in &spec.headers {
        add(name, &template::fill(input, value).map_err(ours)?)?;
    }
    if let (Some(body), true) = (&spec.body, spec.sized) {
        let length = template::fill(input, body).map_err(ours)?.len();
        add("content-length", &length.to_string())?;
    }

    let request = OutgoingRequest::new(fields);
    let method = match spec.method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| json!("set-method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| json!("set-scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| json!("set-authority"))?;
    request.set_path_with_query(Some(&path)).map_err(|()| json!("set-path-with-query"))?;
    let body = match spec.body {
        Some(_) => Some(request.body().map_err(|()| json!("body"))?),
        None => None,
    };
    match handle(request, None) {
        Ok(future) => Ok((future, body)),
        Err(code) => Err(describe(&code)),
    }
}

fn write_all(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "the body is taken".to_owned())?;
    for chunk in bytes.chunks(4096) {
        stream.blocking_write_and_flush(chunk).map_err(stream_error)?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|code| describe(&code).to_string())
}

/// The bytes (unless they are only counted), how many came, and what broke off.
fn read(stream: &InputStream, spec: &Spec) -> (Vec<u8>, u64, Option<String>) {
    let mut bytes = Vec::new();
    let mut count = 0;
    while spec.limit.is_none_or(|limit| count < limit) {
        match stream.blocking_read(spec.chunk) {
            Ok(chunk) => {
                count += chunk.len() as u64;
                if !spec.count_only {
                    bytes.extend(chunk);
                }
            }
            Err(StreamError::Closed) => break,
            Err(error) => return (bytes, count, Some(stream_error(error))),
        }
        pause(spec.pause_ms);
    }
    (bytes, count, None)
}

fn trailers(body: IncomingBody) -> Vec<(String, String)> {
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    match future.get() {
        Some(Ok(Ok(Some(fields)))) => fields
            .entries()
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

fn pause(ms: u64) {
    if ms > 0 {
        monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
    }
}

fn stream_error(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

fn describe(code: &ErrorCode) -> Value {
    match code {
        ErrorCode::InternalError(Some(message)) => json!(message),
        other => json!(format!("{other:?}")),
    }
}

fn ours(error: Error) -> Value {
    json!(error.message())
}
