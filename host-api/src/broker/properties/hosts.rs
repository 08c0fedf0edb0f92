//! The host that is checked is the host that is connected to and whose name the certificate must have, whatever a step
//! writes for a URL; and a pattern matches no host but those that it names, label by label.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use super::super::policy;
use crate::apps::{Addresses, HostPattern};

/// Takes a URL in the first line, and patterns of hosts in the others.
pub fn hosts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (uri, patterns) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(uri) = uri.parse::<Uri>() else { return };
    // The step's own library has its URL from the same parser, and so has wasmtime.
    let Ok(url) = policy::url(&uri) else { return };
    same_destination(&uri, &url);
    for text in patterns.lines().take(8) {
        matches_as_labels(text, &url);
    }
    // The host itself as a pattern, with more before it, and with more in its first label.
    let host = url.host_str().unwrap_or_default();
    for text in [host.to_owned(), format!("*.{host}"), format!("a{host}"), format!("a.{host}")] {
        matches_as_labels(&text, &url);
    }
    if let Some((_, zone)) = host.split_once('.') {
        matches_as_labels(&format!("*.{zone}"), &url);
        matches_as_labels(zone, &url);
    }
}

/// What the client makes of the URL that was checked is what the step wrote, in every part that decides where it goes.
fn same_destination(uri: &Uri, url: &Url) {
    // The client parses the URL once more, by hyper's parser.
    let sent: Uri = url.as_str().parse().unwrap_or_else(|error| panic!("{url} can't be sent: {error}"));
    assert_eq!(sent.scheme_str(), Some(url.scheme()), "{uri}");
    assert!(uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case(url.scheme())), "{uri}: {url}");
    assert_eq!(sent.host(), url.host_str(), "{uri}");
    assert!(uri.host().is_some_and(|host| Some(&*host.to_ascii_lowercase()) == url.host_str()), "{uri}: {url}");
    let own = if url.scheme() == "https" { 443 } else { 80 };
    assert_eq!(sent.port_u16().unwrap_or(own), url.port_or_known_default().unwrap_or(0), "{uri}: {url}");
    assert_eq!(uri.port_u16().unwrap_or(own), url.port_or_known_default().unwrap_or(0), "{uri}: {url}");
    assert_eq!(sent.path(), url.path(), "{uri}");
    assert_eq!(sent.query(), url.query(), "{uri}");
    let authority = sent.authority().map(|authority| authority.as_str()).unwrap_or_default();
    assert!(!authority.contains('@'), "{uri}: {url} is sent to {authority}");

    // hyper's connector takes what parses as an address for one, without asking the resolver, which has the guard.
    let host = sent.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let literal =
        bare.parse::<Ipv4Addr>().map(IpAddr::from).or_else(|_| bare.parse::<Ipv6Addr>().map(IpAddr::from)).ok();
    let checked = match url.host() {
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
        _ => None,
    };
    assert_eq!(literal, checked, "{uri}: {url}");
    // hyper-rustls gives rustls the same host without brackets. What is no name to it gets no connection.
    match (ServerName::try_from(bare), checked) {
        (Ok(ServerName::DnsName(name)), None) => assert_eq!(name.as_ref(), bare, "{uri}"),
        (Ok(ServerName::IpAddress(ip)), Some(checked)) => assert_eq!(IpAddr::from(ip), checked, "{uri}"),
        (Ok(other), _) => panic!("{uri}: the certificate would have to name {other:?}"),
        (Err(_), _) => {}
    }
}

/// A pattern and the URL's host, compared as lists of labels from the right.
fn matches_as_labels(text: &str, url: &Url) {
    let Ok(pattern) = HostPattern::parse_as(text, Addresses::Allowed) else { return };
    // As it was understood: lower case, in ASCII, each address in one notation.
    let shown = pattern.to_string();
    let again = HostPattern::parse_as(&shown, Addresses::Allowed);
    assert_eq!(again.as_ref(), Ok(&pattern), "{text} is shown as {shown}");
    let own = if url.scheme() == "https" { 443 } else { 80 };
    let (name, port) = match shown.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().unwrap_or(0)),
        _ => (&*shown, own),
    };
    let host = url.host_str().unwrap_or_default();
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let fits = match name.strip_prefix("*.") {
        None => name == host || (address(name).is_some() && address(name) == address(host)),
        Some(zone) => {
            let (zone, host): (Vec<&str>, Vec<&str>) = (zone.rsplit('.').collect(), host.rsplit('.').collect());
            let below = host.len() > zone.len() && host[..zone.len()] == zone[..];
            below && matches!(url.host(), Some(Host::Domain(_))) && host.iter().all(|label| !label.is_empty())
        }
    };
    let expected = fits && url.port_or_known_default() == Some(port);
    assert_eq!(pattern.matches_url(url), expected, "{text} ({shown}) and {url}");
}
