//! The operator's word on where requests may go: `--resolve`, `--ca-cert`,
//! `--allow-range` and how strictly the audit is kept.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::audit::AuditMode;

/// Settings of the way out. The default opens nothing.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Where names lead, instead of asking the resolver.
    pub resolve: Vec<Resolve>,
    /// Certificate authorities to trust beside the system's, each file's PEM text.
    pub ca_certs: Vec<String>,
    /// Ranges that requests may reach although they are not globally routable.
    pub allow_ranges: Vec<IpNet>,
    /// How strictly the audit is kept.
    pub audit: AuditMode,
}

/// One `HOST:PORT:ADDR`, as curl's `--resolve` has it. `ADDR` may carry a port of its
/// own, `ADDR:PORT`, where `HOST`'s is 443 or 80.
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
        let port: u16 = port.parse().map_err(|_| wrong("the port is not a number from 1 to 65535"))?;
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
                // The HTTP client lets a URL's explicit port win over the address's.
                if address.port() != port && port != 443 && port != 80 {
                    return Err(wrong("only ports 443 and 80 can lead to another port"));
                }
                Ok(address)
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
    fn a_resolve_that_cannot_hold_is_refused() {
        for bad in ["slack.com", "slack.com:443", "slack.com:x:127.0.0.1", "1.2.3.4:443:127.0.0.1", "a.b:443:nope"] {
            assert!(bad.parse::<Resolve>().is_err(), "{bad}");
        }
        assert!("a.b:8080:127.0.0.1:9".parse::<Resolve>().is_err());
    }
}
