//! The canonical form of an address: the address that is judged, and the address that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// Gives the address that decides. A v4-mapped address (RFC 4291, 2.5.5.2) and an address behind a
/// NAT64 prefix reach an IPv4 host, so they are judged as that host.
pub(super) fn judged_as(address: IpAddr, nat64: &[Ipv6Net]) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => embedded_ipv4(address, nat64).map_or(address.into(), IpAddr::V4),
        address @ IpAddr::V4(_) => address,
    }
}

/// Gives the address to connect to. The kernel treats a v4-mapped address as IPv4 anyway. Behind
/// NAT64 only the IPv6 address has a route.
pub(super) fn dialled_as(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Tells whether RFC 6052, 2.2 has prefixes of this length.
pub(super) fn is_nat64_length(prefix: Ipv6Net) -> bool {
    matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96)
}

/// Extracts the IPv4 address from an IPv4-embedded IPv6 address (RFC 6052, 2.2), under the longest
/// prefix that holds it.
///
/// Octet 8 and the suffix ought to be zero, but a lenient translator ignores them. So they are
/// ignored here too. Otherwise a spoilt octet would make an internal IPv4 host look like a harmless
/// IPv6 host.
fn embedded_ipv4(address: Ipv6Addr, nat64: &[Ipv6Net]) -> Option<Ipv4Addr> {
    let prefix = nat64
        .iter()
        .chain([&WELL_KNOWN_PREFIX])
        .filter(|prefix| prefix.contains(&address))
        .max_by_key(|prefix| prefix.prefix_len())?;
    let start = usize::from(prefix.prefix_len() / 8);
    let inside = address
        .octets()
        .into_iter()
        .enumerate()
        .filter(|&(at, _)| at >= start && at != RESERVED_OCTET);
    let mut ipv4 = [0; 4];
    for (into, (_, octet)) in ipv4.iter_mut().zip(inside) {
        *into = octet;
    }
    Some(ipv4.into())
}

/// `64:ff9b::/96` (RFC 6052, 2.1). It is always judged as NAT64, whether it is configured or not.
const WELL_KNOWN_PREFIX: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// Bits 64 to 71, the "u" octet of RFC 6052, 2.2.
const RESERVED_OCTET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str, nat64: &[&str]) -> String {
        let nat64: Vec<Ipv6Net> = nat64.iter().map(|net| net.parse().unwrap()).collect();
        judged_as(address.parse().unwrap(), &nat64).to_string()
    }

    /// The table of RFC 6052, 2.4.
    #[test]
    fn extracts_the_examples_of_the_rfc() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            assert_eq!(judged(address, &[prefix]), "192.0.2.33", "{address}");
            assert_eq!(
                judged(address, &[]),
                address.parse::<IpAddr>().unwrap().to_string()
            );
        }
        assert_eq!(judged("64:ff9b::192.0.2.33", &[]), "192.0.2.33");
    }

    #[test]
    fn the_longest_prefix_says_where_the_ipv4_stands() {
        let nested = ["2001:db8::/32", "2001:db8:122:344::/96"];
        assert_eq!(
            judged("2001:db8:122:344::192.0.2.33", &nested),
            "192.0.2.33"
        );
        assert_eq!(judged("2001:db8:a00:1::", &nested), "10.0.0.1");
    }

    #[test]
    fn a_spoilt_reserved_octet_or_suffix_hides_nothing() {
        assert_eq!(
            judged("2001:db8:a00:1:ff00::", &["2001:db8::/32"]),
            "10.0.0.1"
        );
        assert_eq!(
            judged("2001:db8:10a:0:1ff:ff::", &["2001:db8:100::/40"]),
            "10.0.0.255"
        );
        assert_eq!(
            judged("2001:db8:a00:1::dead:beef", &["2001:db8::/32"]),
            "10.0.0.1"
        );
    }

    #[test]
    fn behind_nat64_the_ipv6_address_is_dialled() {
        let dialled = |text: &str| dialled_as(text.parse().unwrap()).to_string();
        assert_eq!(dialled("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(dialled("64:ff9b::192.0.2.1"), "64:ff9b::c000:201");
        assert_eq!(dialled("2001:db8::1"), "2001:db8::1");
    }
}
