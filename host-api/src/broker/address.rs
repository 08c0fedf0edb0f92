//! Which addresses requests may reach: globally routable ones, and the ranges that the
//! operator opened. What the IANA special-purpose registries (RFC 6890 and its
//! successors) list as not globally reachable is closed, in whatever tunnel form it
//! comes; so is what no registry has given out.
//!
//! This is about addresses alone: it must never resolve a name, nor trust the notation
//! in which an address was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A range of addresses that is not globally routable.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// What it is, as in "10.0.0.1 is `private`".
    pub name: &'static str,
    /// Where that is laid down.
    pub source: &'static str,
}

/// Ranges of IPv4: first address, prefix length. The first that fits names the address,
/// so a part stands before the whole.
const V4: &[([u8; 4], u8, Range)] = &[
    ([169, 254, 169, 254], 32, range("a cloud's metadata service", "RFC 3927")),
    ([100, 100, 100, 200], 32, range("a cloud's metadata service", "RFC 6598")),
    ([192, 0, 0, 192], 32, range("a cloud's metadata service", "RFC 6890")),
    // Routable by number, but answered by the hypervisor.
    ([168, 63, 129, 16], 32, range("a cloud's platform service", "Azure, virtual public IP")),
    ([0, 0, 0, 0], 8, range("this network", "RFC 791, section 3.2")),
    ([10, 0, 0, 0], 8, range("private", "RFC 1918")),
    ([100, 64, 0, 0], 10, range("carrier-grade NAT", "RFC 6598")),
    ([127, 0, 0, 0], 8, range("loopback", "RFC 1122, section 3.2.1.3")),
    ([169, 254, 0, 0], 16, range("link-local", "RFC 3927")),
    ([172, 16, 0, 0], 12, range("private", "RFC 1918")),
    ([192, 0, 0, 0], 24, range("for protocol assignments", "RFC 6890, section 2.1")),
    ([192, 0, 2, 0], 24, range("for documentation", "RFC 5737")),
    ([192, 88, 99, 0], 24, range("a 6to4 relay", "RFC 7526")),
    ([192, 168, 0, 0], 16, range("private", "RFC 1918")),
    ([198, 18, 0, 0], 15, range("for benchmarking", "RFC 2544")),
    ([198, 51, 100, 0], 24, range("for documentation", "RFC 5737")),
    ([203, 0, 113, 0], 24, range("for documentation", "RFC 5737")),
    ([224, 0, 0, 0], 4, range("multicast", "RFC 5771")),
    ([255, 255, 255, 255], 32, range("broadcast", "RFC 919, section 7")),
    ([240, 0, 0, 0], 4, range("reserved", "RFC 1112, section 4")),
];

/// Ranges of IPv6, in the same order. IPv4-mapped addresses never get here.
const V6: &[([u16; 8], u8, Range)] = &[
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, range("a cloud's metadata service", "RFC 4193")),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, range("a cloud's metadata service", "RFC 4193")),
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, range("unspecified", "RFC 4291, section 2.5.2")),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, range("loopback", "RFC 4291, section 2.5.3")),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, range("IPv4-compatible", "RFC 4291, section 2.5.5.1")),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, range("IPv4-translated", "RFC 2765, section 2.1")),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, range("local-use NAT64", "RFC 8215")),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, range("discard-only", "RFC 6666")),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, range("a dummy prefix", "RFC 9780")),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, range("Teredo", "RFC 4380")),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, range("for benchmarking", "RFC 5180")),
    ([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, range("ORCHID", "RFC 4843")),
    ([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, range("ORCHIDv2", "RFC 7343")),
    ([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, range("for drone identifiers", "RFC 9374")),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, range("for protocol assignments", "RFC 2928")),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, range("for documentation", "RFC 3849")),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, range("6to4", "RFC 3056")),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, range("for documentation", "RFC 9637")),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, range("for segment routing", "RFC 9602")),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, range("unique local", "RFC 4193")),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, range("link-local", "RFC 4291, section 2.5.6")),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, range("site-local", "RFC 3879")),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, range("multicast", "RFC 4291, section 2.7")),
];

/// IPv6 outside `2000::/3`, of which nothing is given out.
static NOT_UNICAST: Range = range("not global unicast", "RFC 4291, section 2.4");

const fn range(name: &'static str, source: &'static str) -> Range {
    Range { name, source }
}

fn in_v4(address: Ipv4Addr, first: [u8; 4], length: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    (u32::from(address) ^ u32::from(Ipv4Addr::from(first))) & mask == 0
}

fn in_v6(address: Ipv6Addr, first: [u16; 8], length: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    (u128::from(address) ^ u128::from(Ipv6Addr::from(first))) & mask == 0
}

