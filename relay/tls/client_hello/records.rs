//! Takes the first handshake message out of TLS records, which may cut it up anywhere
//! (RFC 8446, 5.1).

use super::{MAX_CLIENT_HELLO, NotTls};

pub(super) enum Reassembly {
    Whole {
        /// The body of the message, without its header.
        message: Vec<u8>,
        /// The bytes of its records, from the first one on.
        length: usize,
    },
    Partial {
        /// How many bytes there must be, from the first one on, before the answer can be another
        /// one.
        need: usize,
    },
}

/// Takes the handshake message out of its records.
///
/// `need` is as large as it may be, so that the caller doesn't parse after every segment. It is
/// never larger, because a byte that breaks a rule must be refused as soon as it is there.
pub(super) fn reassemble(bytes: &[u8]) -> Result<Reassembly, NotTls> {
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
            Some(0) => {
                return Ok(Reassembly::Whole {
                    message: message.split_off(MESSAGE_HEADER),
                    length: end,
                });
            }
            Some(rest) if end + RECORD_HEADER + rest > MAX_CLIENT_HELLO => return Err(TOO_LONG),
            // The rest of this record decides nothing, but the next record's first byte may.
            Some(_) if bytes.len() <= end => {
                return Ok(Reassembly::Partial { need: end + 1 });
            }
            Some(_) => start = end,
        }
    }
}

/// Reads the length in a record header (RFC 8446, 5.1), once all of the header is there.
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

/// Reads the length of the whole handshake message, header included, once its header is there
/// (RFC 8446, 4).
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

pub(super) const TOO_LONG: NotTls = NotTls("the ClientHello is longer than 16 KiB");

pub(super) const HANDSHAKE: u8 = 22;
pub(super) const CLIENT_HELLO: u8 = 1;

pub(super) const RECORD_HEADER: usize = 5;
pub(super) const MESSAGE_HEADER: usize = 4;
const MAX_RECORD: usize = 1 << 14;
