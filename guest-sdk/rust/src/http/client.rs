//! What several requests have in common.

use std::fmt::Display;
use std::time::Duration;

use super::{Headers, Method, RequestBuilder, target};
use crate::Error;

/// Where requests start: a base URL, headers, query parameters and a timeout.
/// An account's own is [`Account::client`](crate::Account::client).
///
/// ```no_run
/// # fn f(token: String) -> keyhole_sdk::Result<()> {
/// use std::time::Duration;
/// use keyhole_sdk::http::Client;
///
/// let api = Client::new()
///     .base_url("https://api.acme.example/v1/")
///     .header("x-api-key", token)
///     .timeout(Duration::from_secs(10));
/// let me: serde_json::Value = api.get("me").send()?.json()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client {
    base_url: Option<String>,
    headers: Headers,
    query: Vec<(String, String)>,
    timeout: Option<Duration>,
}

impl Client {
    /// One that adds nothing to a request.
    pub fn new() -> Client {
        Client::default()
    }

    pub(crate) fn from_template(
        base_url: Option<String>,
        headers: Vec<(String, String)>,
        query: Vec<(String, String)>,
    ) -> Client {
        let headers = Headers(headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect());
        Client { base_url, headers, query, timeout: None }
    }

    /// What requests with a relative path start from.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Client {
        self.base_url = Some(url.into());
        self
    }

    /// A header for every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Display) -> Client {
        self.headers.insert(name, value.to_string());
        self
    }

    /// A query parameter for every request.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Client {
        self.query.push((name.into(), value.into()));
        self
    }

    /// [`RequestBuilder::timeout`] for every request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = Some(timeout);
        self
    }

    /// The headers that every request gets.
    pub fn default_headers(&self) -> &Headers {
        &self.headers
    }

    /// The query parameters that every request gets.
    pub fn default_query(&self) -> &[(String, String)] {
        &self.query
    }

    /// A `GET` to `path` under the base URL, or to a whole URL.
    pub fn get(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::Get, path)
    }

    /// A `POST` to `path` under the base URL, or to a whole URL.
    pub fn post(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::Post, path)
    }

    /// A `PUT` to `path` under the base URL, or to a whole URL.
    pub fn put(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::Put, path)
    }

    /// A `PATCH` to `path` under the base URL, or to a whole URL.
    pub fn patch(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::Patch, path)
    }

    /// A `DELETE` to `path` under the base URL, or to a whole URL.
    pub fn delete(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::Delete, path)
    }

    /// A request with any method to `path` under the base URL, or to a whole URL.
    pub fn request(&self, method: impl Into<Method>, path: impl AsRef<str>) -> RequestBuilder {
        let (method, path) = (method.into(), path.as_ref());
        let mut request = match target::join(self.base_url.as_deref(), path) {
            Some(url) => RequestBuilder::new(method, url),
            None => RequestBuilder::failed(
                method,
                Error::input(format!("\"{path}\" is no whole URL, and there is no base URL that it could start from")),
            ),
        };
        request.headers.clone_from(&self.headers);
        if !self.query.is_empty() {
            request = request.query(&self.query);
        }
        match self.timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }
}
