//! The `ClientHello` (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2), read without I/O from the first bytes of
//! a connection: complete, incomplete, or not TLS.
//!
//! It may come in any number of segments and records (RFC 8446, 5.1). A browser's hello with a
//! post-quantum key share usually needs two segments. Nothing is decrypted and nothing is changed:
//! the caller passes the bytes on as they came.

mod extensions;
mod reader;
mod records;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use self::extensions::{protocols, server_name, versions};
use self::reader::HelloReader;
use self::records::{Reassembly, reassemble};
use crate::authority::ServerName;

/// How far the bytes read so far are a `ClientHello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloProgress {
    Incomplete {
        /// How many bytes there must be, from the first one on, before the answer can be another
        /// one. It is never more than [`MAX_CLIENT_HELLO`].
        need: usize,
    },
    Complete(ClientHello),
    /// The bytes are no `ClientHello` that follows the RFC. The text names the rule, and repeats
    /// nothing of what was sent.
    NotTls(&'static str),
}

/// What a `ClientHello` tells in clear text about the connection to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Its bytes, record headers included.
    pub length: usize,
    pub random: Random,
    pub server_name: ServerName,
    /// The first [`MAX_LISTED`] protocols offered (RFC 7301). Bytes outside printable ASCII are
    /// escaped.
    pub alpn: Vec<Box<str>>,
    /// The first [`MAX_LISTED`] versions offered, without GREASE. A client from before TLS 1.3
    /// names only its highest one.
    pub versions: Vec<TlsVersion>,
    /// The extension `encrypted_client_hello` is there (RFC 9849). GREASE looks the same from
    /// outside.
    pub ech: bool,
}

/// The 32 random bytes of a `ClientHello`. A client draws them anew for each hello.
pub type Random = [u8; RANDOM];

/// A `ProtocolVersion` of TLS, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersion(pub u16);

/// The most bytes that a `ClientHello` may have, record headers included.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;

/// How many offered protocols and versions are kept. They are bounded because they go into a record
/// of the trail.
const MAX_LISTED: usize = 8;

/// Parses the start of a connection; `bytes` holds everything received so far.
///
/// Bytes behind the record in which the `ClientHello` ends are not looked at. Once the answer is
/// not [`HelloProgress::Incomplete`], more bytes don't change it.
pub fn parse(bytes: &[u8]) -> HelloProgress {
    let (message, length) = match reassemble(bytes) {
        Ok(Reassembly::Whole { message, length }) => (message, length),
        Ok(Reassembly::Partial { need }) => return HelloProgress::Incomplete { need },
        Err(NotTls(rule)) => return HelloProgress::NotTls(rule),
    };
    match ClientHello::parse(&message) {
        Ok(hello) => HelloProgress::Complete(ClientHello { length, ..hello }),
        Err(NotTls(rule)) => HelloProgress::NotTls(rule),
    }
}

impl ClientHello {
    /// Parses the body of the handshake message.
    fn parse(message: &[u8]) -> Result<Self, NotTls> {
        let mut body = HelloReader(message);
        let legacy_version = TlsVersion(body.u16()?);
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
            length: 0,
            random,
            server_name: ServerName::Absent,
            alpn: Vec::new(),
            versions: vec![legacy_version],
            ech: false,
        };
        if body.is_empty() {
            // A client from before RFC 3546 has no extensions at all.
            return Ok(hello);
        }
        let mut extensions = HelloReader(body.vector16()?);
        body.finish()?;
        let mut seen = HashSet::new();
        while !extensions.is_empty() {
            let number = extensions.u16()?;
            let data = extensions.vector16()?;
            let repeated = !seen.insert(number);
            match number {
                // Two of these become a name that equals no target, so that the trail tells what
                // was wrong.
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

impl TlsVersion {
    /// Tells whether it is one of the reserved numbers that clients add to keep servers tolerant
    /// (RFC 8701).
    fn is_grease(self) -> bool {
        let [high, low] = self.0.to_be_bytes();
        high == low && low & 0x0f == 0x0a
    }
}

impl fmt::Display for TlsVersion {
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

/// The rule of the RFC that the bytes break.
struct NotTls(&'static str);

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

const RANDOM: usize = 32;
const MAX_SESSION_ID: usize = 32;
