//! Addresses, networks and host names, as the file writes them.
//!
//! Stricter than the parsers below it: what could be read in two ways (host bits, octal-looking numbers, IPv4 inside IPv6) is
//! refused, with the unambiguous spelling in the help.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};

use super::value::{Form, Mistake};
use crate::authority::{Authority, AuthorityError, DnsName};

/// A nameserver; the port is 53 unless it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nameserver(pub(super) SocketAddr);

/// A NAT64 prefix (RFC 6052, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nat64Prefix(pub(super) Ipv6Net);

/// A host name or an address, as the Host field of a request has it, without the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostName(pub(super) String);

impl Form for IpNet {
    const NOUN: &'static str = "a network";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn read(text: &str) -> Result<Self, Mistake> {
        let Some((address, length)) = text.split_once('/') else {
            return IpAddr::read(text).map(Self::from);
        };
        let parsed = parse_address(address)?;
        let length = parse_prefix_length(length, if parsed.is_ipv4() { 32 } else { 128 })?;
        if let Some(inside) = mapped(parsed) {
            let length = length.saturating_sub(96);
            let network = Self::new(inside, length).map(|network| network.trunc());
            return Err(network.map_or_else(
                |_| Mistake::new("IPv4 inside IPv6", "write the IPv4 network"),
                |network| Mistake::new("IPv4 inside IPv6", write_help(network)),
            ));
        }
        let network = Self::new(parsed, length)
            .map_err(|_| Mistake::new("the prefix is too long", "write at most /32 or /128"))?;
        if network.trunc() != network {
            return Err(Mistake::new(
                "host bits are set",
                format!(
                    "write {:?}, or {:?} for the one address",
                    network.trunc().to_string(),
                    parsed.to_string()
                ),
            ));
        }
        Ok(network)
    }

    /// A single address is written without its prefix length, as most people write it.
    fn write(&self) -> String {
        if self.prefix_len() == self.max_prefix_len() {
            self.addr().to_string()
        } else {
            self.to_string()
        }
    }
}

impl Form for IpAddr {
    const NOUN: &'static str = "an address";
    const EXAMPLE: &'static str = "10.0.0.53";

