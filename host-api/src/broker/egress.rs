//! The operator's word on where requests may go and by which way, how many there may be, and how strictly the
//! audit is kept.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::audit::AuditMode;
use super::client::{Client, ClientError};
use super::limits::Shares;
use crate::apps::{Addresses, HostError, HostPattern};
use crate::vault::Secret;

/// Settings of the way out. The default opens nothing.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Where names lead, instead of asking the resolver.
    pub resolve: Vec<Resolve>,
    /// Certificate authorities to trust beside the system's, each file's PEM text.
    pub ca_certs: Vec<String>,
    /// Ranges that requests may reach although they are not globally routable.
    pub allow_ranges: Vec<IpNet>,
    /// Hosts that no request reaches, at any port unless one is named.
    pub closed_hosts: Vec<ClosedHost>,
    /// The proxy by which every request leaves.
    pub proxy: Option<Proxy>,
    /// Name servers to ask instead of the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Where Keyhole itself is reached: nothing goes there.
    pub own: Own,
    /// How much requests may be.
    pub shares: Shares,
    /// How strictly the audit is kept.
    pub audit: AuditMode,
}

impl Egress {
    /// Whether requests could leave by these settings. Opens no connection.
    ///
    /// # Errors
    /// What can't be used.
    pub fn check(&self) -> Result<(), ClientError> {
        Client::new(self).map(drop)
    }
}

/// A host that is closed: a name, `*.` and a name, or an address, each with an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedHost(HostPattern);

impl ClosedHost {
    /// Whether requests to this host and port are refused. Without a port, it closes all of them.
    pub(super) fn closes(&self, host: &Host<&str>, port: u16) -> bool {
        self.0.matches(host) && self.0.port().is_none_or(|closed| closed == port)
    }
}

impl FromStr for ClosedHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        HostPattern::parse_closed(text, Addresses::Allowed).map(Self)
    }
}

/// Where this Keyhole is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// What it listens on.
    pub listen: Vec<SocketAddr>,
    /// Names and ports that lead to it.
    pub names: Vec<(String, u16)>,
}

impl Own {
    /// These and those of another of its processes.
    pub fn add(&mut self, other: Self) {
        self.listen.extend(other.listen);
        self.names.extend(other.names);
    }
}

/// An HTTP proxy that connects to addresses for us (`CONNECT`, RFC 9110, section 9.3.6).
#[derive(Clone)]
pub struct Proxy {
    /// Where it is: `http://HOST:PORT`.
    pub url: Url,
    /// `USER:PASSWORD` for it.
    pub credentials: Option<Secret>,
}

impl Proxy {
    /// The proxy's address for the client.
    pub(super) fn uri(&self) -> Result<http::Uri, ClientError> {
        self.url.as_str().parse().map_err(|_| ClientError::Http(format!("{} is not a proxy's address", self.url)))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// What is wrong with a proxy's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a proxy's address; write http://HOST:PORT, and put USER:PASSWORD into a file")]
pub struct ProxyError(String);

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        // What may have a password in it is not repeated.
        let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("http://…@{host}"));
        let wrong = || ProxyError(shown.clone());
        let url = Url::parse(text).map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        // A password on a command line is seen by everybody on the machine.
        let open = url.username().is_empty() && url.password().is_none();
        if url.scheme() != "http" || !url.has_host() || !bare || !open {
            return Err(wrong());
        }
        Ok(Self { url, credentials: None })
    }
}

/// One `HOST:PORT:ADDR`, as curl's `--resolve` has it. `ADDR` may carry a port of its
/// own, `ADDR:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The name, lower case.
    pub host: String,
    /// The port in the request's URL.
    pub port: u16,
    /// Where requests for it go.
    pub addresses: Vec<SocketAddr>,
}

/// What is wrong with a `--resolve` value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}': {what}; write HOST:PORT:ADDR, such as slack.com:443:127.0.0.1 or slack.com:443:127.0.0.1:8443")]
pub struct ResolveError {
    value: String,
    what: &'static str,
}

impl FromStr for Resolve {
    type Err = ResolveError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let wrong = |what| ResolveError { value: value.to_owned(), what };
        let (host, rest) = value.split_once(':').ok_or(wrong("there is no port"))?;
        let (port, addresses) = rest.split_once(':').ok_or(wrong("there is no address"))?;
        let port: NonZeroU16 = port.parse().map_err(|_| wrong("the port is not a number from 1 to 65535"))?;
        let port = port.get();
        let host = match url::Host::parse(host) {
            Ok(url::Host::Domain(name)) => name,
            Ok(_) => return Err(wrong("the host is an address already")),
            Err(_) => return Err(wrong("the host is not a name")),
        };
        let addresses = addresses
            .split(',')
            .map(|text| {
                let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
                if let Ok(ip) = bare.parse::<IpAddr>() {
                    return Ok(SocketAddr::new(ip, port));
                }
                let address: SocketAddr = text.parse().map_err(|_| wrong("the address is not an IP address"))?;
                if address.port() == 0 { Err(wrong("no request goes to port 0")) } else { Ok(address) }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { host, port, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_reads_as_curl_does() {
        let r: Resolve = "Slack.com:443:127.0.0.1".parse().unwrap();
        assert_eq!((r.host.as_str(), r.port, r.addresses), ("slack.com", 443, vec!["127.0.0.1:443".parse().unwrap()]));
        let r: Resolve = "slack.com:443:127.0.0.1:8443".parse().unwrap();
        assert_eq!(r.addresses, ["127.0.0.1:8443".parse().unwrap()]);
        let r: Resolve = "slack.com:443:[::1]:8443,[::2],::3".parse().unwrap();
        assert_eq!(r.addresses.len(), 3);
        assert_eq!(r.addresses[1], "[::2]:443".parse().unwrap());
    }

    #[test]
    fn a_proxys_password_is_neither_taken_from_its_address_nor_shown() {
        assert!("http://proxy.example:3128".parse::<Proxy>().is_ok());
        for bad in ["proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://proxy:3128/path"] {
            assert!(bad.parse::<Proxy>().is_err(), "{bad}");
        }
        for bad in ["http://me:hunter2@proxy:3128", "https://me:hunter2@proxy:3128/x", "http://me:hunter2@proxy:99999"]
        {
            let error = bad.parse::<Proxy>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let credentials = Some(Secret::new("me:hunter2".to_owned()));
        let proxy = Proxy { credentials, ..("http://proxy:3128".parse().unwrap()) };
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }

    #[test]
    fn a_resolve_that_cannot_hold_is_refused() {
        for bad in [
            "slack.com",
            "slack.com:443",
            "slack.com:x:127.0.0.1",
            "1.2.3.4:443:127.0.0.1",
            "a.b:443:nope",
            "a.b:0:127.0.0.1",
            "a.b:443:127.0.0.1:0",
        ] {
            assert!(bad.parse::<Resolve>().is_err(), "{bad}");
        }
    }
}
