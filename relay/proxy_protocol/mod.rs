//! The PROXY protocol, versions 1 and 2: a load balancer tells the address of the client whose
//! bytes follow.
//!
//! It is written after its specification, `proxy-protocol.txt`. It is pure, and stricter than it
//! needs to be. If a header could be read in two ways, an attacker's word could be taken for the
//! balancer's.

mod crc32c;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How far the bytes read so far are a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    Complete(Header),
    Incomplete,
    /// The bytes are no header, for this reason.
    Refused(&'static str),
}

/// A header that is whole and well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// None where the header announces no TCP client: `LOCAL`, `UNKNOWN`, and families other than
    /// IPv4 and IPv6.
    pub announced: Option<Announced>,
    /// The bytes of the header. The bytes behind them are the client's.
    pub length: usize,
}

/// Both ends of the connection that the balancer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub server: SocketAddr,
}

/// Parses the first bytes of a connection. Bytes behind the header don't change the answer.
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

/// Reads a line: `PROXY TCP4 10.0.0.1 10.0.0.2 51514 3128`.
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
        // The specification says to ignore the rest of the line.
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

/// Reads a port without sign and leading zeros.
fn decimal(text: &str) -> Option<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Reads the binary form: signature, version and command, family and protocol, a length, and a
/// block of that length. The block has the addresses, then TLVs.
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
        // The specification says to ignore the family and the whole block.
        return complete(None);
    }
    let addresses = match family {
        // The family `AF_UNSPEC` doesn't say what is in the block.
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
    // Datagrams and local sockets are valid, but no client comes to this port by them.
    complete(match family {
        0x11 => ends::<4>(addresses),
        0x21 => ends::<16>(addresses),
        _ => None,
    })
}

/// Reads two addresses of `N` bytes, then their ports.
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

/// Checks that the TLVs fill their room exactly, and that a checksum is right. Nothing else in them
/// is of use here.
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
        // A second checksum would be part of what the first one sums up.
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

/// The longest header that is read. It is longer than one with a client's whole certificate in a
/// TLV.
pub const MAX_HEADER: usize = V2_MAX;
const V1: &[u8] = b"PROXY ";
/// The longest line, its end included: UNKNOWN with two of the longest addresses.
const V1_MAX: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const V2_MAX: usize = 4096;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const CRC32C: u8 = 0x03;
