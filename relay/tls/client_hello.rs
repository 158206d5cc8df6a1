//! The `ClientHello` (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2), read without I/O from the first bytes of a connection: complete,
//! incomplete, or not TLS.
//!
//! It may come in any number of segments and records (RFC 8446, 5.1); a browser's with a post-quantum key share needs two
//! segments as a rule. Nothing is decrypted and nothing is changed: what was read is passed on as it came.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use crate::authority::{DnsName, Host, ServerName};

/// What the bytes read so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Incomplete {
        /// How many bytes there must be, from the first one on, before the answer can be another one. Never more than
        /// [`MAX_CLIENT_HELLO`].
        need: usize,
    },
    Complete(ClientHello),
    /// No `ClientHello`, or none that follows the RFC; the text says which rule, and repeats nothing of what was sent.
    NotTls(&'static str),
}

/// What a `ClientHello` says in the clear about the connection to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    pub random: Random,
    pub server_name: ServerName,
    /// The protocols offered (RFC 7301), the first [`MAX_LISTED`]; bytes outside printable ASCII are escaped.
    pub alpn: Vec<Box<str>>,
    /// The versions offered, the first [`MAX_LISTED`], without GREASE; before TLS 1.3 only the highest is said.
    pub versions: Vec<Version>,
    /// Whether `encrypted_client_hello` is there (RFC 9849). GREASE looks the same from outside.
    pub ech: bool,
}

/// 32 bytes that a client takes for one `ClientHello` and no other.
pub type Random = [u8; RANDOM];

/// A `ProtocolVersion`, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u16);

/// The most bytes a `ClientHello` may take, record headers included.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;

/// How many offered protocols and versions are kept: they end in a record of the trail.
const MAX_LISTED: usize = 8;

/// Parses the start of a connection; `bytes` holds everything received so far.
///
/// Whatever follows the record in which the `ClientHello` ends is not looked at. Once the answer is not
/// [`Progress::Incomplete`] more bytes don't change it.
pub fn parse(bytes: &[u8]) -> Progress {
    let message = match reassemble(bytes) {
        Ok(Reassembly::Whole(message)) => message,
        Ok(Reassembly::Partial { need }) => return Progress::Incomplete { need },
        Err(NotTls(rule)) => return Progress::NotTls(rule),
    };
    match ClientHello::parse(&message) {
        Ok(hello) => Progress::Complete(hello),
        Err(NotTls(rule)) => Progress::NotTls(rule),
    }
}

impl ClientHello {
    /// Parses the body of the handshake message.
    fn parse(message: &[u8]) -> Result<Self, NotTls> {
        let mut body = Reader(message);
        let legacy_version = Version(body.u16()?);
        let random = body.random()?;
        if body.vector8()?.len() > MAX_SESSION_ID {
            return Err(NotTls("a session id has at most 32 bytes"));
        }
        let cipher_suites = body.vector16()?;
        if cipher_suites.is_empty() || cipher_suites.len() % 2 != 0 {
            return Err(NotTls(
                "a cipher suite has two bytes, and there is at least one",
            ));
        }
        if body.vector8()?.is_empty() {
            return Err(NotTls("there is at least one compression method"));
        }
        let mut hello = Self {
            random,
            server_name: ServerName::Absent,
            alpn: Vec::new(),
            versions: vec![legacy_version],
            ech: false,
        };
        if body.is_empty() {
            // No extensions at all, as a client from before RFC 3546 has it.
            return Ok(hello);
        }
        let mut extensions = Reader(body.vector16()?);
        body.finish()?;
        let mut seen = HashSet::new();
        while !extensions.is_empty() {
            let number = extensions.u16()?;
            let data = extensions.vector16()?;
            let repeated = !seen.insert(number);
            match number {
                // Two of these are kept as a name that equals nothing, so that the trail says what was wrong.
                SERVER_NAME if repeated => hello.server_name = ServerName::Invalid,
                _ if repeated => return Err(NotTls("an extension comes only once")),
                SERVER_NAME => hello.server_name = server_name(data),
                ALPN => hello.alpn = protocols(data)?,
                SUPPORTED_VERSIONS => hello.versions = versions(data)?,
                ENCRYPTED_CLIENT_HELLO => hello.ech = true,
                _ => {}
            }
        }
        Ok(hello)
    }
}

impl Version {
    /// Reserved numbers that clients sprinkle in to keep servers tolerant (RFC 8701).
    fn is_grease(self) -> bool {
        let [high, low] = self.0.to_be_bytes();
        high == low && low & 0x0f == 0x0a
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x0304 => f.write_str("1.3"),
            0x0303 => f.write_str("1.2"),
            0x0302 => f.write_str("1.1"),
            0x0301 => f.write_str("1.0"),
            0x0300 => f.write_str("ssl3"),
            number => write!(f, "{number:#06x}"),
        }
    }
}

