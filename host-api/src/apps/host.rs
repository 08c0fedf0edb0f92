//! Which hosts a definition names. Every name goes through `url::Host`, the parser that
//! requests go through too, so that what is checked and what is connected to cannot
//! differ. Nothing in here resolves a name or opens a connection.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::template::{Piece, Template, TemplateError, is_field_name};

/// Whether hosts may be IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Names alone.
    Refused,
    /// Names and IP addresses: `allow_ip = true` in an operator's definition.
    Allowed,
}

/// Hosts that a request may go to: `api.example.com`, `*.example.com`, each with an
/// optional `:port`. Without one, the port is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Hosts {
    /// This name.
    Exact(String),
    /// Every name that ends with this, which begins with a dot.
    Under(String),
    Address(IpAddr),
}

/// Why a host was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No URL could have this host.
    #[error("'{0}' is not a host name; write it as in api.example.com, without a scheme, a path or a user name")]
    Syntax(String),
    /// A name with its root dot is another name to TLS and to a host check.
    #[error("'{0}' ends with a dot; leave the dot out")]
    TrailingDot(String),
    /// An address in any notation.
    #[error("'{0}' is an IP address; name a host, or let an operator's definition set allow_ip = true")]
    Address(String),
    /// A port that is none.
    #[error("'{0}' has no port from 1 to 65535 after its ':'")]
    Port(String),
    /// A `*` that is not the whole first label.
    #[error("'{0}' has a '*' that is not a leading '*.'; only whole labels can be wild, and only the first")]
    Wildcard(String),
    /// Anyone can have a host there.
    #[error("'{0}' is a public suffix: anyone can register a name under it; name the vendor's own host")]
    PublicSuffix(String),
    /// A wildcard above zones that anyone can register in.
    #[error("'{0}' has public suffixes under it, where anyone can have a host; name the hosts that are needed")]
    HoldsPublicSuffixes(String),
    /// A value that would be more, or other, than labels of a host.
    #[error("{field} cannot be part of a host: use letters, digits and '-' alone (and no '-' at either end)")]
    FieldValue {
        /// The field.
        field: String,
    },
    /// A value that is no address of a service, or one that two parsers could read differently.
    #[error("{field} must be the address of the service, as in https://acme.example.com: https, and a host's name")]
    FieldUrl {
        /// The field.
        field: String,
    },
    /// A field that the host needs is not given.
    #[error("the host '{template}' needs the field {field}, which has no value")]
    MissingField {
        /// The host's template.
        template: String,
        /// The field.
        field: String,
    },
    /// The text is not a template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl HostPattern {
    /// Parses a name, or `*.` and a name, with an optional port. IP addresses and public
    /// suffixes are refused.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        Self::parse_as(text, Addresses::Refused)
    }

    /// Like [`HostPattern::parse`]; `addresses` says whether IP addresses are taken too.
    pub fn parse_as(text: &str, addresses: Addresses) -> Result<Self, HostError> {
        let pattern = Self::parse_signed(text, addresses)?;
        match &pattern.hosts {
            Hosts::Exact(host) if is_suffix(host) => Err(HostError::PublicSuffix(text.to_owned())),
            Hosts::Under(zone) if is_suffix(&zone[1..]) => Err(HostError::PublicSuffix(text.to_owned())),
            Hosts::Under(zone) if holds_suffixes(&zone[1..]) => Err(HostError::HoldsPublicSuffixes(text.to_owned())),
            _ => Ok(pattern),
        }
    }

    /// The same, public suffixes included: for requests that carry a signature and no credential. It is good
    /// at its own host alone, so nothing is lost at one that somebody else has.
    pub(super) fn parse_signed(text: &str, addresses: Addresses) -> Result<Self, HostError> {
        let pattern = Self::parse_closed(text, addresses)?;
        match &pattern.hosts {
            Hosts::Under(zone) if !zone[1..].contains('.') => Err(HostError::PublicSuffix(text.to_owned())),
            _ => Ok(pattern),
        }
    }

    /// The same, whole top-level domains included: for hosts that are closed rather than opened.
    pub(crate) fn parse_closed(text: &str, addresses: Addresses) -> Result<Self, HostError> {
        let (name, port) = split_port(text)?;
        let Some(zone) = name.strip_prefix("*.") else {
            return Ok(Self { hosts: exact(name, addresses)?, port });
        };
        match exact(zone, Addresses::Refused)? {
            Hosts::Exact(zone) => Ok(Self { hosts: Hosts::Under(format!(".{zone}")), port }),
            _ => Err(HostError::Address(text.to_owned())),
        }
    }

    /// Whether `host` is one of these, whatever the port.
    pub fn matches(&self, host: &Host<&str>) -> bool {
        match (&self.hosts, host) {
            (Hosts::Exact(name), Host::Domain(host)) => name == host,
            // At least one label before the zone, and no empty one.
            (Hosts::Under(zone), Host::Domain(host)) => {
                host.strip_suffix(zone.as_str()).is_some_and(|labels| labels.split('.').all(|l| !l.is_empty()))
            }
            (Hosts::Address(ip), Host::Ipv4(host)) => *ip == IpAddr::V4(*host),
            (Hosts::Address(ip), Host::Ipv6(host)) => *ip == IpAddr::V6(*host),
            _ => false,
        }
    }

    /// Whether `url` goes to one of these hosts at the right port. The scheme is
    /// [`App::allows_scheme`](super::App::allows_scheme)'s to check.
    pub fn matches_url(&self, url: &Url) -> bool {
        let own = match url.scheme() {
            "https" => 443,
            "http" => 80,
            _ => return false,
        };
        url.port().unwrap_or(own) == self.port.unwrap_or(own) && url.host().is_some_and(|host| self.matches(&host))
    }

    /// The port, where it is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this begins with `*.`.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.hosts, Hosts::Under(_))
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostError;

    /// What was written once is read again, an address too: whoever wrote it had checked.
    fn try_from(text: String) -> Result<Self, HostError> {
        Self::parse_as(&text, Addresses::Allowed)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Exact(name) => f.write_str(name)?,
            Hosts::Under(zone) => write!(f, "*{zone}")?,
            Hosts::Address(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            Hosts::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_bracket..].split_once(':') {
        None => Ok((text, None)),
        Some((_, digits)) => {
            let wrong = || HostError::Port(text.to_owned());
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            match digits.parse() {
                Ok(0) | Err(_) => Err(wrong()),
                Ok(port) => Ok((&text[..text.len() - digits.len() - 1], Some(port))),
            }
        }
    }
}

