//! Addresses and networks.
//!
//! These forms are stricter than the parsers that they use. A text that could be read in two ways
//! (host bits, octal-looking numbers, IPv4 inside IPv6) is refused, and the help shows the
//! unambiguous spelling.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::form::{Form, Mistake};

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

    /// Leaves out the prefix length of a single address, as most people do.
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
                Some((host, _)) if is_host_name(host) => "a name, or a wrong address",
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

/// Parses an address with the standard library, which takes four plain decimal numbers only.
///
/// The rest of this function finds the words for what the library refuses.
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
        if text.bytes().any(|byte| byte.is_ascii_alphabetic()) && is_host_name(text) {
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

/// Returns the IPv4 address in an address of `::ffff:0:0/96`.
///
/// The network never delivers such an address as IPv6. A rule for it would therefore match nothing,
/// or everything if its prefix is short.
fn mapped(address: IpAddr) -> Option<IpAddr> {
    let canonical = address.to_canonical();
    (canonical != address).then_some(canonical)
}

fn write_help(value: impl fmt::Display) -> String {
    format!("write {:?}", value.to_string())
}

/// Whether a text is a host name (RFC 1123, 2.1), so that the message can call it a name.
///
/// A text whose last label is a number is none, because some programs read it as an address.
fn is_host_name(text: &str) -> bool {
    const LONGEST_NAME: usize = 253;
    const LONGEST_LABEL: usize = 63;
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| {
        label.bytes().all(|b| b.is_ascii_digit())
            || label.starts_with("0x")
            || label.starts_with("0X")
    };
    name.len() <= LONGEST_NAME
        && name.split('.').all(is_label)
        && !name.split('.').next_back().is_some_and(is_number)
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
