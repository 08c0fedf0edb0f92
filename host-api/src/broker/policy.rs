//! Where a request may go, and what it may carry, before any credential is thought of.
//!
//! The step's URI becomes a [`url::Url`] here, once. That value is what is checked and
//! what is sent: no second parser may have another opinion.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};
use url::Url;

use crate::apps::{Addresses, App, HostError, HostPattern, SigV4Def};
use crate::sign::ClaimError;
use crate::sign::sigv4::CredentialScope;

/// A host that a workflow opens to requests without a placeholder: `api.example.com`,
/// `*.example.com:8443`, or `http://host:port` where plain HTTP is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    plain_http: bool,
    pattern: HostPattern,
}

impl AllowedHost {
    /// Whether `url` may be reached under this entry.
    pub fn matches(&self, url: &Url) -> bool {
        url.scheme() == if self.plain_http { "http" } else { "https" } && self.pattern.matches_url(url)
    }
}

impl FromStr for AllowedHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let (plain_http, host) = match text.split_once("://") {
            Some(("http", host)) => (true, host),
            Some(("https", host)) => (false, host),
            _ => (false, text),
        };
        Ok(Self { plain_http, pattern: HostPattern::parse_as(host, Addresses::Allowed)? })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.plain_http { "http://" } else { "" }, self.pattern)
    }
}

/// Why a request was not let out. The text is shown to the step and kept in the audit; it
/// holds no query, placeholder or credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not a URL that the broker sends to.
    #[error("the URL is not one that can be sent to: {0}")]
    Url(&'static str),
    /// A method that is not a request for a resource.
    #[error("the method {0} is not sent; use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")]
    Method(String),
    /// A header that could turn one request into two, or into another protocol.
    #[error("the header {0} is not sent; leave it out")]
    Header(String),
    /// WebSocket, or another protocol.
    #[error("the connection can't be upgraded; WebSocket is not supported, use plain HTTP requests")]
    Upgrade,
    /// A request without a placeholder to a host that nobody opened.
    #[error("the host {host} is not allowed; to open it, add --allow-host {entry}")]
    Host {
        /// The host.
        host: String,
        /// What to add.
        entry: String,
    },
    /// A request with a placeholder to a host that is not the account's.
    #[error("{app} credentials don't go to {host}; they go to {allowed}")]
    AccountHost {
        /// The account's app.
        app: String,
        /// The request's host.
        host: String,
        /// The account's hosts.
        allowed: String,
    },
    /// A credential over plain HTTP.
    #[error("{0} credentials go over https only")]
    PlainHttp(String),
    /// A path that the app's definition denies to steps.
    #[error("{app} does not allow steps to call {rule}")]
    Rule {
        /// The account's app.
        app: String,
        /// The rule.
        rule: String,
    },
    /// Answers in parts could show a credential in pieces too small to find.
    #[error("a request with a credential can't ask for a range; leave the header Range out")]
    Range,
}

/// Methods that ask a server for something. CONNECT opens a tunnel and TRACE echoes
/// headers, so neither leaves.
fn method_is_sent(method: &Method) -> bool {
    *method != Method::CONNECT && *method != Method::TRACE
}

/// Headers that speak of the connection, not of the request (RFC 9110, section 7.6.1).
/// The client makes its own.
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];