/// `name` as one host.
fn exact(name: &str, addresses: Addresses) -> Result<Hosts, HostError> {
    let syntax = || HostError::Syntax(name.to_owned());
    if name.contains('*') {
        return Err(HostError::Wildcard(name.to_owned()));
    }
    // `url` percent-decodes a host, drops tabs and maps full stops of other scripts. It
    // is right to; but nobody means it in a definition.
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || "%/\\@?#".contains(c)) {
        return Err(syntax());
    }
    let host = match Host::parse(name).map_err(|_| syntax())? {
        Host::Domain(host) => host,
        Host::Ipv4(ip) if addresses == Addresses::Allowed => return Ok(Hosts::Address(ip.into())),
        Host::Ipv6(ip) if addresses == Addresses::Allowed => return Ok(Hosts::Address(ip.into())),
        Host::Ipv4(_) | Host::Ipv6(_) => return Err(HostError::Address(name.to_owned())),
    };
    if host.ends_with('.') {
        return Err(HostError::TrailingDot(name.to_owned()));
    }
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(syntax());
    }
    Ok(Hosts::Exact(host))
}

/// A label as DNS has it, and the underscore that some private networks use.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether `host` is on the public-suffix list, private section included.
fn is_suffix(host: &str) -> bool {
    psl::suffix(host.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix.as_bytes().len() == host.len())
}

/// Whether the public-suffix list has entries below `zone`.
///
/// The list's look-up takes labels from the right and asks for another one only while
/// there are longer entries: so, whether it asks for one beyond `zone`'s own.
fn holds_suffixes(zone: &str) -> bool {
    let mut asked = false;
    let labels = zone.rsplit('.').map(str::as_bytes).chain(std::iter::from_fn(|| {
        asked = true;
        None
    }));
    psl::Psl::find(&psl::List, labels);
    asked
}

