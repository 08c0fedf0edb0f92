//! Building a request. What is wrong with one is said by `send`, so that the
//! chain of calls stays a chain.

use std::fmt::Display;
use std::time::Duration;

use base64::Engine as _;
use serde::Serialize;

use super::body::{Content, Sending};
use super::failure::{describe, from_code};
use super::target::Target;
use super::{Body, Headers, Method, Pending, Response, Upload};
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{self as wasi, Fields, OutgoingRequest, RequestOptions};
use crate::error::placed;
use crate::{Error, Result};

/// A request that is not yet sent.
#[must_use = "a request does nothing until it is sent"]
#[derive(Debug)]
pub struct RequestBuilder {
    method: Method,
    url: String,
    // Encoded: `a=1&b=2`.
    query: String,
    pub(super) headers: Headers,
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
            headers: Headers::new(),
            body: Body::default(),
            timeout: None,
            problem: None,
        }
    }

    pub(super) fn failed(method: Method, problem: Error) -> RequestBuilder {
        RequestBuilder { problem: Some(problem), ..RequestBuilder::new(method, String::new()) }
    }

    /// Sets a header, in place of one of that name that is there.
    pub fn header(mut self, name: impl Into<String>, value: impl Display) -> RequestBuilder {
        self.headers.insert(name, value.to_string());
        self
    }

    /// Sets these headers, in place of those of the same names.
    pub fn headers(mut self, headers: &Headers) -> RequestBuilder {
        self.headers.0.retain(|(name, _)| !headers.contains(name));
        self.headers.0.extend_from_slice(&headers.0);
        self
    }

    /// `Authorization: Bearer <token>`.
    pub fn bearer_auth(self, token: impl Display) -> RequestBuilder {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// `Authorization: Basic ..` (RFC 7617). Either may be a placeholder.
    pub fn basic_auth(self, username: impl Display, password: Option<impl Display>) -> RequestBuilder {
        let plain = match password {
            Some(password) => format!("{username}:{password}"),
            None => format!("{username}:"),
        };
        let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
        self.header("authorization", format!("Basic {encoded}"))
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
    #[track_caller]
    pub fn send(self) -> Result<Response> {
        placed(|| self.start()?.wait())
    }

    /// Sends it without waiting, so that several can be under way at once.
    ///
    /// # Errors
    /// As for [`send`](Self::send), of what is known at once.
    #[track_caller]
    pub fn start(mut self) -> Result<Pending> {
        placed(|| {
            let body = std::mem::take(&mut self.body);
            if let Some(length) = body.length() {
                self.headers.insert("content-length", length.to_string());
            }
            let wanted = !body.is_empty();
            let (mut pending, outgoing) = self.open(wanted)?;
            if let (Some(outgoing), content) = (outgoing, body.into_content()) {
                pending.attach(Sending::new(outgoing, content)?);
            }
            Ok(pending)
        })
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
    #[track_caller]
    pub fn upload(self) -> Result<Upload> {
        placed(|| {
            let (pending, outgoing) = self.open(true)?;
            // `open(true)` always gives a body.
            let outgoing = outgoing.ok_or_else(|| Error::step("the request has no body to write to"))?;
            Ok(Upload::new(pending, Sending::new(outgoing, Content::Bytes(Vec::new()))?))
        })
    }

    /// Hands the head to the host.
    fn open(mut self, with_body: bool) -> Result<(Pending, Option<wasi::OutgoingBody>)> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let target = Target::parse(&self.url, &self.query)?;
        // GitHub and others turn away requests without one.
        self.headers.insert_default("user-agent", "keyhole-step");
        let request = OutgoingRequest::new(fields(&self.headers)?);
        let scheme = match target.scheme.as_str() {
            "https" => wasi::Scheme::Https,
            "http" => wasi::Scheme::Http,
            other => wasi::Scheme::Other(other.to_owned()),
        };
        let what = describe(&self.method, &self.url);
        request
            .set_method(&self.method.to_wasi())
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
        self.headers.insert_default("content-type", content_type);
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

/// The host checks what it is given; this finds out which header it did not like.
fn fields(headers: &Headers) -> Result<Fields> {
    Fields::from_list(&headers.0).map_err(|_| {
        let culprit = headers.0.iter().find(|entry| Fields::from_list(std::slice::from_ref(entry)).is_err());
        let name = culprit.map_or("", |(name, _)| name);
        // The value is not quoted: it may hold a placeholder.
        Error::input(format!(
            "the header \"{name}\" can't be sent: its name or value is not valid, or it is one that only the host sets"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(request: &RequestBuilder, name: &str) -> String {
        request.headers.get(name).expect("is set").to_owned()
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
        let request = super::super::get("https://a.example/").query("no pairs").query(&[("a", [1])]);
        let error = request.send().expect_err("not sendable");
        assert_eq!(error.message(), "query: top-level serializer supports only maps and structs");
    }
}
