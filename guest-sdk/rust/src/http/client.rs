//! What several requests have in common.

use std::time::Duration;

use super::request::{IntoHeaderName, IntoHeaderValue};
use super::{HeaderMap, HeaderName, HeaderValue, Method, RequestBuilder, target};
use crate::{Error, Result};

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
///     .header("x-api-key", token)?
///     .timeout(Duration::from_secs(10));
/// let me: serde_json::Value = api.get("me").send()?.json()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client {
    base_url: Option<String>,
    headers: HeaderMap,
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
        template: &[(String, String)],
        query: Vec<(String, String)>,
    ) -> Client {
        let mut headers = HeaderMap::with_capacity(template.len());
        for (name, value) in template {
            // The host checked both when it loaded the app's definition.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        Client { base_url, headers, query, timeout: None }
    }

    /// What requests with a relative path start from.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Client {
        self.base_url = Some(url.into());
        self
    }

    /// A header for every request.
    ///
    /// # Errors
    /// If name or value may not stand in a header.
    pub fn header(mut self, name: impl IntoHeaderName, value: impl IntoHeaderValue) -> Result<Client> {
        self.headers.insert(name.into_name()?, value.into_value()?);
        Ok(self)
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

    /// A `GET` to `path` under the base URL, or to a whole URL.
    pub fn get(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A `POST` to `path` under the base URL, or to a whole URL.
    pub fn post(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A `PUT` to `path` under the base URL, or to a whole URL.
    pub fn put(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// A `PATCH` to `path` under the base URL, or to a whole URL.
    pub fn patch(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// A `DELETE` to `path` under the base URL, or to a whole URL.
    pub fn delete(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A request with any method to `path` under the base URL, or to a whole URL.
    pub fn request(&self, method: Method, path: impl AsRef<str>) -> RequestBuilder {
        let path = path.as_ref();
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
