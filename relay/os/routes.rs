//! The kernel's routing tables as text: `/proc/net/route` and `/proc/net/ipv6_route`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lists the gateways of all default routes that are up, IPv4 first, each once. Lines that don't
/// parse are ignored.
pub(super) fn default_gateways(ipv4: &str, ipv6: &str) -> Vec<IpAddr> {
    let mut gateways = Vec::new();
    let ipv4 = ipv4.lines().filter_map(ipv4_default).map(IpAddr::V4);
    let ipv6 = ipv6.lines().filter_map(ipv6_default).map(IpAddr::V6);
    for gateway in ipv4.chain(ipv6) {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    gateways
}

/// Parses `Iface Destination Gateway Flags RefCnt Use Metric Mask …`. An address is the hexadecimal
/// of its big-endian word, as the machine reads that word from memory.
fn ipv4_default(line: &str) -> Option<Ipv4Addr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let destination = hexadecimal(fields.next()?)?;
    let gateway = hexadecimal(fields.next()?)?;
    let flags = hexadecimal(fields.next()?)?;
    let mask = hexadecimal(fields.nth(3)?)?;
    (destination == 0 && mask == 0 && is_gateway(flags))
        .then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
}

/// Parses `destination length source length next-hop metric refcount use flags device`. An address
/// has 32 digits.
fn ipv6_default(line: &str) -> Option<Ipv6Addr> {
    let mut fields = line.split_ascii_whitespace();
    let destination = u128::from_str_radix(fields.next()?, 16).ok()?;
    let length = hexadecimal(fields.next()?)?;
    let next_hop = u128::from_str_radix(fields.nth(2)?, 16).ok()?;
    let flags = hexadecimal(fields.nth(3)?)?;
    (destination == 0 && length == 0 && is_gateway(flags)).then(|| Ipv6Addr::from(next_hop))
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

fn is_gateway(flags: u32) -> bool {
    const UP: u32 = 0x1;
    const GATEWAY: u32 = 0x2;
    const REJECT: u32 = 0x200;
    flags & (UP | GATEWAY | REJECT) == UP | GATEWAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t00000000\tFE00A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\t010012AC\t0003\t0\t0\t200\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t300\t00000000\t0\t0\t0
tun1\t00000000\t0100000A\t0003\t0\t0\t0\t00000080\t0\t0\t0
eth0\t0000000A\t0200000A\t0003\t0\t0\t0\t000000FF\t0\t0\t0
eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

    const IPV6: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[cfg(target_endian = "little")] // as recorded
    #[test]
    fn only_default_routes_with_a_gateway_count() {
        let expected: Vec<IpAddr> = ["172.18.0.1", "192.168.0.254", "fe80::1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(default_gateways(IPV4, IPV6), expected);
    }

    #[test]
    fn broken_tables_have_no_routes() {
        for text in [
            "",
            "\n\n",
            "a b",
            "eth0 00000000",
            "eth0 zz 0 3 0 0 0 0",
            "0 0 0 0 0 0 0 0 zz",
        ] {
            assert!(default_gateways(text, text).is_empty(), "{text:?}");
        }
    }
}