/// A host with an account's fields in it: `{subdomain}.zendesk.com`. Or that of a field which holds a whole URL:
/// `{instance_url.host}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    template: Template,
    addresses: Addresses,
    /// Whether what goes there carries a signature and no credential.
    signed: bool,
    /// Whether the field holds a URL, of which this is the host.
    of_url: bool,
    /// What it comes to for every account, if it has no fields.
    fixed: Option<HostPattern>,
}

impl HostTemplate {
    /// Parses a host pattern with fields. One without a field must be a pattern already;
    /// one with fields must not leave a public registry's suffix as its fixed end.
    pub fn parse(text: &str, addresses: Addresses) -> Result<Self, HostError> {
        Self::parse_for(text, addresses, false)
    }

    /// The same, public suffixes included, as `HostPattern::parse_signed` has it.
    pub(super) fn parse_signed(text: &str, addresses: Addresses) -> Result<Self, HostError> {
        Self::parse_for(text, addresses, true)
    }

    fn parse_for(text: &str, addresses: Addresses, signed: bool) -> Result<Self, HostError> {
        let url =
            text.strip_prefix('{').and_then(|rest| rest.strip_suffix(".host}")).filter(|name| is_field_name(name));
        let (template, of_url) = match url {
            Some(name) => (Template::of_field(name), true),
            None => (Template::parse(text)?, false),
        };
        let mut this = Self { template, addresses, signed, of_url, fixed: None };
        // A stand-in of one label, so that all that does not depend on a value is checked now.
        let stand_in = if this.whole().is_some() { "a.invalid" } else { "a" };
        let rendered = this.template.render(|_| Some(stand_in)).unwrap_or_default();
        let pattern = this.pattern(&rendered).map_err(|error| error.about(text))?;
        if this.template.fields().next().is_none() {
            this.fixed = Some(pattern);
        } else if this.whole().is_none() {
            this.check_end(text)?;
        }
        Ok(this)
    }

    fn pattern(&self, text: &str) -> Result<HostPattern, HostError> {
        match self.signed {
            true => HostPattern::parse_signed(text, self.addresses),
            false => HostPattern::parse_as(text, self.addresses),
        }
    }

    /// `{x}.com` would let the account's owner name any host: refused. `{shop}.myshopify.com`
    /// is a vendor's zone for its tenants, though the list has it, too.
    fn check_end(&self, text: &str) -> Result<(), HostError> {
        let end = match self.template.pieces().last() {
            Some(Piece::Text(end)) => split_port(end)?.0,
            _ => "",
        };
        let zone = match end.split_once('.') {
            Some((_, zone)) => zone,
            None => "",
        };
        let registry = psl::suffix(zone.as_bytes())
            .is_some_and(|s| s.typ() == Some(psl::Type::Icann) && s.as_bytes().len() == zone.len());
        if registry || !zone.contains('.') {
            return Err(HostError::PublicSuffix(text.to_owned()));
        }
        Ok(())
    }

    /// The names of the fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.template.fields()
    }

    /// The field that is the whole name, as in `{host}` or `{host}:8443`; or, for signed requests, `*.{host}`.
    pub fn whole(&self) -> Option<&str> {
        match self.template.pieces() {
            [Piece::Field(name)] => Some(name),
            [Piece::Text(any), Piece::Field(name)] if self.signed && any == "*." => Some(name),
            [Piece::Field(name), Piece::Text(port)] if port.starts_with(':') => Some(name),
            _ => None,
        }
    }

    /// Whether its field holds a URL, of which this is the host.
    pub fn is_of_url(&self) -> bool {
        self.of_url
    }

    /// The hosts of an account with these fields. A value that would be more than labels
    /// of a host is refused, so that no field can smuggle a host, a port or a path.
    pub fn resolve(&self, fields: &BTreeMap<String, String>) -> Result<HostPattern, HostError> {
        if let Some(pattern) = &self.fixed {
            return Ok(pattern.clone());
        }
        let whole = self.whole().is_some();
        for field in self.template.fields() {
            let value = fields.get(field).ok_or_else(|| HostError::MissingField {
                template: self.template.to_string(),
                field: field.to_owned(),
            })?;
            if self.of_url {
                return self.host_in(field, value);
            }
            let fits = if whole { !value.contains([':', '*']) } else { is_label(value) && !value.contains('_') };
            if !fits {
                return Err(HostError::FieldValue { field: field.to_owned() });
            }
        }
        let text = self.template.render(|field| fields.get(field).map(String::as_str)).unwrap_or_default();
        let pattern = self.pattern(&text)?;
        // What `url` made of it must be what was written: no mapping, no decoding.
        if !pattern.to_string().eq_ignore_ascii_case(&text) {
            return Err(HostError::Syntax(text));
        }
        Ok(pattern)
    }
}

