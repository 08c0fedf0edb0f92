//! Where no request goes, whoever sends it: addresses that are not public, hosts that the operator closed, and
//! Keyhole itself.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use url::{Host, Url};

use super::error::Closed;
use crate::broker::address::AddressPolicy;
use crate::broker::egress::{ClosedHost, Own};

/// The operator's word on it.
pub(super) struct Gate {
    pub(super) addresses: AddressPolicy,
    pub(super) hosts: Vec<ClosedHost>,
    pub(super) own: Own,
}

impl Gate {
    /// What can be said of a URL before its name is resolved.
    pub(super) fn url(&self, url: &Url) -> Result<(), Closed> {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Ok(()) };
        // The root dot makes it another name to us, and the same one to DNS.
        let host = match host {
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name)),
            address => address,
        };
        if self.hosts.iter().any(|closed| closed.closes(&host, port)) {
            return Err(Closed::Host(host.to_string()));
        }
        match host {
            // A literal never reaches the resolver, so it is checked here.
            Host::Ipv4(ip) => self.address(SocketAddr::new(ip.into(), port)),
            Host::Ipv6(ip) => self.address(SocketAddr::new(ip.into(), port)),
            Host::Domain(name) if self.own.names.iter().any(|own| own.0 == name && own.1 == port) => {
                Err(Closed::OwnName(format!("{name}:{port}")))
            }
            Host::Domain(_) => Ok(()),
        }
    }

    /// Whether a connection may go to `address`.
    pub(super) fn address(&self, address: SocketAddr) -> Result<(), Closed> {
        // The client would take it for its own choice of port.
        if address.port() == 0 {
            return Err(Closed::PortZero);
        }
        self.addresses.check(address.ip())?;
        // Closed is closed, whatever name leads there.
        let canonical = match address.ip().to_canonical() {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        if self.hosts.iter().any(|closed| closed.closes(&canonical, address.port())) {
            return Err(Closed::Host(address.ip().to_string()));
        }
        let own = |own: &SocketAddr| own.port() == address.port() && reaches(address.ip(), own.ip());
        if self.own.listen.iter().any(own) { Err(Closed::Own(address)) } else { Ok(()) }
    }
}

/// Whether a connection to `address` reaches who listens on `own`.
fn reaches(address: IpAddr, own: IpAddr) -> bool {
    let (address, own) = (address.to_canonical(), own.to_canonical());
    // Connecting to the unspecified address connects to this machine.
    address == own || address.is_unspecified() || (own.is_unspecified() && is_local(address))
}

/// Whether `address` is one of this machine's: only to those can a socket be bound.
fn is_local(address: IpAddr) -> bool {
    let not_ours = |error: io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
    address.is_loopback() || !UdpSocket::bind((address, 0)).is_err_and(not_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(listen: &str, hosts: &[&str]) -> Gate {
        Gate {
            addresses: AddressPolicy { allowed: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()] },
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            own: Own { listen: listen.parse().into_iter().collect(), names: vec![("keyhole.example".to_owned(), 443)] },
        }
    }

    fn open(gate: &Gate, url: &str) -> bool {
        gate.url(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn keyholes_own_address_is_closed_in_every_form_and_its_neighbours_are_not() {
        let narrow = gate("127.0.0.1:8471", &[]);
        for own in
            ["http://127.0.0.1:8471/", "http://[::ffff:127.0.0.1]:8471/", "http://0.0.0.0:8471/", "http://[::]:8471/"]
        {
            assert!(!open(&narrow, own), "{own}");
        }
        for other in ["http://127.0.0.1:8472/", "http://127.0.0.2:8471/", "http://192.0.2.1:8471/"] {
            assert!(open(&narrow, other), "{other}");
        }
        let wide = gate("0.0.0.0:8471", &[]);
        for own in ["http://127.0.0.1:8471/", "http://127.9.9.9:8471/", "http://[::1]:8471/", "http://0.0.0.0:8471/"] {
            assert!(!open(&wide, own), "{own}");
        }
        assert!(open(&wide, "http://192.0.2.1:8471/"));
        assert!(!open(&wide, "http://192.0.2.1:0/"));
        assert!(!open(&wide, "https://keyhole.example/"));
        assert!(open(&wide, "https://keyhole.example:8443/"));
    }

    #[test]
    fn a_closed_host_is_closed_at_every_port_unless_one_is_named() {
        let gate = gate("", &["evil.example", "*.internal", "half.example:8443", "192.0.2.7"]);
        for closed in [
            "https://evil.example/",
            "http://evil.example:99/",
            "https://a.b.internal/",
            "https://evil.example./",
            "https://[::ffff:192.0.2.7]/",
            "https://half.example:8443/",
            "https://192.0.2.7/",
        ] {
            assert!(!open(&gate, closed), "{closed}");
        }
        for other in ["https://good.evil.example/", "https://internal/", "https://half.example/"] {
            assert!(open(&gate, other), "{other}");
        }
    }
}
