//! The step without code: one request, or several for a paged list, by an account of the owner's choice.
//!
//! It goes through the same session with the broker as a component's requests, holds placeholders as a
//! component does, and is judged, substituted and scrubbed there. What it gives back has labels in their place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use indexmap::IndexMap;
use keyhole_host_api::broker::{AccessError, Body, BodyError, Injected, SendError, Session, Timeouts};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::attempt::no_account;
use super::files::PlannedFile;
use crate::engine::{FailureKind, Flow, Json, Limit, Limits, RunOutcome, StepFailure};

pub use check::check;

mod check;
mod link;

/// The prop that an account is linked to.
pub const ACCOUNT: &str = "account";
/// What a URL begins with that is no path.
const HTTP: [&str; 2] = ["https://", "http://"];
/// What is said of a request with several bodies.
const ONE_BODY: &str = "a request has one body: json, form, text, base64 or file";
/// Most pages of one list.
const MAX_PAGES: u32 = 1000;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A URL, or a path below the base URL of the account's app.
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: IndexMap<String, Value>,
    #[serde(default)]
    query: IndexMap<String, Value>,
    /// The body: one of these five.
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    form: Option<IndexMap<String, Value>>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
    /// The path of a file that was deployed with the workflow.
    #[serde(default)]
    file: Option<String>,
    /// Whether an answer of 400 or more is the step's failure.
    #[serde(default = "yes")]
    fail_on_error: bool,
    #[serde(default)]
    pages: Option<Pages>,
}

fn yes() -> bool {
    true
}

/// How a list that comes in pages goes on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    /// Follow `Link: <…>; rel="next"` (RFC 8288).
    #[serde(default)]
    link: bool,
    /// Where the answer has the next page's cursor: a JSON pointer (RFC 6901) such as `/meta/next`.
    #[serde(default)]
    cursor: Option<String>,
    /// The query parameter that takes the cursor.
    #[serde(default)]
    parameter: Option<String>,
    /// Where the answer has the items: a JSON pointer. The whole answer if it is left out.
    #[serde(default)]
    items: String,
    /// Most pages.
    #[serde(default = "ten")]
    max: u32,
}

fn ten() -> u32 {
    10
}

/// The names of its props, for the check at deploy.
const PROPS: [&str; 11] =
    ["url", "method", "headers", "query", "json", "form", "text", "base64", FILE, "fail_on_error", "pages"];
/// The prop that names a file beside the workflow's.
pub const FILE: &str = "file";

/// A file that was deployed with the workflow, and its bytes.
pub type Attached = (PlannedFile, Bytes);

/// Sends what `props` ask, with the file that they name, within `limits`.
pub async fn run(
    session: &Arc<Session>,
    props: &Map<String, Value>,
    attached: Option<Attached>,
    limits: &Limits,
) -> RunOutcome {
    let started = Instant::now();
    let asked = tokio::time::timeout(limits.deadline, ask(session, props, attached.as_ref(), limits)).await;
    let result = match asked {
        Ok(result) => result,
        Err(_) => Err(StepFailure::limit(Limit::Deadline, limits)),
    };
    let redact = |text: &str| session.redact(text).into_owned();
    let result = match result {
        // No character of a label is one that JSON escapes.
        Ok(value) => Json::parse(redact(&value.to_string()))
            .map_err(|error| StepFailure::Host { message: format!("the answer can't be recorded: {error}") }),
        Err(StepFailure::Failed { message, kind, retry, trace }) => {
            Err(StepFailure::Failed { message: redact(&message), kind, retry, trace })
        }
        Err(other) => Err(other),
    };
    RunOutcome {
        result,
        exports: BTreeMap::new(),
        log: Vec::new(),
        log_cut: false,
        flow: Flow::default(),
        duration: started.elapsed(),
        peak_memory: 0,
    }
}