impl HostTemplate {
    /// The host of the URL that `field` holds. Only one that stands there to the letter: whatever else reads the URL
    /// must read the same.
    fn host_in(&self, field: &str, value: &str) -> Result<HostPattern, HostError> {
        let wrong = || HostError::FieldUrl { field: field.to_owned() };
        let rest = value.strip_prefix("https://").ok_or_else(wrong)?;
        let authority = rest.split(['/', '?', '#']).next().filter(|host| !host.contains('*')).ok_or_else(wrong)?;
        let pattern = self.pattern(authority)?;
        let url = Url::parse(value).map_err(|_| wrong())?;
        let same = pattern.to_string().eq_ignore_ascii_case(authority) && pattern.matches_url(&url);
        if same { Ok(pattern) } else { Err(wrong()) }
    }
}

impl HostError {
    /// The same reason, told of the template rather than of its stand-in.
    fn about(self, text: &str) -> Self {
        let text = text.to_owned();
        match self {
            Self::Syntax(_) => Self::Syntax(text),
            Self::TrailingDot(_) => Self::TrailingDot(text),
            Self::Address(_) => Self::Address(text),
            Self::Port(_) => Self::Port(text),
            Self::Wildcard(_) => Self::Wildcard(text),
            Self::PublicSuffix(_) => Self::PublicSuffix(text),
            Self::HoldsPublicSuffixes(_) => Self::HoldsPublicSuffixes(text),
            other => other,
        }
    }
}

impl fmt::Display for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whole().filter(|_| self.of_url) {
            Some(field) => write!(f, "{{{field}.host}}"),
            None => self.template.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_matches_its_hosts_and_no_others() {
        let table = [
            ("api.example.com", "https://api.example.com/", true),
            ("api.example.com", "https://API.EXAMPLE.COM/", true),
            ("API.Example.com", "https://api.example.com/", true),
            ("api.example.com", "https://api.example.com:443/", true),
            ("api.example.com", "http://api.example.com/", true),
            ("api.example.com", "https://api.example.com:444/", false),
            ("api.example.com:444", "https://api.example.com:444/", true),
            ("api.example.com:444", "https://api.example.com/", false),
            ("api.example.com", "https://api.example.com./", false),
            ("api.example.com", "https://api.example.com.evil.com/", false),
            ("api.example.com", "https://api.example.com@evil.com/", false),
            ("api.example.com", "https://evil.com/api.example.com", false),
            ("api.example.com", "https://evil.com\\@api.example.com/", false),
            ("api.example.com", "https://evil.com#api.example.com", false),
            ("api.example.com", "https://apixexample.com/", false),
            ("api.example.com", "https://ap%69.example.com/", true),
            ("api.example.com", "https://а\u{0440}i.example.com/", false), // Cyrillic
            ("api.example.com", "https://api.example。com/", true),        // the ideographic stop is a stop
            ("api.example.com", "ftp://api.example.com/", false),
            ("*.example.com", "https://a.example.com/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://.example.com/", false),
            ("*.example.com", "https://aexample.com/", false),
            ("*.example.com", "https://a.example.com.evil.com/", false),
            ("bücher.example", "https://xn--bcher-kva.example/", true),
        ];
        for (pattern, address, expected) in table {
            let Ok(address) = Url::parse(address) else { continue };
            assert_eq!(HostPattern::parse(pattern).unwrap().matches_url(&address), expected, "{pattern} {address}");
        }
    }