    fn read(text: &str) -> Result<Self, Mistake> {
        let address = parse_address(text)?;
        match mapped(address) {
            Some(inside) => Err(Mistake::new("IPv4 inside IPv6", write_help(inside))),
            None => Ok(address),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Form for SocketAddr {
    const NOUN: &'static str = "an address and port";
    const EXAMPLE: &'static str = "[::]:3128";

    fn read(text: &str) -> Result<Self, Mistake> {
        let help =
            "write an address and a port: \"0.0.0.0:3128\", or \"[::]:3128\" for every address";
        let address: Self = text.parse().map_err(|_| {
            let label = match text.rsplit_once(':') {
                Some((host, _)) if host.parse::<DnsName>().is_ok() => "a name, or a wrong address",
                _ => "no address and port",
            };
            Mistake::new(label, help)
        })?;
        if text.contains('%') {
            return Err(Mistake::new("an address with a zone", help));
        }
        match mapped(address.ip()) {
            Some(inside) => Err(Mistake::new(
                "IPv4 inside IPv6",
                write_help(Self::new(inside, address.port())),
            )),
            None => Ok(address),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Form for Nameserver {
    const NOUN: &'static str = "a nameserver's address";
    const EXAMPLE: &'static str = "10.0.0.53";

    fn read(text: &str) -> Result<Self, Mistake> {
        const DNS: u16 = 53;
        let with_port = text.starts_with('[') || text.split(':').count() == 2;
        let server = if with_port {
            SocketAddr::read(text).map_err(|mistake| Mistake {
                help: "write \"10.0.0.53\" or \"10.0.0.53:5353\"".into(),
                ..mistake
            })?
        } else {
            SocketAddr::new(IpAddr::read(text)?, DNS)
        };
        if server.port() == 0 || server.ip().is_unspecified() {
            return Err(Mistake::new(
                "nobody answers there",
                "write the server's own address",
            ));
        }
        Ok(Self(server))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

impl Form for Nat64Prefix {
    const NOUN: &'static str = "a NAT64 prefix";
    const EXAMPLE: &'static str = "2001:db8:64::/96";

    fn read(text: &str) -> Result<Self, Mistake> {
        const HELP: &str = "write an IPv6 network of length 32, 40, 48, 56, 64 or 96 (RFC 6052)";
        match IpNet::read(text)? {
            IpNet::V6(network) if matches!(network.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) => {
                Ok(Self(network))
            }
            IpNet::V6(_) => Err(Mistake::new("no length that carries an IPv4 address", HELP)),
            IpNet::V4(_) => Err(Mistake::new("an IPv4 network", HELP)),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

impl Form for Authority {
    const NOUN: &'static str = "a host and port";
    const EXAMPLE: &'static str = "relay-a.dmz.example:3128";

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|error: AuthorityError| {
            Mistake::new(
                error.to_string(),
                "write a name or an address, and the port: \"relay-a.dmz.example:3128\"",
            )
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Form for HostName {
    const NOUN: &'static str = "a host name";
    const EXAMPLE: &'static str = "relay.dmz.example";

    fn read(text: &str) -> Result<Self, Mistake> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        text.parse::<DnsName>()
            .map(|name| Self(name.to_string()))
            .map_err(|error| {
                Mistake::new(
                    error.to_string(),
                    "write a name or an address, without the port",
                )
            })
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// The standard library takes four plain decimal numbers only; this finds the words for what it refuses.
fn parse_address(text: &str) -> Result<IpAddr, Mistake> {
    const HELP: &str =
        "write four decimal numbers, or an IPv6 address: \"10.0.0.53\", \"2001:db8::53\"";
    text.parse().map_err(|_| {
        let plain = text
            .split('.')
            .map(|number| match number.trim_start_matches('0') {
                "" if !number.is_empty() => "0",
                plain => plain,
            })
            .collect::<Vec<_>>()
            .join(".");
        if plain != text && plain.parse::<IpAddr>().is_ok() {
            return Mistake::new(
                "leading zeros, which some programs read as octal",
                format!("write {plain:?} if decimal is meant"),
            );
        }
        if text.contains('%') {
            return Mistake::new("an address with a zone", "leave the zone out");
        }
        if text.starts_with('[') {
            return Mistake::new("brackets", "brackets are only for an address with a port");
        }
        if text.bytes().any(|byte| byte.is_ascii_alphabetic()) && text.parse::<DnsName>().is_ok() {
            return Mistake::new(
                "a name",
                "write addresses here: a name could change its own",
            );
        }
        Mistake::new("not an address", HELP)
    })
}

fn parse_prefix_length(text: &str, longest: u8) -> Result<u8, Mistake> {
    let decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if decimal && text.len() > 1 && text.starts_with('0') {
        return Err(Mistake::new(
            "a leading zero in the prefix length",
            format!(
                "write /{}",
                match text.trim_start_matches('0') {
                    "" => "0",
                    plain => plain,
                }
            ),
        ));
    }
    match text.parse() {
        Ok(length) if decimal && length <= longest => Ok(length),
        _ => Err(Mistake::new(
            "the prefix length is wrong",
            format!("write a decimal number from 0 to {longest} after the slash"),
        )),
    }
}

/// The IPv4 address in `::ffff:0:0/96`. Such an address never arrives from the network as IPv6, so a rule on it would
/// match nothing, or, shortened, everything.
fn mapped(address: IpAddr) -> Option<IpAddr> {
    let canonical = address.to_canonical();
    (canonical != address).then_some(canonical)
}

fn write_help(value: impl std::fmt::Display) -> String {
    format!("write {:?}", value.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks() {
        for (text, canonical) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.20.0.11", "10.20.0.11"),
            ("10.20.0.11/32", "10.20.0.11"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(IpNet::read(text).unwrap().write(), canonical, "{text}");
        }
    }

    #[test]
    fn a_network_that_could_be_read_in_two_ways_is_refused() {
        for (text, label, help) in [
            (
                "10.1.2.3/8",
                "host bits are set",
                "write \"10.0.0.0/8\", or \"10.1.2.3\" for the one address",
            ),
            (
                "2001:db8::1/32",
                "host bits are set",
                "write \"2001:db8::/32\", or \"2001:db8::1\" for the one address",
            ),
            (
                "::ffff:10.0.0.0/104",
                "IPv4 inside IPv6",
                "write \"10.0.0.0/8\"",
            ),
            ("::ffff:0:0/96", "IPv4 inside IPv6", "write \"0.0.0.0/0\""),
            ("::ffff:10.0.0.1", "IPv4 inside IPv6", "write \"10.0.0.1\""),
            (
                "010.0.0.0/8",
                "leading zeros, which some programs read as octal",
                "write \"10.0.0.0\" if decimal is meant",
            ),
            (
                "10.00.0.1",
                "leading zeros, which some programs read as octal",
                "write \"10.0.0.1\" if decimal is meant",
            ),
            (
                "10.0.0.0/08",
                "a leading zero in the prefix length",
                "write /8",
            ),
            (
                "10.0.0.0/00",
                "a leading zero in the prefix length",
                "write /0",
            ),
            (
                "10.0.0.0/33",
                "the prefix length is wrong",
                "write a decimal number from 0 to 32 after the slash",
            ),
            (
                "10.0.0.0/",
                "the prefix length is wrong",
                "write a decimal number from 0 to 32 after the slash",
            ),
            (
                "10.0.0.0/+8",
                "the prefix length is wrong",
                "write a decimal number from 0 to 32 after the slash",
            ),
            (
                "10.0.0.0/255.0.0.0",
                "the prefix length is wrong",
                "write a decimal number from 0 to 32 after the slash",
            ),
            (
                "2001:db8::/129",
                "the prefix length is wrong",
                "write a decimal number from 0 to 128 after the slash",
            ),
            (
                "fe80::1%eth0",
                "an address with a zone",
                "leave the zone out",
            ),
            (
                "[2001:db8::1]",
                "brackets",
                "brackets are only for an address with a port",
            ),
            (
                "ch3.zerto.com",
                "a name",
                "write addresses here: a name could change its own",
            ),
        ] {
            assert_eq!(IpNet::read(text), Err(Mistake::new(label, help)), "{text}");
        }
        for text in [
            "",
            "/",
            "/8",
            "10",
            "10.0.0",
            "2130706433",
            "0x7f.0.0.1",
            "10.0.0.1 ",
            "*",
            "10.0.0.*",
        ] {
            assert!(IpNet::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_with_ports() {
        for good in ["0.0.0.0:3128", "[::]:3128", "127.0.0.1:0"] {
            assert_eq!(SocketAddr::read(good).unwrap().write(), good);
        }
        for bad in [
            "3128",
            ":3128",
            "localhost:3128",
            "::1:3128:",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1%1]:1",
            "1.2.3.4:70000",
        ] {
            assert!(SocketAddr::read(bad).is_err(), "{bad}");
        }
        for (text, canonical) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            let server = Nameserver::read(text).unwrap();
            assert_eq!(server.write(), canonical);
            assert_eq!(Nameserver::read(canonical), Ok(server));
        }
        for bad in [
            "",
            "dns.example",
            "dns.example:53",
            "10.0.0.53:0",
            "0.0.0.0",
            "[::]:53",
            "10.0.0.0/8",
        ] {
            assert!(Nameserver::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nat64_prefixes() {
        assert!(Nat64Prefix::read("2001:db8:64::/96").is_ok());
        for bad in ["2001:db8::/33", "2001:db8::", "10.0.0.0/8", "64:ff9b::1/96"] {
            assert!(Nat64Prefix::read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_network_that_reads_contains_only_what_it_says(text in "[0-9a-f:./%]{0,20}") {
            if let Ok(network) = IpNet::read(&text) {
                prop_assert_eq!(network.trunc(), network);
                prop_assert_eq!(network.addr().to_canonical(), network.addr());
                prop_assert_eq!(IpNet::read(&network.write()), Ok(network));
            }
        }
    }
}
