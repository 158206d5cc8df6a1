//! The chain that ties each record to all before it.
//!
//! A line is `{"v":1,"trail":…,"seq":…,…,"prev":…,"hash":…}`. `hash` is the SHA-256 of the line's bytes before `,"hash":`;
//! `prev` is the hash of the record before and stands inside, so a change anywhere changes every hash after it.

use std::io::Write as _;

use ring::digest;

/// Where the chain stands: makes lines out of record bodies.
#[derive(Debug)]
pub(super) struct Chain {
    trail: Box<str>,
    next: u64,
    previous: Hash,
}

/// A SHA-256 in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 64]);

impl Chain {
    /// A new chain. `trail` names it, and must not need escaping in JSON.
    pub(super) fn new(trail: Box<str>) -> Self {
        Self {
            trail,
            next: 1,
            previous: Hash::GENESIS,
        }
    }

    /// Appends the line of the next record to `out`. `members` are the record's JSON members, without braces.
    pub(super) fn append(&mut self, members: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // Writing to a Vec can't fail.
        let _ = write!(
            out,
            "{{\"v\":{VERSION},\"trail\":\"{}\",\"seq\":{},",
            self.trail, self.next
        );
        out.extend_from_slice(members);
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(&self.previous.0);
        out.push(b'"');
        let hash = Hash::of(&out[start..]);
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(&hash.0);
        out.extend_from_slice(b"\"}\n");
        self.next += 1;
        self.previous = hash;
    }
}

impl Hash {
    /// What the first record of a trail has as `prev`.
    pub const GENESIS: Self = Self([b'0'; 64]);

    pub fn of(bytes: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        let digest = digest::digest(&digest::SHA256, bytes);
        for (pair, byte) in text.chunks_exact_mut(2).zip(digest.as_ref()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version of the record's schema, the `v` of every line.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_the_hash_of_the_one_before() {
        let mut chain = Chain::new("t".into());
        let mut out = Vec::new();
        chain.append(br#""event":"a""#, &mut out);
        chain.append(br#""event":"b""#, &mut out);
        let text = String::from_utf8(out).unwrap();
        let mut previous = "0".repeat(64);
        for (seq, line) in (1..).zip(text.lines()) {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["seq"], seq);
            assert_eq!(record["prev"], previous.as_str());
            let (before, _) = line.split_once(",\"hash\":").unwrap();
            assert_eq!(record["hash"], Hash::of(before.as_bytes()).as_str());
            previous = record["hash"].as_str().unwrap().to_owned();
        }
    }

    #[test]
    fn hash_is_sha256_in_hex() {
        // FIPS 180-2, B.1.
        assert_eq!(
            Hash::of(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
