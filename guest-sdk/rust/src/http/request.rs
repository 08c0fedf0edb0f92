//! Building a request. What is wrong with one is said by `send`, so that the
//! chain of calls stays a chain.

use std::fmt::Display;
use std::time::Duration;

use base64::Engine as _;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use serde::Serialize;

use super::body::{Content, Sending};
use super::failure::{describe, from_code};
use super::target::Target;
use super::{Body, HeaderMap, HeaderName, HeaderValue, Method, Pending, Response, Upload};
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{self as wasi, Fields, OutgoingRequest, RequestOptions};
use crate::{Error, Result};

/// A request that is not yet sent.
#[must_use = "a request does nothing until it is sent"]
#[derive(Debug)]
pub struct RequestBuilder {
    method: Method,
    url: String,
    // Encoded: `a=1&b=2`.
    query: String,
    pub(super) headers: HeaderMap,
    body: Body,
    timeout: Option<Duration>,
    problem: Option<Error>,
}

impl RequestBuilder {
    pub(super) fn new(method: Method, url: String) -> RequestBuilder {
        RequestBuilder {
            method,
            url,
            query: String::new(),
            headers: HeaderMap::new(),
            body: Body::default(),
            timeout: None,
            problem: None,
        }
    }

    pub(super) fn failed(method: Method, problem: Error) -> RequestBuilder {
        RequestBuilder { problem: Some(problem), ..RequestBuilder::new(method, String::new()) }
    }

