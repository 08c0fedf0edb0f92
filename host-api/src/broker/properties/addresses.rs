//! No address that a registry sets apart is reached, in whatever form it comes; every other one is.
//!
//! The tables are the registries' own, row by row, and know nothing of the classifier's:
//! <https://www.iana.org/assignments/iana-ipv4-special-registry> and
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>. The newest row is that of RFC 9780, of 2025.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use ipnet::IpNet;
use url::Host;

use super::super::address::{AddressPolicy, classify};
use super::super::policy;
use super::source::Source;

/// The column "Globally Reachable". What it does not apply to is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reachable {
    Yes,
    No,
    NotApplicable,
}
use Reachable::{No, NotApplicable, Yes};

/// Address block, name, source, and whether it is globally reachable.
type Row = (&'static str, &'static str, &'static str, Reachable);

const IANA: &[Row] = &[
    // IPv4
    ("0.0.0.0/8", "\"This network\"", "RFC 791, section 3.2", No),
    ("0.0.0.0/32", "\"This host on this network\"", "RFC 1122, section 3.2.1.3", No),
    ("10.0.0.0/8", "Private-Use", "RFC 1918", No),
    ("100.64.0.0/10", "Shared Address Space", "RFC 6598", No),
    ("127.0.0.0/8", "Loopback", "RFC 1122, section 3.2.1.3", No),
    ("169.254.0.0/16", "Link Local", "RFC 3927", No),
    ("172.16.0.0/12", "Private-Use", "RFC 1918", No),
    ("192.0.0.0/24", "IETF Protocol Assignments", "RFC 6890, section 2.1", No),
    ("192.0.0.0/29", "IPv4 Service Continuity Prefix", "RFC 7335", No),
    ("192.0.0.8/32", "IPv4 dummy address", "RFC 7600", No),
    ("192.0.0.9/32", "Port Control Protocol Anycast", "RFC 7723", Yes),
    ("192.0.0.10/32", "Traversal Using Relays around NAT Anycast", "RFC 8155", Yes),
    ("192.0.0.170/32", "NAT64/DNS64 Discovery", "RFC 7050, section 2.2", No),
    ("192.0.0.171/32", "NAT64/DNS64 Discovery", "RFC 7050, section 2.2", No),
    ("192.0.2.0/24", "Documentation (TEST-NET-1)", "RFC 5737", No),
    ("192.31.196.0/24", "AS112-v4", "RFC 7535", Yes),
    ("192.52.193.0/24", "AMT", "RFC 7450", Yes),
    ("192.88.99.0/24", "Deprecated (6to4 Relay Anycast)", "RFC 7526", NotApplicable),
    ("192.88.99.2/32", "6a44-relay anycast address", "RFC 6751", No),
    ("192.168.0.0/16", "Private-Use", "RFC 1918", No),
    ("192.175.48.0/24", "Direct Delegation AS112 Service", "RFC 7534", Yes),
    ("198.18.0.0/15", "Benchmarking", "RFC 2544", No),
    ("198.51.100.0/24", "Documentation (TEST-NET-2)", "RFC 5737", No),
    ("203.0.113.0/24", "Documentation (TEST-NET-3)", "RFC 5737", No),
    ("240.0.0.0/4", "Reserved", "RFC 1112, section 4", No),
    ("255.255.255.255/32", "Limited Broadcast", "RFC 8190; RFC 919, section 7", No),
    // IPv6
    ("::1/128", "Loopback Address", "RFC 4291", No),
    ("::/128", "Unspecified Address", "RFC 4291", No),
    ("::ffff:0:0/96", "IPv4-mapped Address", "RFC 4291", No),
    ("64:ff9b::/96", "IPv4-IPv6 Translation", "RFC 6052", Yes),
    ("64:ff9b:1::/48", "IPv4-IPv6 Translation", "RFC 8215", No),
    ("100::/64", "Discard-Only Address Block", "RFC 6666", No),
    ("100:0:0:1::/64", "Dummy IPv6 Prefix", "RFC 9780", No),
    ("2001::/23", "IETF Protocol Assignments", "RFC 2928", No),
    ("2001::/32", "TEREDO", "RFC 4380; RFC 8190", NotApplicable),
    ("2001:1::1/128", "Port Control Protocol Anycast", "RFC 7723", Yes),
    ("2001:1::2/128", "Traversal Using Relays around NAT Anycast", "RFC 8155", Yes),
    ("2001:1::3/128", "DNS-SD Service Registration Protocol Anycast", "RFC 9665", Yes),
    ("2001:2::/48", "Benchmarking", "RFC 5180", No),
    ("2001:3::/32", "AMT", "RFC 7450", Yes),
    ("2001:4:112::/48", "AS112-v6", "RFC 7535", Yes),
    ("2001:10::/28", "Deprecated (previously ORCHID)", "RFC 4843", NotApplicable),
    ("2001:20::/28", "ORCHIDv2", "RFC 7343", Yes),
    ("2001:30::/28", "Drone Remote ID Protocol Entity Tags", "RFC 9374", Yes),
    ("2001:db8::/32", "Documentation", "RFC 3849", No),
    ("2002::/16", "6to4", "RFC 3056", NotApplicable),
    ("2620:4f:8000::/48", "Direct Delegation AS112 Service", "RFC 7534", Yes),
    ("3fff::/20", "Documentation", "RFC 9637", No),
    ("5f00::/16", "Segment Routing (SRv6) SIDs", "RFC 9602", No),
    ("fc00::/7", "Unique-Local", "RFC 4193; RFC 8190", No),
    ("fe80::/10", "Link-Local Unicast", "RFC 4291", No),
];

/// What no unicast address is (RFC 5771; RFC 4291, sections 2.4, 2.5.5.1, 2.5.7 and 2.7), written as what is left of
/// it: IANA has given out `2000::/3` alone.
const NOT_UNICAST: &[&str] = &["224.0.0.0/4", "::/3", "4000::/2", "8000::/1"];

/// Where the classifier closes more than the registries do, and why.
const CLOSED_ALL_THE_SAME: &[(&str, &str)] = &[
    ("168.63.129.16/32", "Azure answers it within every machine of its own"),
    ("192.0.0.0/24", "what of it is reachable is answered by the nearest router, and is no web service"),
    ("2001::/23", "likewise; and ORCHIDs and drones' tags are names, not places"),
];

const NAT64: &str = "64:ff9b::/96";

fn holds(net: &str, address: IpAddr) -> bool {
    net.parse::<IpNet>().is_ok_and(|net| net.contains(&address))
}

/// Whether requests may reach `address`, by the tables alone.
fn open(address: IpAddr) -> bool {
    if let IpAddr::V6(v6) = address
        && let Some(mapped) = v6.to_ipv4_mapped()
    {
        return open(mapped.into());
    }
    if CLOSED_ALL_THE_SAME.iter().any(|(net, _)| holds(net, address)) {
        return false;
    }
    // An ISATAP router delivers to the address within (RFC 5214, section 6.1), and so does a NAT64 (RFC 6052).
    let within = match address {
        IpAddr::V6(v6) if matches!(v6.segments()[4..6], [0 | 0x200, 0x5efe]) || holds(NAT64, address) => {
            open(Ipv4Addr::from(u128::from(v6) as u32).into())
        }
        _ => true,
    };
    // The most specific row counts (RFC 6890, section 2.2).
    let length = |row: &&Row| row.0.rsplit('/').next().and_then(|length| length.parse::<u8>().ok());
    match IANA.iter().filter(|row| holds(row.0, address)).max_by_key(length) {
        Some((.., reachable)) => *reachable == Yes && within,
        None => within && !NOT_UNICAST.iter().any(|net| holds(net, address)),
    }
}

/// Every form in which an IPv6 address has an IPv4 address within it, and whether what is reached by it is that address.
fn forms(v4: Ipv4Addr, rest: u64) -> [(&'static str, Ipv6Addr, bool); 11] {
    let inner = u128::from(u32::from(v4));
    let rest = u128::from(rest);
    let form = |prefix: u128, shift: u32| Ipv6Addr::from(prefix | inner << shift);
    [
        ("mapped, RFC 4291", form(0xffff << 32, 0), true),
        ("compatible, RFC 4291", form(0, 0), false),
        ("translated, RFC 2765", form(0xffff << 48, 0), false),
        ("NAT64, RFC 6052", form(0x0064_ff9b << 96, 0), true),
        ("NAT64 of local use, RFC 8215", form(0x0064_ff9b_0001 << 80, 0), false),
        // In RFC 6052's form for a prefix of 48 bits the bits 64 to 71 are left out.
        (
            "NAT64 of local use, in its /48",
            Ipv6Addr::from(0x0064_ff9b_0001 << 80 | (inner >> 16) << 64 | (inner & 0xffff) << 40),
            false,
        ),
        ("6to4, RFC 3056", form(0x2002 << 112 | rest, 80), false),
        ("Teredo's server, RFC 4380", form(0x2001_0000 << 96 | rest, 64), false),
        ("Teredo's client, RFC 4380", Ipv6Addr::from(0x2001_0000 << 96 | (rest << 32) | (inner ^ 0xffff_ffff)), false),
        ("ISATAP, RFC 5214", form(0x2606_4700 << 96 | 0x5efe << 32, 0), true),
        ("ISATAP of a global address", form(0x2606_4700 << 96 | 0x0200_5efe << 32, 0), true),
    ]
}

/// The ways in which `inet_aton` reads an address.
fn notations(v4: Ipv4Addr) -> [String; 8] {
    let [a, b, c, d] = v4.octets();
    let whole = u32::from(v4);
    let (three, two) = (whole & 0x00ff_ffff, whole & 0xffff);
    [
        format!("{a}.{b}.{c}.{d}"),
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("0{whole:o}"),
        format!("{a}.{three}"),
        format!("{a:#x}.{b:#x}.{two:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.0{b:o}.{c:#X}.{d}."),
    ]
}

fn check(address: IpAddr, said: &str) {
    let found = classify(address);
    assert_eq!(found.is_none(), open(address), "{said}{address}: {found:?}");
    assert_eq!(AddressPolicy::default().check(address).is_ok(), open(address), "{said}{address}");
}

/// Holds the classifier against the registries, at an address, in the forms that can hold it, and in the notations
/// that a URL may have it in.
pub fn addresses(data: &[u8]) {
    let mut source = Source::new(data);
    let bits = |source: &mut Source<'_>| (source.upto(usize::MAX) as u128) << 64 | source.upto(usize::MAX) as u128;
    let any = bits(&mut source);
    // Three of four lie in a range of the tables, or next to it.
    let listed = IANA.iter().map(|row| row.0).chain(NOT_UNICAST.iter().copied());
    let listed: Vec<&str> = listed.chain(CLOSED_ALL_THE_SAME.iter().map(|(net, _)| *net)).collect();
    let address: IpAddr = match (source.upto(3), source.one_of(&listed).parse::<IpNet>()) {
        (0, _) | (_, Err(_)) if source.flag() => Ipv4Addr::from(any as u32).into(),
        (0, _) | (_, Err(_)) => Ipv6Addr::from(any).into(),
        (how, Ok(IpNet::V4(net))) => {
            let within = u32::from(net.network()) | any as u32 & u32::from(net.hostmask());
            Ipv4Addr::from(within ^ if how == 1 { 1 << source.upto(31) } else { 0 }).into()
        }
        (how, Ok(IpNet::V6(net))) => {
            let within = u128::from(net.network()) | any & u128::from(net.hostmask());
            Ipv6Addr::from(within ^ if how == 1 { 1 << source.upto(127) } else { 0 }).into()
        }
    };
    check(address, "");
    let IpAddr::V4(v4) = address else { return };
    for (name, form, reached) in forms(v4, any as u64) {
        check(form.into(), name);
        let refused = AddressPolicy::default().check(form.into()).is_err();
        assert_eq!(refused, !(reached && open(address)), "{name} of {v4}: {form}");
    }
    for text in notations(v4) {
        let Ok(uri) = format!("https://{text}/").parse::<Uri>() else { continue };
        match policy::url(&uri) {
            Err(_) => assert_ne!(text, v4.to_string(), "the plain notation is refused"),
            Ok(url) => assert_eq!(url.host(), Some(Host::Ipv4(v4)), "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boundary of every range, from within and from without.
    #[test]
    fn bound_first_and_last_addresses_of_every_listed_range_and_their_neighbours_are_as_the_registries_say() {
        let listed = IANA.iter().map(|row| row.0).chain(NOT_UNICAST.iter().copied());
        for net in listed.chain(CLOSED_ALL_THE_SAME.iter().map(|(net, _)| *net)) {
            let net: IpNet = net.parse().unwrap();
            let (first, last) = (net.network(), net.broadcast());
            let (before, after): (IpAddr, IpAddr) = match (first, last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => (
                    Ipv4Addr::from(u32::from(first).wrapping_sub(1)).into(),
                    Ipv4Addr::from(u32::from(last).wrapping_add(1)).into(),
                ),
                (IpAddr::V6(first), IpAddr::V6(last)) => (
                    Ipv6Addr::from(u128::from(first).wrapping_sub(1)).into(),
                    Ipv6Addr::from(u128::from(last).wrapping_add(1)).into(),
                ),
                _ => unreachable!("a range is of one family"),
            };
            for address in [before, first, last, after] {
                check(address, "at an end: ");
            }
        }
        // The tables can't all be empty, nor all closed.
        assert!(open("8.8.8.8".parse().unwrap()) && open("2606:4700::1111".parse().unwrap()));
        assert!(!open("10.0.0.1".parse().unwrap()) && !open("::1".parse().unwrap()));
    }

    #[test]
    fn bound_every_ipv4_block_of_256_is_as_the_registries_say() {
        // Rows that are shorter than a block are tried by the test above, so their blocks are left out.
        let blocks = |row: &str| row.parse::<IpNet>().ok().map(|net| (net.addr(), net.prefix_len()));
        let rows: Vec<(IpAddr, u8)> = IANA.iter().filter_map(|row| blocks(row.0)).collect();
        let long = rows.iter().filter(|(address, length)| address.is_ipv4() && *length > 24);
        let skipped: Vec<u32> = long
            .map(|(address, _)| match address {
                IpAddr::V4(v4) => u32::from(*v4) >> 8,
                IpAddr::V6(_) => unreachable!("filtered"),
            })
            .collect();
        let mut expected = vec![true; 1 << 24];
        let closed = IANA.iter().filter(|row| row.3 != Yes).map(|row| row.0).chain(NOT_UNICAST.iter().copied());
        for net in closed.filter_map(|net| net.parse::<ipnet::Ipv4Net>().ok()).filter(|net| net.prefix_len() <= 24) {
            expected[(u32::from(net.network()) >> 8) as usize..=(u32::from(net.broadcast()) >> 8) as usize].fill(false);
        }
        for (block, expected) in expected.iter().enumerate() {
            let address = Ipv4Addr::from((block as u32) << 8 | 77);
            if !skipped.contains(&(block as u32)) {
                assert_eq!(classify(address.into()).is_none(), *expected, "{address}");
            }
        }
    }
}