/// The IPv4 address that a translator or tunnel between here and there would take out of
/// `address`: NAT64's well-known prefix (RFC 6052), or ISATAP (RFC 5214).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = address.octets();
    let segments = address.segments();
    let nat64 = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let isatap = segments[4] & !0x0200 == 0 && segments[5] == 0x5efe;
    (nat64 || isatap).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The range that keeps `address` from being globally routable; `None` if it is.
pub fn classify(address: IpAddr) -> Option<&'static Range> {
    match address.to_canonical() {
        IpAddr::V4(v4) => V4.iter().find(|(first, length, _)| in_v4(v4, *first, *length)).map(|(.., range)| range),
        IpAddr::V6(v6) => {
            if let Some((.., range)) = V6.iter().find(|(first, length, _)| in_v6(v6, *first, *length)) {
                return Some(range);
            }
            if let Some(inner) = embedded(v6) {
                if let Some(range) = classify(inner.into()) {
                    return Some(range);
                }
                // NAT64's prefix lies outside 2000::/3, and leads to a good address.
                if v6.segments()[0] == 0x64 {
                    return None;
                }
            }
            (!in_v6(v6, [0x2000, 0, 0, 0, 0, 0, 0, 0], 3)).then_some(&NOT_UNICAST)
        }
    }
}

/// What may be reached. The default: globally routable addresses alone.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Ranges that the operator opened.
    pub allowed: Vec<IpNet>,
}

impl AddressPolicy {
    /// Whether requests may go to `address`.
    ///
    /// An IPv4-mapped address is the IPv4 address that it maps, for the registry and for
    /// the operator's ranges. A translated or tunnelled one is opened only by a range of
    /// its own form: `127.0.0.0/8` does not open `64:ff9b::7f00:1`.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let Some(range) = classify(address) else { return Ok(()) };
        let address = address.to_canonical();
        if self.allowed.iter().any(|open| open.contains(&address)) {
            return Ok(());
        }
        Err(AddressRefused { address, range })
    }
}

/// An address that requests don't reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRefused {
    /// The address; an IPv4-mapped one as IPv4.
    pub address: IpAddr,
    /// What it is.
    pub range: &'static Range,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, range: Range { name, source } } = self;
        write!(f, "{address} is ")?;
        if let IpAddr::V6(v6) = address
            && let Some(inner) = embedded(*v6)
        {
            write!(f, "a form of {inner}, which is ")?;
        }
        let whole = IpNet::from(*address);
        write!(
            f,
            "{name} ({source}); requests reach public addresses only; to open it, the operator adds --allow-range {whole}"
        )
    }
}

impl std::error::Error for AddressRefused {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::{Host, Url};

    use super::*;

