//! The request target of a CONNECT (RFC 9110, 9.3.6; RFC 9112, 3.2.3), parsed once and strictly.
//!
//! An [`Authority`] is always canonical: two spellings of one target compare equal, and nothing in
//! it was guessed or repaired. Text that doesn't fit the grammar is an error, because two parsers
//! disagree as soon as one of them repairs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `host:port`, the only form of target that a CONNECT may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    pub host: Host,
    pub port: u16,
}

/// The part before the port: a name to resolve, or an address given literally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Name(DnsName),
    Literal(IpAddr),
}

/// A DNS host name in ASCII (RFC 1123, 2.1): letters, digits and hyphens, in lower case, without
/// the trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Box<str>);

/// The server that a TLS `ClientHello` asks for (`server_name`, RFC 6066, 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// The extension isn't there.
    Absent,
    /// One `host_name`. A literal is against the RFC, but clients send it.
    Host(Host),
    /// Two names, an empty name, or text that is no host name. It equals no target.
    Invalid,
}

/// Why a text is no authority, host or name. The message tells the rule, and never repeats the
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("a host name has 1 to 63 characters between dots")]
    LabelLength,
    #[error(
        "a host name has letters, digits and hyphens only, and no hyphen at either end of a label"
    )]
    LabelCharacter,
    #[error("a host name has at most 253 characters")]
    NameLength,
    #[error(
        "the last label of a host name can't be a number: write an address as four decimal numbers"
    )]
    NumericName,
    #[error("brackets hold an IPv6 address without a zone")]
    Ipv6Literal,
    #[error("the target needs a port: host:port")]
    PortMissing,
    #[error("a port is a decimal number from 1 to 65535 without sign or leading zero")]
    Port,
}

impl Authority {
    /// Parses the bytes of a request target.
    pub fn parse(target: &[u8]) -> Result<Self, AuthorityError> {
        let text = std::str::from_utf8(target).map_err(|_| AuthorityError::LabelCharacter)?;
        let (host, port) = split_port(text)?;
        let port = port.ok_or(AuthorityError::PortMissing)?;
        Ok(Self {
            host: Host::parse_uri_host(host)?,
            port: parse_port(port)?,
        })
    }

    /// Parses the value of a Host field: `uri-host [":" port]` (RFC 9110, 7.2).
    pub fn parse_host_field(value: &[u8], default_port: u16) -> Result<Self, AuthorityError> {
        let text = std::str::from_utf8(value).map_err(|_| AuthorityError::LabelCharacter)?;
        let (host, port) = split_port(text)?;
        Ok(Self {
            host: Host::parse_uri_host(host)?,
            port: port.map_or(Ok(default_port), parse_port)?,
        })
    }

    /// Tells whether the value of a Host field is well formed. Nothing is decided by it.
    pub fn is_host_field(value: &[u8]) -> bool {
        Self::parse_host_field(value, 80).is_ok()
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Literal(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl Host {
    /// Parses a host as a URI writes it: IPv6 in brackets.
    fn parse_uri_host(text: &str) -> Result<Self, AuthorityError> {
        match text.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .and_then(|inside| inside.parse::<Ipv6Addr>().ok())
                .map(|address| Self::Literal(IpAddr::V6(address)))
                .ok_or(AuthorityError::Ipv6Literal),
            // `Ipv4Addr` takes exactly four decimal numbers without leading zeros. Every other
            // numeric spelling (2130706433, 0x7f.1, 127.1) goes to `DnsName`, which refuses it.
            None => match text.parse::<Ipv4Addr>() {
                Ok(address) => Ok(Self::Literal(IpAddr::V4(address))),
                Err(_) => text.parse().map(Self::Name),
            },
        }
    }

    pub fn as_name(&self) -> Option<&DnsName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Literal(address) => address.fmt(f),
        }
    }
}

impl ServerName {
    /// Parses the text of a `host_name`; an empty text means that there is none.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Absent;
        }
        // The extension has no port and no brackets, so an IPv6 literal comes without them.
        match text.parse::<IpAddr>() {
            Ok(address) => Self::Host(Host::Literal(address)),
            Err(_) => text
                .parse()
                .map_or(Self::Invalid, |name| Self::Host(Host::Name(name))),
        }
    }
}

impl DnsName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this name is below `parent` by one or more whole labels.
    pub fn is_below(&self, parent: &DnsName) -> bool {
        self.0
            .strip_suffix(&*parent.0)
            .is_some_and(|labels| labels.ends_with('.'))
    }
}

impl FromStr for DnsName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_NAME {
            return Err(AuthorityError::NameLength);
        }
        let mut last = "";
        for label in name.split('.') {
            let bytes = label.as_bytes();
            if bytes.is_empty() || bytes.len() > MAX_LABEL {
                return Err(AuthorityError::LabelLength);
            }
            let ldh = bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-');
            if !ldh || bytes.starts_with(b"-") || bytes.ends_with(b"-") {
                return Err(AuthorityError::LabelCharacter);
            }
            last = label;
        }
        // `inet_aton` would read such a name as an address (WHATWG URL, "ends in a number").
        let hexadecimal = last
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AuthorityError::NumericName);
        }
        Ok(Self(name.to_ascii_lowercase().into_boxed_str()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits at the colon before the port. The colons of a bracketed IPv6 address don't count.
fn split_port(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(AuthorityError::Ipv6Literal)? + 1;
        let (host, rest) = text.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AuthorityError::Ipv6Literal),
        };
    }
    Ok(match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let decimal = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if decimal => Ok(port),
        _ => Err(AuthorityError::Port),
    }
}