/// The rule that the bytes break.
struct NotTls(&'static str);

enum Reassembly {
    /// The body of the message, without its header.
    Whole(Vec<u8>),
    Partial {
        need: usize,
    },
}

/// Takes the handshake message out of its records.
fn reassemble(bytes: &[u8]) -> Result<Reassembly, NotTls> {
    let mut message = Vec::new();
    let mut start = 0;
    loop {
        let Some(length) = record_length(&bytes[start..])? else {
            // Each byte of a header can be the wrong one.
            return Ok(Reassembly::Partial {
                need: bytes.len() + 1,
            });
        };
        let content = start + RECORD_HEADER;
        let end = content + length;
        if end > MAX_CLIENT_HELLO {
            return Err(TOO_LONG);
        }
        let before = message.len();
        message.extend_from_slice(&bytes[content..bytes.len().min(end)]);

        let total = match message_length(&message)? {
            Some(total) => total,
            // The message's own header is cut up over records.
            None if bytes.len() >= end => {
                start = end;
                continue;
            }
            None => {
                return Ok(Reassembly::Partial {
                    need: bytes.len() + 1,
                });
            }
        };
        match total.checked_sub(before + length) {
            None => return Err(NotTls("a ClientHello ends with its record")),
            Some(0) if bytes.len() < end => return Ok(Reassembly::Partial { need: end }),
            Some(0) => return Ok(Reassembly::Whole(message.split_off(MESSAGE_HEADER))),
            Some(rest) if end + RECORD_HEADER + rest > MAX_CLIENT_HELLO => return Err(TOO_LONG),
            // The rest of this record decides nothing, the next one's first byte may.
            Some(_) if bytes.len() <= end => {
                return Ok(Reassembly::Partial { need: end + 1 });
            }
            Some(_) => start = end,
        }
    }
}

/// The length in a record header (RFC 8446, 5.1), once all of it is there.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, NotTls> {
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Err(NotTls("the first records are handshake records"));
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(NotTls("the record version starts with 3"));
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([high, low])) {
        0 => Err(NotTls("a handshake record is not empty")),
        length if length > MAX_RECORD => Err(NotTls("a record has at most 16,384 bytes")),
        length => Ok(Some(length)),
    }
}

/// The length of the whole handshake message, header included, once its header is there (RFC 8446, 4).
fn message_length(message: &[u8]) -> Result<Option<usize>, NotTls> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(NotTls("the first handshake message is a ClientHello"));
    }
    let Some(&[_, high, middle, low]) = message.first_chunk::<MESSAGE_HEADER>() else {
        return Ok(None);
    };
    if high != 0 {
        return Err(TOO_LONG);
    }
    Ok(Some(
        MESSAGE_HEADER + usize::from(u16::from_be_bytes([middle, low])),
    ))
}

/// RFC 6066, 3: a list with exactly one entry, a host name. Anything else is a name all the same, one that equals nothing.
fn server_name(data: &[u8]) -> ServerName {
    let host = || {
        let mut extension = Reader(data);
        let mut list = Reader(extension.vector16().ok()?);
        extension.finish().ok()?;
        let kind = list.u8().ok()?;
        let name = list.vector16().ok()?;
        list.finish().ok()?;
        let text = std::str::from_utf8(name).ok()?;
        if kind != HOST_NAME {
            return None;
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Some(Host::Literal(address)),
            Err(_) => text.parse::<DnsName>().ok().map(Host::Name),
        }
    };
    host().map_or(ServerName::Invalid, ServerName::Host)
}

/// RFC 7301, 3.1.
fn protocols(data: &[u8]) -> Result<Vec<Box<str>>, NotTls> {
    let mut extension = Reader(data);
    let mut list = Reader(extension.vector16()?);
    extension.finish()?;
    if list.is_empty() {
        return Err(NotTls("ALPN offers at least one protocol"));
    }
    let mut kept = Vec::new();
    while !list.is_empty() {
        let name = list.vector8()?;
        if name.is_empty() {
            return Err(NotTls("an ALPN protocol has a name"));
        }
        if kept.len() < MAX_LISTED {
            kept.push(name.escape_ascii().to_string().into_boxed_str());
        }
    }
    Ok(kept)
}

/// RFC 8446, 4.2.1.
fn versions(data: &[u8]) -> Result<Vec<Version>, NotTls> {
    let mut extension = Reader(data);
    let mut list = Reader(extension.vector8()?);
    extension.finish()?;
    if list.is_empty() {
        return Err(NotTls("supported_versions has at least one version"));
    }
    let mut kept = Vec::new();
    while !list.is_empty() {
        let version = Version(list.u16()?);
        if !version.is_grease() && kept.len() < MAX_LISTED {
            kept.push(version);
        }
    }
    Ok(kept)
}

/// What is left to read of a structure in the presentation language (RFC 8446, 3).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotTls> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, NotTls> {
        let (&byte, rest) = self.0.split_first().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, NotTls> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn random(&mut self) -> Result<Random, NotTls> {
        let (&random, rest) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(random)
    }

    /// `opaque<0..2^8-1>`.
    fn vector8(&mut self) -> Result<&'a [u8], NotTls> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// `opaque<0..2^16-1>`.
    fn vector16(&mut self) -> Result<&'a [u8], NotTls> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn finish(self) -> Result<(), NotTls> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(NotTls("bytes are left over inside the ClientHello"))
        }
    }
}

const CUT_SHORT: NotTls = NotTls("a length inside the ClientHello goes beyond what holds it");
const TOO_LONG: NotTls = NotTls("the ClientHello is longer than 16 KiB");

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HOST_NAME: u8 = 0;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const MAX_RECORD: usize = 1 << 14;
const RANDOM: usize = 32;
const MAX_SESSION_ID: usize = 32;

#[cfg(test)]
mod tests;