    #[test]
    fn public_suffixes_are_refused_private_section_included() {
        for text in [
            "com",
            "co.uk",
            "github.io",
            "herokuapp.com",
            "s3.amazonaws.com",
            "myshopify.com",
            "公司.cn",
            "xn--55qx5d.cn",
            "foo.ck",
            "vercel.app",
            "*.github.io",
            "*.com",
            "*.co.uk",
            "*.herokuapp.com",
            "*.vercel.app",
            "*.公司.cn",
            "*.s3.amazonaws.com",
            "*.localhost",
            "*.internal",
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(matches!(error, HostError::PublicSuffix(_)), "{text}: {error}");
        }
        // The vendor runs these zones, but lets anyone have a host below them.
        for text in ["*.amazonaws.com", "*.windows.net", "*.fastly.net"] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(matches!(error, HostError::HoldsPublicSuffixes(_)), "{text}: {error}");
        }
        for text in ["*.slack.com", "acme.github.io", "*.acme.github.io", "*.zendesk.com", "sts.amazonaws.com"] {
            HostPattern::parse(text).unwrap();
        }
    }

    #[test]
    fn addresses_are_refused_in_every_notation_unless_allowed() {
        for text in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0x7f.1",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "１２７.0.0.1",
            "127.0.0.1:8080",
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(matches!(error, HostError::Address(_)), "{text}: {error}");
        }
        let v4 = HostPattern::parse_as("127.0.0.1:8080", Addresses::Allowed).unwrap();
        assert!(v4.matches_url(&url("http://127.0.0.1:8080/")));
        assert!(v4.matches_url(&url("http://0x7f.1:8080/")), "the same address to one parser");
        let v6 = HostPattern::parse_as("[::1]:8443", Addresses::Allowed).unwrap();
        assert!(v6.matches_url(&url("https://[::1]:8443/")));
        assert_eq!(v6.to_string(), "[::1]:8443");
        assert!(HostPattern::parse_as("*.127.0.0.1", Addresses::Allowed).is_err());
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a.b",
            "a.b.",
            "a.b..",
            "https://a.b",
            "a.b/",
            "a.b/c",
            "u@a.b",
            "a.b?x",
            "a.b#x",
            "a b.c",
            "a.b\n",
            "a\t.b",
            "a%2eb.c",
            "a\\b.c",
            "-a.b",
            "a-.b",
            "*",
            "*.",
            "**.a.b",
            "a.*.b",
            "*a.b.c",
            "*.*.a.b",
            "a.b:",
            "a.b:0",
            "a.b:65536",
            "a.b:x",
            "a.b:80:80",
            "a.b:+80",
            "::1",
            "[::1",
            "a\0.b",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
        let long = format!("{}.com", "a".repeat(64));
        assert!(HostPattern::parse(&long).is_err());
    }

    #[test]
    fn a_pattern_survives_being_written_and_read() {
        for text in ["api.example.com", "*.example.com:8443", "xn--bcher-kva.example"] {
            let pattern = HostPattern::parse(text).unwrap();
            let json = serde_json::to_string(&pattern).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<HostPattern>(&json).unwrap(), pattern);
        }
    }

    #[test]
    fn no_field_smuggles_a_host() {
        let subdomain = HostTemplate::parse("{subdomain}.zendesk.com", Addresses::Refused).unwrap();
        let with = |value: &str| subdomain.resolve(&BTreeMap::from([("subdomain".to_owned(), value.to_owned())]));
        assert_eq!(with("acme").unwrap().to_string(), "acme.zendesk.com");
        assert_eq!(with("ACME-1").unwrap().to_string(), "acme-1.zendesk.com");
        for evil in [
            "",
            "evil.com/",
            "evil.com#",
            "evil.com?",
            "evil.com\\",
            "a.b",
            "a.b@c",
            "x#",
            "..",
            ".",
            "a.",
            ".a",
            "x:1",
            "a@b",
            "evil.com:443/",
            "%2e",
            "a%2Fb",
            "a/b",
            "a b",
            "a\tb",
            "a\nb",
            "a\0",
            "*",
            "*.a",
            "-a",
            "a-",
            "a_b",
            "аcme",
            "ａ",
            "a。b",
            "ß",
            "xn--",
            "xn--a",
            "\u{200d}",
            "\u{ad}",
        ] {
            assert!(with(evil).is_err(), "{evil:?} gave {:?}", with(evil).map(|p| p.to_string()));
        }
        assert!(with(&"a".repeat(64)).is_err());
        assert!(matches!(subdomain.resolve(&BTreeMap::new()), Err(HostError::MissingField { .. })));
    }

    #[test]
    fn a_field_that_is_the_whole_host_is_held_to_the_rules_of_hosts() {
        let host = HostTemplate::parse("{host}:8443", Addresses::Refused).unwrap();
        let with = |value: &str| host.resolve(&BTreeMap::from([("host".to_owned(), value.to_owned())]));
        assert_eq!(with("git.example.org").unwrap().to_string(), "git.example.org:8443");
        for evil in
            ["*.example.org", "github.io", "com", "10.0.0.1", "0x7f.1", "a.b:80", "a.b/", "u@a.b", "a.b.", "[::1]", ""]
        {
            assert!(with(evil).is_err(), "{evil:?}");
        }
    }

    #[test]
    fn the_host_of_a_url_is_held_to_the_rules_of_hosts() {
        let host = HostTemplate::parse("{instance_url.host}", Addresses::Refused).unwrap();
        assert_eq!(
            (host.to_string().as_str(), host.whole(), host.is_of_url()),
            ("{instance_url.host}", Some("instance_url"), true)
        );
        let with = |value: &str| host.resolve(&BTreeMap::from([("instance_url".to_owned(), value.to_owned())]));
        for (value, expected) in [
            ("https://acme.my.example.com", "acme.my.example.com"),
            ("https://Acme.example.org/api/v2?a=b#c", "acme.example.org"),
            ("https://n8n.example.org:8443/", "n8n.example.org:8443"),
        ] {
            assert_eq!(with(value).unwrap().to_string(), expected, "{value}");
        }
        for evil in [
            "",
            "acme.example.org",
            "http://acme.example.org",
            "ftp://acme.example.org",
            "javascript:x",
            "https:acme.example.org",
            "https:/acme.example.org",
            "https:///acme.example.org",
            "https://",
            "https://u@acme.example.org",
            "https://u:p@acme.example.org/",
            "https://good.example.org@evil.com",
            "https://evil.com\\@good.example.org",
            "https://evil.com\\.good.example.org",
            " https://acme.example.org",
            "https://acme.example.org /",
            "https://acme\t.example.org",
            "https://acme.example.org.",
            "https://*.example.org",
            "https://github.io",
            "https://com/",
            "https://10.0.0.1/",
            "https://0x7f.1",
            "https://[::1]/",
            "https://acme%2eexample.org",
            "https://аcme.example.org",
            "https://acme。example.org",
            "https://acme.example.org:0",
            "https://acme.example.org:x/",
        ] {
            assert!(with(evil).is_err(), "{evil:?} gave {:?}", with(evil).map(|p| p.to_string()));
        }
        for text in ["{a.host}.example.com", "*.{a.host}", "{a.host}:8443", "{a.port}", "{.host}", "{a.b.host}"] {
            assert!(HostTemplate::parse(text, Addresses::Refused).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_whose_fixed_end_anyone_can_register_under_is_refused() {
        for text in
            ["{x}.com", "{x}.co.uk", "a.{x}.com", "{x}", "{x}.example", "{x}.{y}", "a.{x}", "*.{x}", "a-{x}.com:8443"]
        {
            let parsed = HostTemplate::parse(text, Addresses::Refused);
            assert_eq!(parsed.is_ok(), text == "{x}", "{text}");
        }
        for text in
            ["{x}.zendesk.com", "{x}.myshopify.com", "api-{x}.example.com", "*.{x}.example.com", "{x}.{y}.example.com"]
        {
            HostTemplate::parse(text, Addresses::Refused).unwrap();
        }
    }
}