async fn ask(
    session: &Arc<Session>,
    props: &Map<String, Value>,
    attached: Option<&Attached>,
    limits: &Limits,
) -> Result<Value, StepFailure> {
    let asked: Asked = serde_json::from_value(Value::Object(props.clone()))
        .map_err(|error| input(format!("http-request: {error}")))?;
    let account = match session.account(ACCOUNT).await {
        Ok(account) => Some(account),
        Err(AccessError::NotDeclared(_) | AccessError::NotLinked(_)) => None,
        Err(error) => return Err(no_account(&error)),
    };
    let (first, body) = asked.request(account.as_ref(), attached)?;
    let Some(pages) = &asked.pages else {
        let answer = send(session, &first, &body, limits).await?;
        return answer.checked(asked.fail_on_error).map(Answer::into_value);
    };
    pages.check()?;
    let (mut items, mut next, mut bytes, mut count) = (Vec::new(), first, 0, 0);
    loop {
        let answer = send(session, &next, &body, limits).await?.checked(true)?;
        count += 1;
        bytes += answer.bytes;
        if bytes > limits.return_bytes {
            return Err(StepFailure::limit(Limit::ReturnValue, limits));
        }
        match answer.body.pointer(&pages.items) {
            Some(Value::Array(page)) => items.extend(page.iter().cloned()),
            _ => return Err(input(format!("the answer has no list at '{}' (pages.items)", pages.items))),
        }
        let after = pages.after(&answer, &next.url).map(|after| after.filter(|url| *url != next.url));
        if count == pages.max {
            // One that can't be followed is more, too, and nobody is to follow it.
            return Ok(json!({ "items": items, "pages": count, "more": !matches!(after, Ok(None)) }));
        }
        match after? {
            Some(url) => next.url = url,
            None => return Ok(json!({ "items": items, "pages": count, "more": false })),
        }
    }
}

/// A request without its body.
struct Head {
    method: Method,
    url: Url,
    headers: HeaderMap,
}

impl Asked {
    fn request(&self, account: Option<&Injected>, attached: Option<&Attached>) -> Result<(Head, Bytes), StepFailure> {
        let method = method(self.method.as_deref().unwrap_or(if self.has_body() { "POST" } else { "GET" }))?;
        let mut url = self.url(account)?;
        let mut headers = HeaderMap::new();
        if let Some(account) = account {
            for (name, value) in &account.headers {
                insert(&mut headers, name, value)?;
            }
            let given = |name: &str| self.query.contains_key(name);
            let own: Vec<_> = account.query.iter().filter(|(name, _)| !given(name)).collect();
            if !own.is_empty() {
                url.query_pairs_mut().extend_pairs(own.iter().map(|(name, value)| (name, value)));
            }
        }
        for (name, value) in &self.query {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values.iter().filter(|value| !value.is_null()) {
                url.query_pairs_mut().append_pair(name, &text(value));
            }
        }
        let body = self.body(attached, &mut headers)?;
        for (name, value) in &self.headers {
            insert(&mut headers, name, &text(value))?;
        }
        Ok((Head { method, url, headers }, body))
    }

    fn url(&self, account: Option<&Injected>) -> Result<Url, StepFailure> {
        if HTTP.iter().any(|scheme| self.url.starts_with(scheme)) {
            return parsed(&self.url);
        }
        let base = account
            .and_then(|account| account.base_url.as_deref())
            .ok_or_else(|| input(format!("'{}' is a path, and no linked account gives a base URL", self.url)))?;
        let whole = format!("{}/{}", base.trim_end_matches('/'), self.url.trim_start_matches('/'));
        whole.parse().map_err(|error| input(format!("'{}' does not go below {base}: {error}", self.url)))
    }

    fn has_body(&self) -> bool {
        let others = self.form.is_some() || self.text.is_some() || self.base64.is_some() || self.file.is_some();
        others || self.json.is_some()
    }

    fn body(&self, attached: Option<&Attached>, headers: &mut HeaderMap) -> Result<Bytes, StepFailure> {
        if let Some(path) = &self.file {
            if self.json.is_some() || self.form.is_some() || self.text.is_some() || self.base64.is_some() {
                return Err(one_body());
            }
            let (file, bytes) = attached.filter(|(file, _)| file.path == *path).ok_or_else(|| {
                input(format!("the file '{path}' was not deployed with the workflow; deploy it again"))
            })?;
            insert(headers, header::CONTENT_TYPE.as_str(), &file.content_type)?;
            return Ok(bytes.clone());
        }
        let mut kind = |kind| drop(headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind)));
        match (&self.json, &self.form, &self.text, &self.base64) {
            (None, None, None, None) => Ok(Bytes::new()),
            (Some(value), None, None, None) => {
                kind("application/json");
                Ok(value.to_string().into())
            }
            (None, Some(fields), None, None) => {
                kind("application/x-www-form-urlencoded");
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    form.append_pair(name, &text(value));
                }
                Ok(form.finish().into())
            }
            (None, None, Some(text), None) => {
                kind("text/plain; charset=utf-8");
                Ok(text.clone().into())
            }
            (None, None, None, Some(encoded)) => {
                kind("application/octet-stream");
                decoded(encoded).map(Bytes::from)
            }
            _ => Err(one_body()),
        }
    }
}

fn one_body() -> StepFailure {
    input(ONE_BODY.to_owned())
}

fn method(name: &str) -> Result<Method, StepFailure> {
    Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|_| input(format!("'{name}' is no HTTP method")))
}

fn parsed(url: &str) -> Result<Url, StepFailure> {
    url.parse().map_err(|error| input(format!("'{url}' is no URL: {error}")))
}