    /// The IANA registries, "Globally Reachable" being false or not applicable, and the
    /// ranges outside of them that RFC 4291 and RFC 5771 set apart. Written down once
    /// more and independently, as text.
    const CLOSED: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "168.63.129.16/32",
        "::/128",
        "::1/128",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:2::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "4000::/3",
        "8000::/1",
    ];

    fn closed() -> Vec<IpNet> {
        CLOSED.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn check(text: &str) -> Result<(), AddressRefused> {
        AddressPolicy::default().check(text.parse().unwrap())
    }

    #[test]
    fn bound_first_and_last_address_of_every_registered_range_are_refused() {
        for net in closed() {
            for address in [net.network(), net.broadcast()] {
                let refused = AddressPolicy::default().check(address);
                assert!(refused.is_err(), "{address} of {net}");
            }
        }
    }

    #[test]
    fn bound_neighbours_of_ranges_are_reachable() {
        for good in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "168.63.129.15",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2606:4700::1111",
            "2620:4f:8000::1",
            "3ffe:ffff::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn bound_every_tunnel_form_of_a_closed_address_is_refused() {
        for inner in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.168.1.1", "224.0.0.1"] {
            let v4: Ipv4Addr = inner.parse().unwrap();
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for (form, address) in [
                ("mapped", v4.to_ipv6_mapped()),
                ("compatible", Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low)),
                ("translated", Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low)),
                ("NAT64", Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
                ("local NAT64", Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low)),
                ("local NAT64, RFC 6052 /48", Ipv6Addr::new(0x64, 0xff9b, 1, high, low >> 8, low << 8, 0, 0)),
                ("6to4", Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)),
                ("Teredo server", Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0)),
                ("Teredo client", Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0, 0, !high, !low)),
                ("ISATAP", Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low)),
                ("ISATAP, universal", Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0x200, 0x5efe, high, low)),
            ] {
                assert!(AddressPolicy::default().check(address.into()).is_err(), "{form} of {inner}: {address}");
            }
        }
    }

    #[test]
    fn bound_an_opened_range_opens_that_form_alone() {
        let policy = AddressPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()] };
        let reaches = |text: &str| policy.check(text.parse().unwrap()).is_ok();
        assert!(reaches("127.0.0.1"));
        assert!(reaches("::ffff:127.0.0.1"), "the same address once canonical");
        for other in
            ["::1", "10.0.0.1", "64:ff9b::7f00:1", "::7f00:1", "2002:7f00:1::", "128.0.0.1.", "::ffff:10.0.0.1"]
        {
            let Ok(address) = other.parse() else { continue };
            assert!(policy.check(address).is_err(), "{other}");
        }
        let policy = AddressPolicy { allowed: vec!["64:ff9b::/96".parse().unwrap()] };
        assert!(policy.check("64:ff9b::7f00:1".parse().unwrap()).is_ok());
        assert!(policy.check("127.0.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_refusal_names_the_address_the_range_its_source_and_the_flag() {
        let text = check("10.1.2.3").unwrap_err().to_string();
        assert_eq!(
            text,
            "10.1.2.3 is private (RFC 1918); requests reach public addresses only; to open it, the operator adds \
             --allow-range 10.1.2.3/32"
        );
        let text = check("::ffff:169.254.169.254").unwrap_err().to_string();
        assert!(text.starts_with("169.254.169.254 is a cloud's metadata service (RFC 3927)"), "{text}");
        let text = check("64:ff9b::7f00:1").unwrap_err().to_string();
        assert!(text.contains("a form of 127.0.0.1, which is loopback"), "{text}");
        assert!(text.ends_with("--allow-range 64:ff9b::7f00:1/128"), "{text}");
        let text = check("fd00:ec2::254").unwrap_err().to_string();
        assert!(text.contains("metadata"), "{text}");
    }

    /// What `url` takes for an address, whatever notation it has, is an address here.
    #[test]
    fn bound_every_notation_that_a_url_knows_ends_in_this_check() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.0.0.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "0",
            "0.0.0.0",
            "0x0",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "169.254.43518",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap_or_else(|error| panic!("{host}: {error}"));
            let address: IpAddr = match url.host().unwrap() {
                Host::Ipv4(v4) => v4.into(),
                Host::Ipv6(v6) => v6.into(),
                Host::Domain(name) => panic!("{host} was taken for the name {name}"),
            };
            assert!(AddressPolicy::default().check(address).is_err(), "{host} is {address}");
        }
        for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]", "127.0.0.0.1", "0x100000000", "256.0.0.1", "127.0.0.08"] {
            assert!(Url::parse(&format!("https://{host}/")).is_err(), "{host}");
        }
    }

    fn expected_v4(address: Ipv4Addr) -> bool {
        closed().iter().any(|net| net.contains(&IpAddr::V4(address)))
    }

    #[test]
    fn bound_every_ipv4_block_of_256_agrees_with_the_registry() {
        // Every range but single addresses is at least a /24, so this is exhaustive.
        let singles = [[168, 63, 129], [255, 255, 255]];
        let nets: Vec<IpNet> = closed().into_iter().filter(|net| matches!(net, IpNet::V4(_))).collect();
        for block in 0..1_u32 << 24 {
            let [_, a, b, c] = block.to_be_bytes();
            if singles.contains(&[a, b, c]) {
                continue;
            }
            let address = Ipv4Addr::new(a, b, c, 77);
            let expected = nets.iter().any(|net| net.contains(&IpAddr::V4(address)));
            assert_eq!(classify(address.into()).is_some(), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn bound_ipv4_agrees_with_the_registry(bits: u32) {
            let address = Ipv4Addr::from(bits);
            prop_assert_eq!(classify(address.into()).is_some(), expected_v4(address));
            let mapped = classify(address.to_ipv6_mapped().into());
            prop_assert_eq!(mapped, classify(address.into()));
        }

        #[test]
        fn bound_ipv6_agrees_with_the_registry(
            bits: u128,
            near in proptest::option::of((0..CLOSED.len(), 0..128_u32)),
        ) {
            // Half of the cases lie in or next to a registered range.
            let bits = match near {
                Some((net, bit)) => match closed()[net] {
                    IpNet::V6(net) => (u128::from(net.network()) | (bits & u128::from(net.hostmask()))) ^ (1 << bit),
                    IpNet::V4(_) => bits,
                },
                None => bits,
            };
            let address = Ipv6Addr::from(bits);
            if let Some(v4) = address.to_ipv4_mapped() {
                prop_assert_eq!(classify(address.into()).is_some(), expected_v4(v4));
                return Ok(());
            }
            let listed = closed().iter().any(|net| net.contains(&IpAddr::V6(address)));
            let inner = embedded(address).is_some_and(expected_v4);
            let nat64 = bits >> 32 == 0x0064_ff9b_u128 << 64;
            let unicast = bits >> 125 == 1;
            let expected = listed || inner || !(unicast || nat64);
            prop_assert_eq!(classify(address.into()).is_some(), expected, "{}", address);
        }
    }
}
