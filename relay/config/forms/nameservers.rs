//! Addresses of nameservers and NAT64 prefixes, for `[dns]`.

use std::net::{IpAddr, SocketAddr};

use callhome_settings::{Form, Mistake};
use ipnet::{IpNet, Ipv6Net};

/// The address of a nameserver. Its port is 53 unless the file has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Nameserver(pub(in crate::config) SocketAddr);

/// A NAT64 prefix (RFC 6052, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Nat64Prefix(pub(in crate::config) Ipv6Net);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers() {
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
}