/// 255 octets on the wire are 253 characters of text (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_and_canonicalises() {
        for (given, canonical) in [
            ("ch3.zerto.com:443", "ch3.zerto.com:443"),
            ("CH3.Zerto.COM.:443", "ch3.zerto.com:443"),
            ("localhost:1", "localhost:1"),
            ("3com.example:65535", "3com.example:65535"),
            ("1.2.3.example:443", "1.2.3.example:443"),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:192.0.2.1]:443", "[::ffff:192.0.2.1]:443"),
        ] {
            let parsed: Authority = given.parse().unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(parsed.to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        use AuthorityError as E;
        let long_label = format!("{}.example:443", "a".repeat(64));
        let long_name = format!("{}e:443", "abc.".repeat(64));
        for (given, why) in [
            ("", E::PortMissing),
            ("ch3.zerto.com", E::PortMissing),
            ("[::1]", E::PortMissing),
            (":443", E::LabelLength),
            (".:443", E::LabelLength),
            ("a..b:443", E::LabelLength),
            (".a:443", E::LabelLength),
            ("a.example..:443", E::LabelLength),
            (long_label.as_str(), E::LabelLength),
            (long_name.as_str(), E::NameLength),
            ("a_b.example:443", E::LabelCharacter),
            ("-a.example:443", E::LabelCharacter),
            ("a-.example:443", E::LabelCharacter),
            ("user@host.example:443", E::LabelCharacter),
            ("user:secret@host.example:443", E::Port),
            ("host.example/path:443", E::LabelCharacter),
            ("/path:443", E::LabelCharacter),
            ("http://host.example:443", E::Port),
            ("host%2eexample:443", E::LabelCharacter),
            ("host.example%00:443", E::LabelCharacter),
            ("host#.example:443", E::LabelCharacter),
            ("*.example:443", E::LabelCharacter),
            ("b\u{fc}cher.example:443", E::LabelCharacter),
            ("host\u{3002}example:443", E::LabelCharacter),
            ("host.example :443", E::LabelCharacter),
            ("2130706433:443", E::NumericName),
            ("0x7f000001:443", E::NumericName),
            ("0x7f.1:443", E::NumericName),
            ("127.1:443", E::NumericName),
            ("127.0.0.01:443", E::NumericName),
            ("1.2.3.4.:443", E::NumericName),
            ("256.1.1.1:443", E::NumericName),
            ("a.0X1f:443", E::NumericName),
            ("[192.0.2.1]:443", E::Ipv6Literal),
            ("[host.example]:443", E::Ipv6Literal),
            ("[fe80::1%25eth0]:443", E::Ipv6Literal),
            ("[fe80::1%eth0]:443", E::Ipv6Literal),
            ("[::1]443", E::Ipv6Literal),
            ("[::1", E::Ipv6Literal),
            ("[]:443", E::Ipv6Literal),
            ("::1:443", E::LabelLength),
            ("host.example:", E::Port),
            ("host.example:0", E::Port),
            ("host.example:0443", E::Port),
            ("host.example:+443", E::Port),
            ("host.example:-1", E::Port),
            ("host.example:65536", E::Port),
            ("host.example:99999999999999999999", E::Port),
            ("host.example:44 3", E::Port),
            ("host.example:443:443", E::Port),
            ("host.example:https", E::Port),
        ] {
            assert_eq!(Authority::parse(given.as_bytes()), Err(why), "{given}");
        }
        assert_eq!(
            Authority::parse(b"h\xff.example:443"),
            Err(E::LabelCharacter)
        );
    }

    #[test]
    fn host_field_may_omit_the_port() {
        for good in [
            "h.example",
            "h.example:443",
            "192.0.2.1",
            "[::1]",
            "[::1]:8443",
        ] {
            assert!(Authority::is_host_field(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "h.example:",
            "h.example:0",
            "a b",
            "u@h",
            "[::1",
            "h.example/",
            "::1",
        ] {
            assert!(!Authority::is_host_field(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn below_means_whole_labels() {
        let name = |text: &str| text.parse::<DnsName>().unwrap();
        let parent = name("example.com");
        assert!(name("a.example.com").is_below(&parent));
        assert!(name("a.b.example.com").is_below(&parent));
        assert!(!name("example.com").is_below(&parent));
        assert!(!name("badexample.com").is_below(&parent));
        assert!(!name("example.com.evil.org").is_below(&parent));
    }

    proptest! {
        #[test]
        fn a_displayed_authority_parses_to_itself(text in "\\PC{0,40}(:[0-9]{1,5})?") {
            if let Ok(authority) = text.parse::<Authority>() {
                prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
            }
        }

        #[test]
        fn likely_authorities_too(host in "[a-zA-Z0-9.-]{1,20}|\\[[0-9a-f:.]{2,20}\\]", port: u16) {
            if let Ok(authority) = format!("{host}:{port}").parse::<Authority>() {
                prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
            }
        }
    }
}
