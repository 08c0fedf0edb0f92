//! Method, status and headers. Our own rather than the `http` crate's, which would
//! add 35 KB to every component; the host validates what is sent in any case.

use std::fmt;

use crate::bindings::wasi::http::types as wasi;

/// A request's method. Anything that is none of these is made of its name:
/// `Method::from("PROPFIND")`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Other(String),
}

impl Method {
    /// As it stands in a request, such as `GET`.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        }
    }

    pub(super) fn to_wasi(&self) -> wasi::Method {
        match self {
            Method::Get => wasi::Method::Get,
            Method::Head => wasi::Method::Head,
            Method::Post => wasi::Method::Post,
            Method::Put => wasi::Method::Put,
            Method::Patch => wasi::Method::Patch,
            Method::Delete => wasi::Method::Delete,
            Method::Options => wasi::Method::Options,
            Method::Other(name) => wasi::Method::Other(name.clone()),
        }
    }
}

impl From<&str> for Method {
    /// Methods are case-sensitive (RFC 9110, section 9.1).
    fn from(name: &str) -> Method {
        use Method::{Delete, Get, Head, Options, Other, Patch, Post, Put};
        [Get, Head, Post, Put, Patch, Delete, Options]
            .into_iter()
            .find(|method| method.as_str() == name)
            .unwrap_or_else(|| Other(name.to_owned()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An answer's status. Compares with a number: `response.status() == 404`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub(super) u16);

impl Status {
    /// The number.
    pub fn as_u16(self) -> u16 {
        self.0
    }

    /// 200 to 299.
    pub fn is_success(self) -> bool {
        self.0 / 100 == 2
    }

    /// 300 to 399. The host follows no redirect.
    pub fn is_redirection(self) -> bool {
        self.0 / 100 == 3
    }

    /// 400 to 499.
    pub fn is_client_error(self) -> bool {
        self.0 / 100 == 4
    }

    /// 500 to 599.
    pub fn is_server_error(self) -> bool {
        self.0 / 100 == 5
    }

    /// Whether the same request may be answered otherwise later: 408, 425, 429, 500, 502, 503 and 504.
    pub fn is_retryable(self) -> bool {
        matches!(self.0, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }
}

impl PartialEq<u16> for Status {
    fn eq(&self, other: &u16) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Header fields in their order. Names compare without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<(String, Vec<u8>)>);

impl Headers {
    /// None yet.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// The first value of the header, if it is there and is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// All values of the header that are text.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Whether the header is there.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
    }

    /// Sets a header, in place of those of that name that are there.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        let name = name.into();
        self.0.retain(|(candidate, _)| !candidate.eq_ignore_ascii_case(&name));
        self.0.push((name, value.into()));
    }

    /// Adds a header beside those of that name that are there.
    pub fn append(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Sets a header unless one of that name is there.
    pub(super) fn insert_default(&mut self, name: &str, value: &str) {
        if !self.contains(name) {
            self.append(name, value);
        }
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_compare_without_case() {
        let mut headers = Headers::new();
        headers.append("Link", "<1>");
        headers.append("link", "<2>");
        assert_eq!(headers.get("LINK"), Some("<1>"));
        assert_eq!(headers.get_all("link").collect::<Vec<_>>(), ["<1>", "<2>"]);
        headers.insert("LINK", "<3>");
        assert_eq!(headers.get_all("link").collect::<Vec<_>>(), ["<3>"]);
    }

    #[test]
    fn a_method_is_its_name() {
        assert_eq!(Method::from("PATCH"), Method::Patch);
        assert_eq!(Method::from("PROPFIND").as_str(), "PROPFIND");
        assert_eq!(Method::from("get"), Method::Other("get".into()));
    }
}