/// Headers that some servers take for the request's own method or path.
const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// The request's URL, parsed once.
pub(super) fn url(uri: &Uri) -> Result<Url, Denied> {
    let url = Url::parse(&uri.to_string()).map_err(|_| Denied::Url("it does not parse"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Denied::Url("its scheme is neither https nor http"));
    }
    // An authority alone, such as `https:8443`, is another host to each parser.
    if !uri.scheme_str().is_some_and(|theirs| theirs.eq_ignore_ascii_case(url.scheme())) {
        return Err(Denied::Url("it does not begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Denied::Url("it has a user name; send credentials in a header"));
    }
    let Some(host) = url.host_str() else { return Err(Denied::Url("it has no host")) };
    if host.ends_with('.') {
        return Err(Denied::Url("its host ends with a dot; leave the dot out"));
    }
    // What hyper's parser took for the host must be what ours took.
    if !uri.host().is_some_and(|theirs| theirs.eq_ignore_ascii_case(host)) {
        return Err(Denied::Url("its host is not in the plain form; write it lower case and in ASCII"));
    }
    Ok(url)
}

/// Takes out what the client makes itself and refuses what could smuggle a request.
pub(super) fn clean(method: &Method, headers: &mut HeaderMap) -> Result<(), Denied> {
    if !method_is_sent(method) {
        return Err(Denied::Method(method.to_string()));
    }
    if headers.contains_key(header::UPGRADE) {
        return Err(Denied::Upgrade);
    }
    // `Connection` can name any header for the next hop to take out, the credential's too.
    if headers.get_all(header::CONNECTION).iter().any(|value| {
        !value.as_bytes().eq_ignore_ascii_case(b"keep-alive") && !value.as_bytes().eq_ignore_ascii_case(b"close")
    }) {
        return Err(Denied::Header("Connection".to_owned()));
    }
    for (name, shown) in [(header::EXPECT, "Expect"), (header::PROXY_AUTHORIZATION, "Proxy-Authorization")] {
        if headers.contains_key(name) {
            return Err(Denied::Header(shown.to_owned()));
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // The URL's host is sent, whatever the step wrote; and the codings that the scrub can undo are asked for.
    headers.remove(header::HOST);
    headers.remove(header::ACCEPT_ENCODING);
    Ok(())
}

/// Whether a request that carries `app`'s placeholder may go to `url`.
pub(super) fn account_may_reach(
    app: &App,
    hosts: &[HostPattern],
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
) -> Result<(), Denied> {
    if !hosts.iter().any(|host| host.matches_url(url)) {
        let allowed = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Denied::AccountHost { app: app.name.clone(), host: shown_host(url), allowed });
    }
    if !app.allows_scheme(url) {
        return Err(Denied::PlainHttp(app.name.clone()));
    }
    if let Some(rule) = app.denied(method, url) {
        return Err(Denied::Rule { app: app.name.clone(), rule: rule.to_string() });
    }
    // A rule speaks of the method and path that count.
    if !app.deny.is_empty()
        && let Some(name) = OVERRIDES.iter().find(|name| headers.contains_key(**name))
    {
        return Err(Denied::Header((*name).to_owned()));
    }
    if headers.contains_key(header::RANGE) || headers.contains_key(header::IF_RANGE) {
        return Err(Denied::Range);
    }
    Ok(())
}

/// Whether a signature is for what the account's requests may be signed for: its region, a service of the
/// definition, and that service's own host.
pub(super) fn scope_fits(
    def: &SigV4Def,
    scope: &CredentialScope,
    url: &Url,
    plain: &BTreeMap<String, String>,
) -> Result<(), ClaimError> {
    let wanted = def.region.render(|field| plain.get(field).map(String::as_str)).unwrap_or_default();
    if scope.region != wanted {
        return Err(ClaimError::Region { got: scope.region.clone(), wanted });
    }
    if !def.services.contains_key(&scope.service) {
        let listed = def.services.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(ClaimError::Service { got: scope.service.clone(), listed });
    }
    match def.serves(&scope.service, url, plain) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(ClaimError::Host { service: scope.service.clone(), host: shown_host(url) }),
    }
}

/// The error for a request without a placeholder to a host that nobody opened.
pub(super) fn host_not_allowed(url: &Url) -> Denied {
    let host = shown_host(url);
    let entry = if url.scheme() == "http" { format!("http://{host}") } else { host.clone() };
    Denied::Host { host, entry }
}

/// The host, with the port where it is not the scheme's own.
pub(super) fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_one_parser_decides_the_host() {
        for (uri, host) in [
            ("https://api.acme.example/x", Some("api.acme.example")),
            ("https://api.acme.example:8443/x", Some("api.acme.example")),
            ("https://allowed.example@evil.example/", None),
            ("https://user:pw@evil.example/", None),
            ("https://api.acme.example./", None),
            ("https://0x7f.1/", None),
            ("https://2130706433/", None),
            ("https://127.0.0.1/", Some("127.0.0.1")),
            ("ftp://api.acme.example/", None),
            ("https:8443", None),
        ] {
            let parsed = url(&uri.parse().unwrap());
            match host {
                Some(host) => assert_eq!(parsed.unwrap().host_str(), Some(host), "{uri}"),
                None => assert!(parsed.is_err(), "{uri}"),
            }
        }
    }

    #[test]
    fn bound_headers_that_smuggle_are_refused() {
        let refused = [
            ("connection", "authorization"),
            ("connection", "close, authorization"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic x"),
        ];
        for (name, value) in refused {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            assert!(clean(&Method::GET, &mut headers).is_err(), "{name}: {value}");
        }
        let mut headers = HeaderMap::new();
        for name in [header::HOST, header::TE, header::TRANSFER_ENCODING, header::ACCEPT_ENCODING] {
            headers.append(name.clone(), "x".parse().unwrap());
            headers.append(name, "y".parse().unwrap());
        }
        clean(&Method::GET, &mut headers).unwrap();
        assert!(headers.is_empty());
        assert!(clean(&Method::CONNECT, &mut headers).is_err());
        assert!(clean(&Method::TRACE, &mut headers).is_err());
    }

    #[test]
    fn bound_plain_http_is_allowed_only_where_it_is_written() {
        let entry: AllowedHost = "api.acme.example".parse().unwrap();
        assert!(entry.matches(&Url::parse("https://api.acme.example/").unwrap()));
        assert!(!entry.matches(&Url::parse("http://api.acme.example/").unwrap()));
        let entry: AllowedHost = "http://localhost:8080".parse().unwrap();
        assert!(entry.matches(&Url::parse("http://localhost:8080/x").unwrap()));
        assert!(!entry.matches(&Url::parse("http://localhost/").unwrap()));
    }
}
