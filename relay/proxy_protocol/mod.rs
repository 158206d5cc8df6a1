//! The PROXY protocol, versions 1 and 2: what a load balancer says of the client whose bytes follow.
//!
//! Written after its specification, `proxy-protocol.txt`. Pure, and stricter than it needs to be: a header is read in one way or not at all,
//! since whoever reads one wrong takes an attacker's word for the balancer's.

mod crc32c;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    Complete(Header),
    Incomplete,
    /// It is none, for this reason.
    Refused(&'static str),
}

/// A header, whole and well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// None where it announces nobody over TCP: `LOCAL`, `UNKNOWN`, and the families that are none of IP's.
    pub announced: Option<Announced>,
    /// Bytes; what follows is the client's.
    pub length: usize,
}

/// Both ends of the connection that the balancer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub client: SocketAddr,
    /// Where the client connected to.
    pub server: SocketAddr,
}

/// Looks at the first bytes of a connection. What follows the header has no part in the answer.
pub fn parse(bytes: &[u8]) -> HeaderProgress {
    for (signature, read) in [(V1, read_v1 as fn(&[u8]) -> HeaderProgress), (V2, read_v2)] {
        let common = bytes.len().min(signature.len());
        if bytes[..common] == signature[..common] {
            return if bytes.len() < signature.len() {
                HeaderProgress::Incomplete
            } else {
                read(bytes)
            };
        }
    }
    HeaderProgress::Refused("no PROXY header")
}

/// A line: `PROXY TCP4 10.0.0.1 10.0.0.2 51514 3128`.
fn read_v1(bytes: &[u8]) -> HeaderProgress {
    let most = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = most.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= V1_MAX {
            HeaderProgress::Refused("a PROXY line that is too long")
        } else {
            HeaderProgress::Incomplete
        };
    };
    let Ok(line) = std::str::from_utf8(&bytes[V1.len()..end]) else {
        return HeaderProgress::Refused("a PROXY line that is no text");
    };
    let announced = match line.split_once(' ') {
        Some(("TCP4", ends)) => read_ends::<Ipv4Addr>(ends).map(Some),
        Some(("TCP6", ends)) => read_ends::<Ipv6Addr>(ends).map(Some),
        // Whatever follows is to be ignored.
        Some(("UNKNOWN", _)) => Ok(None),
        None if line == "UNKNOWN" => Ok(None),
        _ => Err("a PROXY line of a family that there isn't"),
    };
    match announced {
        Ok(announced) => HeaderProgress::Complete(Header {
            announced,
            length: end + 2,
        }),
        Err(why) => HeaderProgress::Refused(why),
    }
}

fn read_ends<A: FromStr + Into<IpAddr>>(text: &str) -> Result<Announced, &'static str> {
    const NONE: &str = "a PROXY line without two addresses and two ports";
    let words: Vec<&str> = text.split(' ').collect();
    let &[client, server, client_port, server_port] = words.as_slice() else {
        return Err(NONE);
    };
    let end = |address: &str, port: &str| {
        let address: A = address.parse().ok()?;
        Some(SocketAddr::new(
            address.into().to_canonical(),
            decimal(port)?,
        ))
    };
    Ok(Announced {
        client: end(client, client_port).ok_or(NONE)?,
        server: end(server, server_port).ok_or(NONE)?,
    })
}

/// A port without sign and leading zeros.
fn decimal(text: &str) -> Option<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Signature, version and command, family and protocol, a length, and so many bytes: addresses, then TLVs.
fn read_v2(bytes: &[u8]) -> HeaderProgress {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return HeaderProgress::Incomplete;
    };
    let &[.., command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) {
        return HeaderProgress::Refused("a PROXY header of a version or command that there isn't");
    }
    if V2_FIXED + length > V2_MAX {
        return HeaderProgress::Refused("a PROXY header that is too long");
    }
    let Some(block) = rest.get(..length) else {
        return HeaderProgress::Incomplete;
    };
    let header = &bytes[..V2_FIXED + length];
    let complete = |announced| {
        HeaderProgress::Complete(Header {
            announced,
            length: header.len(),
        })
    };
    if command == LOCAL {
        // The family, and the whole block, are to be ignored.
        return complete(None);
    }
    let addresses = match family {
        // Says nothing of what is in the block.
        0x00 => return complete(None),
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return HeaderProgress::Refused("a PROXY header of a family that there isn't"),
    };
    let Some((addresses, tlvs)) = block.split_at_checked(addresses) else {
        return HeaderProgress::Refused("a PROXY header too short for its addresses");
    };
    if let Err(why) = check_tlvs(header, tlvs) {
        return HeaderProgress::Refused(why);
    }
    // Datagrams and local sockets are valid, but nobody comes to this port by them.
    complete(match family {
        0x11 => ends::<4>(addresses),
        0x21 => ends::<16>(addresses),
        _ => None,
    })
}

/// Two addresses of so many bytes, then their ports.
fn ends<const N: usize>(block: &[u8]) -> Option<Announced>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk()?;
    let (server_port, _) = rest.split_first_chunk()?;
    let end = |address: &[u8; N], port: &[u8; 2]| {
        SocketAddr::new(
            IpAddr::from(*address).to_canonical(),
            u16::from_be_bytes(*port),
        )
    };
    Some(Announced {
        client: end(client, client_port),
        server: end(server, server_port),
    })
}

/// The TLVs must fill their room exactly, and a checksum must be right; nothing else in them is of use here.
fn check_tlvs(header: &[u8], mut tlvs: &[u8]) -> Result<(), &'static str> {
    let mut summed = false;
    while let Some((&kind, rest)) = tlvs.split_first() {
        let value = rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(u16::from_be_bytes(*length).into()));
        let Some((value, rest)) = value else {
            return Err("a PROXY header with a TLV longer than the rest");
        };
        tlvs = rest;
        if kind != CRC32C {
            continue;
        }
        let sum: [u8; 4] = value
            .try_into()
            .map_err(|_| "a PROXY header with a checksum of a wrong length")?;
        // A second one would be part of what the first one sums up.
        if std::mem::replace(&mut summed, true) {
            return Err("a PROXY header with two checksums");
        }
        let at = header.len() - rest.len() - sum.len();
        let parts = [&header[..at], &[0; 4], rest];
        if crc32c::sum(parts.into_iter().flatten().copied()) != u32::from_be_bytes(sum) {
            return Err("a PROXY header with a wrong checksum");
        }
    }
    Ok(())
}

/// The longest header that is read: more than one with a client's whole certificate in a TLV.
pub const MAX_HEADER: usize = V2_MAX;
const V1: &[u8] = b"PROXY ";
/// With its end, and UNKNOWN with two of the longest addresses.
const V1_MAX: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const V2_MAX: usize = 4096;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const CRC32C: u8 = 0x03;