fn decoded(base64: &str) -> Result<Vec<u8>, StepFailure> {
    STANDARD.decode(base64).map_err(|error| input(format!("base64: {error}")))
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), StepFailure> {
    let parsed = HeaderName::try_from(name).map_err(|_| input(format!("'{name}' is no header's name")))?;
    let value = HeaderValue::try_from(value)
        .map_err(|_| input(format!("the value of the header {name} is not visible text")))?;
    headers.insert(parsed, value);
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn input(message: String) -> StepFailure {
    StepFailure::Failed { message, kind: FailureKind::Input, retry: false, trace: None }
}

impl Pages {
    /// Says what can't be followed.
    fn check(&self) -> Result<(), StepFailure> {
        if self.max == 0 || self.max > MAX_PAGES {
            return Err(input(format!("pages.max is 1 to {MAX_PAGES}")));
        }
        if !self.link && (self.cursor.is_none() || self.parameter.is_none()) {
            return Err(input("pages needs link = true, or cursor and parameter".to_owned()));
        }
        let mut pointers = self.cursor.iter().chain([&self.items]);
        match pointers.find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            Some(wrong) => Err(input(format!("'{wrong}' is no JSON pointer; write /{wrong}"))),
            None => Ok(()),
        }
    }

    fn after(&self, answer: &Answer, asked: &Url) -> Result<Option<Url>, StepFailure> {
        if self.link {
            let mut lines = answer.headers.get_all(header::LINK).iter();
            let target = lines.find_map(|line| link::next(&String::from_utf8_lossy(line.as_bytes())));
            return target
                .map(|target| {
                    asked.join(&target).map_err(|error| input(format!("the next page is at no URL: {error}")))
                })
                .transpose();
        }
        let (Some(pointer), Some(parameter)) = (&self.cursor, &self.parameter) else { return Ok(None) };
        let cursor = match answer.body.pointer(pointer) {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
            Some(cursor) => text(cursor),
        };
        if cursor.is_empty() {
            return Ok(None);
        }
        let kept: Vec<(String, String)> =
            asked.query_pairs().filter(|(name, _)| name != parameter).map(|(n, v)| (n.into(), v.into())).collect();
        let mut next = asked.clone();
        next.query_pairs_mut().clear().extend_pairs(kept).append_pair(parameter, &cursor);
        Ok(Some(next))
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    bytes: usize,
}

impl Answer {
    fn checked(self, fail_on_error: bool) -> Result<Self, StepFailure> {
        if !fail_on_error || self.status.as_u16() < 400 {
            return Ok(self);
        }
        let said: String = text(&self.body).chars().take(500).collect();
        let retry = self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        Err(StepFailure::Failed {
            message: format!("the service answered {}: {said}", self.status),
            kind: FailureKind::Upstream,
            retry,
            trace: None,
        })
    }

    fn into_value(self) -> Value {
        let mut headers = Map::new();
        for name in self.headers.keys() {
            let values: Vec<_> =
                self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            headers.insert(name.as_str().to_owned(), json!(values.join(", ")));
        }
        json!({ "status": self.status.as_u16(), "headers": headers, "body": self.body })
    }
}

async fn send(session: &Arc<Session>, head: &Head, body: &Bytes, limits: &Limits) -> Result<Answer, StepFailure> {
    let mut request = Request::builder().method(head.method.clone()).uri(head.url.as_str());
    if let Some(headers) = request.headers_mut() {
        *headers = head.headers.clone();
    }
    let body: Body = Full::new(body.clone()).map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|error| input(format!("that is no request: {error}")))?;
    let answer = session.clone().send(request, Timeouts::default()).await.map_err(|error| not_sent(&error))?;
    let (parts, body) = answer.into_parts();
    let whole = Limited::new(body, limits.return_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return StepFailure::limit(Limit::ReturnValue, limits);
        }
        failed(error.to_string(), error.downcast_ref().is_some_and(BodyError::is_refusal))
    })?;
    let bytes = whole.to_bytes();
    let body = read(&parts.headers, &bytes);
    Ok(Answer { status: parts.status, headers: parts.headers, body, bytes: bytes.len() })
}

/// JSON as what it is, other text as a text, and what is no text as `{"base64": "…"}`.
fn read(headers: &HeaderMap, bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if (kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json"))
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return value;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn not_sent(error: &SendError) -> StepFailure {
    failed(error.to_string(), error.is_refusal())
}

fn failed(message: String, refused: bool) -> StepFailure {
    let kind = if refused { FailureKind::Refused } else { FailureKind::Upstream };
    StepFailure::Failed { message, kind, retry: !refused, trace: None }
}