    /// Sets a header, in place of one of that name that is there.
    pub fn header(mut self, name: impl IntoHeaderName, value: impl IntoHeaderValue) -> RequestBuilder {
        match (name.into_name(), value.into_value()) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
                self
            }
            (Err(problem), _) | (_, Err(problem)) => self.fail(problem),
        }
    }

    /// Sets these headers, in place of those of the same names.
    pub fn headers(mut self, headers: HeaderMap) -> RequestBuilder {
        // A value without a name belongs to the name before it.
        let mut last = None;
        for (name, value) in headers {
            match (name, &last) {
                (Some(name), _) => {
                    self.headers.insert(name.clone(), value);
                    last = Some(name);
                }
                (None, Some(name)) => {
                    self.headers.append(name.clone(), value);
                }
                (None, None) => {}
            }
        }
        self
    }

    /// `Authorization: Bearer <token>`.
    pub fn bearer_auth(self, token: impl Display) -> RequestBuilder {
        self.header(AUTHORIZATION, format!("Bearer {token}"))
    }

    /// `Authorization: Basic ..` (RFC 7617). Either may be a placeholder.
    pub fn basic_auth(self, username: impl Display, password: Option<impl Display>) -> RequestBuilder {
        let plain = match password {
            Some(password) => format!("{username}:{password}"),
            None => format!("{username}:"),
        };
        let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
        self.header(AUTHORIZATION, format!("Basic {encoded}"))
    }

    /// Adds to the query: pairs such as `&[("limit", 5)]`, a map, or a struct.
    pub fn query(mut self, pairs: &(impl Serialize + ?Sized)) -> RequestBuilder {
        match serde_urlencoded::to_string(pairs) {
            Ok(more) => {
                if !self.query.is_empty() && !more.is_empty() {
                    self.query.push('&');
                }
                self.query.push_str(&more);
                self
            }
            Err(error) => self.fail(Error::step(format!("query: {error}"))),
        }
    }

    /// Sends `value` as JSON.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> RequestBuilder {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.default_type("application/json").body(bytes),
            Err(error) => self.fail(Error::from(error)),
        }
    }

    /// Sends pairs, a map or a struct as `application/x-www-form-urlencoded`.
    pub fn form(self, pairs: &(impl Serialize + ?Sized)) -> RequestBuilder {
        match serde_urlencoded::to_string(pairs) {
            Ok(text) => self.default_type("application/x-www-form-urlencoded").body(text),
            Err(error) => self.fail(Error::step(format!("form: {error}"))),
        }
    }

    /// Sends these bytes, this text, or what a reader gives ([`Body::from_reader`]).
    pub fn body(mut self, body: impl Into<Body>) -> RequestBuilder {
        self.body = body.into();
        self
    }

    /// How long all of it may take, from sending to the last byte of the answer.
    /// Without it the run's own deadline holds.
    pub fn timeout(mut self, timeout: Duration) -> RequestBuilder {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and waits for the head of the answer. A status of 400 and above
    /// is an answer like any other; see [`Response::error_for_status`].
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) if the broker did not let it out,
    /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if the service did not answer,
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if it can't be sent as it is.
    pub fn send(self) -> Result<Response> {
        self.start()?.wait()
    }

    /// Sends it without waiting, so that several can be under way at once.
    ///
    /// # Errors
    /// As for [`send`](Self::send), of what is known at once.
    pub fn start(mut self) -> Result<Pending> {
        let body = std::mem::take(&mut self.body);
        if let Some(length) = body.length() {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let wanted = !body.is_empty();
        let (mut pending, outgoing) = self.open(wanted)?;
        if let (Some(outgoing), content) = (outgoing, body.into_content()) {
            pending.attach(Sending::new(outgoing, content)?);
        }
        Ok(pending)
    }

    /// Sends it with a body that is written bit by bit:
    ///
    /// ```no_run
    /// # fn f() -> keyhole_sdk::Result<()> {
    /// use std::io::Write;
    /// let mut upload = keyhole_sdk::http::put("https://files.acme.example/report.csv").upload()?;
    /// for line in 0..1_000_000 {
    ///     writeln!(upload, "{line},{}", line * line)?;
    /// }
    /// let response = upload.finish()?.wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// Set a `content-length` header if it is known; many services ask for one.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn upload(self) -> Result<Upload> {
        let (pending, outgoing) = self.open(true)?;
        // `open(true)` always gives a body.
        let outgoing = outgoing.ok_or_else(|| Error::step("the request has no body to write to"))?;
        Ok(Upload::new(pending, Sending::new(outgoing, Content::Bytes(Vec::new()))?))
    }

    /// Hands the head to the host.
    fn open(mut self, with_body: bool) -> Result<(Pending, Option<wasi::OutgoingBody>)> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let target = Target::parse(&self.url, &self.query)?;
        // GitHub and others turn away requests without one.
        self.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("keyhole-step"));
        let request = OutgoingRequest::new(fields(&self.headers)?);
        let scheme = match target.scheme.as_str() {
            "https" => wasi::Scheme::Https,
            "http" => wasi::Scheme::Http,
            other => wasi::Scheme::Other(other.to_owned()),
        };
        let what = describe(&self.method, &self.url);
        request
            .set_method(&method(&self.method))
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(&target.authority)))
            .and_then(|()| request.set_path_with_query(Some(&target.path_with_query)))
            .map_err(|()| Error::input(format!("{what}: this method or URL can't be sent")))?;
        let options = self.timeout.map(request_options);
        let outgoing = match with_body {
            true => Some(request.body().map_err(|()| Error::step(format!("{what}: its body was taken already")))?),
            false => None,
        };
        match outgoing_handler::handle(request, options) {
            Ok(future) => Ok((Pending::new(what, future, self.timeout), outgoing)),
            Err(code) => Err(from_code(&what, &code)),
        }
    }

    fn default_type(mut self, content_type: &'static str) -> RequestBuilder {
        self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        self
    }

    /// The first problem is the one to tell.
    fn fail(mut self, problem: Error) -> RequestBuilder {
        self.problem.get_or_insert(problem);
        self
    }
}

/// The host stops waiting, too, so that a connection does not outlive its request.
fn request_options(timeout: Duration) -> RequestOptions {
    let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    // A host may leave these out; the SDK's own clock still holds.
    let _ = options.set_connect_timeout(nanoseconds);
    let _ = options.set_first_byte_timeout(nanoseconds);
    let _ = options.set_between_bytes_timeout(nanoseconds);
    options
}

