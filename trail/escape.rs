//! Escapes, masks and bounds the target that a client sent, so that it can be recorded.

use std::fmt::Write as _;
use std::ops::Range;

/// Escapes bytes that a client sent into printable ASCII, and masks possible secrets: the userinfo
/// before an `@`, and the query from `?` on.
///
/// The escape can be reversed, but the mask can't. A backslash doubles, and any other byte that
/// isn't printable becomes `\xNN`.
pub fn escape(raw: &[u8]) -> String {
    let masked = userinfo(raw);
    let rest = masked.as_ref().map_or(0, |range| range.end);
    let query = raw[rest..].iter().position(|b| *b == b'?');
    let path = &raw[rest..query.map_or(raw.len(), |at| rest + at)];

    let mut out = String::with_capacity(raw.len().min(MAX_RAW) + 8);
    let mut room = MAX_RAW;
    if let Some(range) = masked {
        push_escaped(&mut out, &raw[..range.start], &mut room);
        out.push_str(MASK);
    }
    push_escaped(&mut out, path, &mut room);
    if query.is_some() {
        out.push('?');
        out.push_str(MASK);
    }
    out
}

/// Finds the userinfo, which ends at the last `@` of the authority (RFC 3986, 3.2).
///
/// The search covers all that was sent. If the text were cut first, a cut between a password and
/// its `@` would let the password through.
fn userinfo(raw: &[u8]) -> Option<Range<usize>> {
    let is_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    let start = raw
        .windows(3)
        .position(|w| w == b"://")
        .filter(|at| raw[..*at].iter().all(is_scheme))
        .map_or(0, |at| at + 3);
    let is_end = |b: &u8| matches!(b, b'/' | b'?');
    let end = match raw[start..].iter().position(is_end) {
        // Without a scheme or a leading slash, all of it is authority. A `/` or `?` then belongs to
        // a password that wasn't encoded.
        Some(1..) if start == 0 => raw.len(),
        Some(at) => start + at,
        None => raw.len(),
    };
    let at = raw[start..end].iter().rposition(|b| *b == b'@')?;
    Some(start..start + at)
}

/// Escapes as many of `bytes` as there is `room` for, and appends them.
fn push_escaped(out: &mut String, bytes: &[u8], room: &mut usize) {
    let kept = &bytes[..bytes.len().min(*room)];
    *room -= kept.len();
    for &byte in kept {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// Returns the bytes that [`escape`] got, as far as they were kept. Text that it can't have made
/// stays as it is.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                rest = tail;
            }
            (b'\\', [b'x', high, low, tail @ ..])
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) =>
            {
                out.push(high << 4 | low);
                rest = tail;
            }
            _ => out.push(*first),
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

/// How many bytes of a raw target the trail keeps. A host name with a port has at most 259.
pub const MAX_RAW: usize = 256;
const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_masks() {
        for (raw, kept) in [
            (&b"CH3.zerto.com:443"[..], "CH3.zerto.com:443"),
            (
                b"a\r\nX: \x1b[31m\xff\xe2\x80\xae",
                "a\\x0d\\x0aX: \\x1b[31m\\xff\\xe2\\x80\\xae",
            ),
            (b"back\\slash", "back\\\\slash"),
            (b"user:secret@host:443", "***@host:443"),
            (b"a@b@host:443", "***@host:443"),
            (b"user:se?cr/et@host:443", "***@host:443"),
            (b"user:se://cret@host:443", "***@host:443"),
            (b"http://host?to=user:secret@host", "http://host?***"),
            (b"/path?to=http://user:secret@host", "/path?***"),
            (
                b"http://user:secret@host/p@th?token=1",
                "http://***@host/p@th?***",
            ),
            (b"/path?secret=1", "/path?***"),
            (b"", ""),
        ] {
            assert_eq!(escape(raw), kept);
        }
    }

    proptest! {
        #[test]
        fn only_printable_ascii_comes_out(raw: Vec<u8>) {
            prop_assert!(escape(&raw).bytes().all(|b| (b' '..=b'~').contains(&b)));
        }

        #[test]
        fn no_secret_comes_out(user in "[a-z]{1,10}", host in "[a-z]{1,10}") {
            let text = escape(format!("{user}:S3CRET@{host}:443?S3CRET").as_bytes());
            prop_assert!(!text.contains("S3CRET"), "{}", text);
        }

        #[test]
        fn unescaping_gives_what_was_sent(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(!bytes.contains(&b'?') && !bytes.contains(&b'@'));
            prop_assert_eq!(unescape(&escape(&bytes)), bytes);
        }
    }
}