fn fields(headers: &HeaderMap) -> Result<Fields> {
    let list: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    match Fields::from_list(&list) {
        Ok(fields) => Ok(fields),
        Err(_) => {
            let culprit = list.iter().find(|entry| Fields::from_list(std::slice::from_ref(entry)).is_err());
            let name = culprit.map_or("", |(name, _)| name.as_str());
            Err(Error::input(format!("the header \"{name}\" is the host's to set, leave it out")))
        }
    }
}

fn method(method: &Method) -> wasi::Method {
    match *method {
        Method::GET => wasi::Method::Get,
        Method::HEAD => wasi::Method::Head,
        Method::POST => wasi::Method::Post,
        Method::PUT => wasi::Method::Put,
        Method::DELETE => wasi::Method::Delete,
        Method::CONNECT => wasi::Method::Connect,
        Method::OPTIONS => wasi::Method::Options,
        Method::TRACE => wasi::Method::Trace,
        Method::PATCH => wasi::Method::Patch,
        _ => wasi::Method::Other(method.as_str().to_owned()),
    }
}

/// What can name a header: text, or a [`HeaderName`].
pub trait IntoHeaderName {
    #[doc(hidden)]
    fn into_name(self) -> Result<HeaderName>;
}

impl IntoHeaderName for HeaderName {
    fn into_name(self) -> Result<HeaderName> {
        Ok(self)
    }
}

impl IntoHeaderName for &str {
    fn into_name(self) -> Result<HeaderName> {
        HeaderName::try_from(self).map_err(|_| Error::input(format!("\"{self}\" can't be the name of a header")))
    }
}

impl IntoHeaderName for String {
    fn into_name(self) -> Result<HeaderName> {
        self.as_str().into_name()
    }
}

/// What can be a header's value: text, a number, bytes, or a [`HeaderValue`].
pub trait IntoHeaderValue {
    #[doc(hidden)]
    fn into_value(self) -> Result<HeaderValue>;
}

/// The value is not quoted: it may hold a placeholder.
fn bad_value() -> Error {
    Error::input("a header's value has a line break or another control character in it")
}

impl IntoHeaderValue for HeaderValue {
    fn into_value(self) -> Result<HeaderValue> {
        Ok(self)
    }
}

impl IntoHeaderValue for &str {
    fn into_value(self) -> Result<HeaderValue> {
        HeaderValue::from_bytes(self.as_bytes()).map_err(|_| bad_value())
    }
}

impl IntoHeaderValue for String {
    fn into_value(self) -> Result<HeaderValue> {
        HeaderValue::try_from(self).map_err(|_| bad_value())
    }
}

impl IntoHeaderValue for &String {
    fn into_value(self) -> Result<HeaderValue> {
        self.as_str().into_value()
    }
}

impl IntoHeaderValue for &[u8] {
    fn into_value(self) -> Result<HeaderValue> {
        HeaderValue::from_bytes(self).map_err(|_| bad_value())
    }
}

macro_rules! number_values {
    ($($number:ty),+) => {$(
        impl IntoHeaderValue for $number {
            fn into_value(self) -> Result<HeaderValue> {
                Ok(HeaderValue::from(self))
            }
        }
    )+};
}

number_values!(u16, i32, u32, i64, u64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn header(request: &RequestBuilder, name: &str) -> String {
        request.headers[name].to_str().expect("text").to_owned()
    }

    #[test]
    fn the_builder_sets_what_reqwest_would() {
        let request = super::super::post("https://a.example/")
            .basic_auth("user", Some("pass"))
            .query(&[("a", 1), ("b", 2)])
            .query(&[("c", "x y")])
            .json(&serde_json::json!({ "k": "v" }));
        assert_eq!(header(&request, "authorization"), "Basic dXNlcjpwYXNz");
        assert_eq!(header(&request, "content-type"), "application/json");
        assert_eq!(request.query, "a=1&b=2&c=x+y");
        assert_eq!(request.body.length(), Some(9));
    }

    #[test]
    fn the_first_problem_is_told_when_it_is_sent() {
        let request = super::super::get("https://a.example/").header("bad name", "v").header("x", "a\nb");
        let error = request.send().expect_err("not sendable");
        assert_eq!(error.message(), "\"bad name\" can't be the name of a header");
    }
}
