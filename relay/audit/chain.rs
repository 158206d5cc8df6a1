//! The chain that ties each record to all before it.
//!
//! A line is `{"v":1,"trail":…,"seq":…,…,"prev":…,"hash":…}`. `hash` is the SHA-256 of the line's bytes before `,"hash":`;
//! `prev` is the hash of the record before and stands inside, so a change anywhere changes every hash after it. A checkpoint has a
//! `signature` between the two, made over the bytes before `,"signature":`.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use ring::digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::seal::PublicKey;

/// Where the chain stands: makes lines out of record bodies.
#[derive(Debug)]
pub(super) struct Chain {
    trail: Box<str>,
    next: u64,
    previous: Hash,
}

/// A SHA-256 in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 64]);

/// A line that is whole in itself: its hash is that of its bytes.
#[derive(Debug)]
pub struct Line<'a> {
    pub trail: Cow<'a, str>,
    pub seq: u64,
    pub time: Cow<'a, str>,
    pub event: Cow<'a, str>,
    pub data: Option<&'a RawValue>,
    pub prev: Hash,
    pub hash: Hash,
    /// The whole line.
    pub bytes: &'a [u8],
    /// The signature, and the bytes that it is made over.
    pub signed: Option<(Cow<'a, str>, &'a [u8])>,
}

/// What is wrong with a line by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("it isn't a record")]
    NotARecord,
    #[error("its version is not {VERSION}")]
    Version,
    #[error("it was changed: its hash is not that of its bytes")]
    Changed,
}

impl Chain {
    /// A new chain. `trail` names it, and must not need escaping in JSON.
    pub(super) fn new(trail: Box<str>) -> Self {
        Self::resume(trail, 1, Hash::GENESIS)
    }

    /// Goes on after a record with this hash.
    pub(super) fn resume(trail: Box<str>, next: u64, previous: Hash) -> Self {
        Self {
            trail,
            next,
            previous,
        }
    }

    /// The number that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn previous(&self) -> &Hash {
        &self.previous
    }

    pub(super) fn trail(&self) -> &str {
        &self.trail
    }

    /// Appends the line of the next record to `out`. `members` are the record's JSON members that follow its time, without braces.
    pub(super) fn append(&mut self, time: Timestamp, members: &[u8], out: &mut Vec<u8>) {
        self.append_signed(time, members, out, |_| None);
    }

    /// The same for a record that `sign` signs, in hexadecimal.
    pub(super) fn append_signed(
        &mut self,
        time: Timestamp,
        members: &[u8],
        out: &mut Vec<u8>,
        sign: impl FnOnce(&[u8]) -> Option<String>,
    ) {
        let start = out.len();
        // Writing to a Vec can't fail.
        let _ = write!(
            out,
            "{{\"v\":{VERSION},\"trail\":\"{}\",\"seq\":{},\"time\":\"{time:.6}\",",
            self.trail, self.next
        );
        out.extend_from_slice(members);
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(&self.previous.0);
        out.push(b'"');
        if let Some(signature) = sign(&out[start..]) {
            let _ = write!(out, "{SIGNATURE}\"{signature}\"");
        }
        let hash = Hash::of(&out[start..]);
        out.extend_from_slice(HASH);
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
        Self(hex(digest::digest(&digest::SHA256, bytes).as_ref()))
    }

    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 64] = text.try_into().ok()?;
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Self(digits))
    }

    /// The hash of `line`, which must not end in a line break, if it is the line's own and the line follows the record that has
    /// this hash. Judges the raw bytes: JSON that means the same is another line.
    pub fn followed_by(&self, line: &[u8]) -> Option<Self> {
        let line = Line::parse(line).ok()?;
        (line.prev == *self).then_some(line.hash)
    }

    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<'a> Line<'a> {
    /// Reads a line, without its line feed, and proves its hash.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LineError> {
        #[derive(Deserialize)]
        struct Members<'a> {
            v: u8,
            #[serde(borrow)]
            trail: Cow<'a, str>,
            seq: u64,
            #[serde(borrow)]
            time: Cow<'a, str>,
            #[serde(borrow)]
            event: Cow<'a, str>,
            #[serde(borrow, default)]
            data: Option<&'a RawValue>,
            #[serde(borrow)]
            prev: Cow<'a, str>,
            #[serde(borrow, default)]
            signature: Option<Cow<'a, str>>,
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LineError::NotARecord)?;
        let members: Members<'a> = serde_json::from_str(text).map_err(|_| LineError::NotARecord)?;
        if members.v != VERSION {
            return Err(LineError::Version);
        }
        let prev = Hash::parse(members.prev.as_bytes()).ok_or(LineError::NotARecord)?;
        // The hash is the last member, at a fixed distance from the end.
        let at = bytes
            .len()
            .checked_sub(HASH.len() + 64 + 2)
            .ok_or(LineError::NotARecord)?;
        let (hashed, rest) = bytes.split_at(at);
        let hash = rest
            .strip_prefix(HASH)
            .and_then(|rest| rest.strip_suffix(b"\"}"))
            .and_then(Hash::parse)
            .ok_or(LineError::NotARecord)?;
        if Hash::of(hashed) != hash {
            return Err(LineError::Changed);
        }
        let signed = members.signature.and_then(|signature| {
            let member = SIGNATURE.len() + signature.len() + 2;
            let at = hashed.len().checked_sub(member)?;
            Some((signature, &hashed[..at]))
        });
        Ok(Self {
            trail: members.trail,
            seq: members.seq,
            time: members.time,
            event: members.event,
            data: members.data,
            prev,
            hash,
            bytes,
            signed,
        })
    }

    /// The record of a session, and its id.
    pub(super) fn session(&self) -> Option<(String, Map<String, Value>)> {
        let members: Map<String, Value> = serde_json::from_slice(self.bytes).ok()?;
        let session = members.get("session")?.as_str()?.to_owned();
        Some((session, members))
    }

    /// The members of `data`, as far as they are a `T`.
    pub fn data<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.data?.get()).ok()
    }

    /// The key that a checkpoint names as its successor.
    pub(super) fn successor(&self) -> Option<PublicKey> {
        #[derive(Deserialize)]
        struct Keys<'a> {
            #[serde(borrow)]
            next: Cow<'a, str>,
        }
        PublicKey::parse(&self.data::<Keys<'_>>()?.next)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; N];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The version of the record's schema, the `v` of every line.
pub(super) const VERSION: u8 = 1;
const HASH: &[u8] = b",\"hash\":\"";
const SIGNATURE: &str = ",\"signature\":";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_the_hash_of_the_one_before() {
        let mut chain = Chain::new("t".into());
        let mut out = Vec::new();
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"a""#, &mut out);
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"b""#, &mut out);
        let mut previous = Hash::GENESIS;
        for (seq, bytes) in (1..).zip(out.split_inclusive(|b| *b == b'\n')) {
            let line = Line::parse(bytes.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(line.seq, seq);
            assert_eq!(line.prev, previous);
            previous = line.hash;
        }
        assert_eq!(previous, *chain.previous());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let mut out = Vec::new();
        Chain::new("t".into()).append(Timestamp::UNIX_EPOCH, br#""event":"a""#, &mut out);
        out.pop();
        assert!(Line::parse(&out).is_ok());
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 1;
            assert!(Line::parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_signature_covers_what_stands_before_it() {
        let mut out = Vec::new();
        let mut signed = Vec::new();
        Chain::new("t".into()).append_signed(
            Timestamp::UNIX_EPOCH,
            br#""event":"checkpoint""#,
            &mut out,
            |bytes| {
                signed = bytes.to_vec();
                Some("5eed".to_owned())
            },
        );
        out.pop();
        let line = Line::parse(&out).unwrap();
        assert_eq!(line.signed, Some(("5eed".into(), signed.as_slice())));
    }

    #[test]
    fn no_byte_can_change_and_no_line_can_go() {
        let mut chain = Chain::new("t".into());
        let mut lines = Vec::new();
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"a""#, &mut lines);
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"b""#, &mut lines);
        let lines: Vec<_> = lines.trim_ascii_end().split(|b| *b == b'\n').collect();
        let first = Hash::GENESIS.followed_by(lines[0]).unwrap();
        assert_eq!(first.followed_by(lines[1]), Some(chain.previous));
        assert_eq!(Hash::GENESIS.followed_by(lines[1]), None);
        assert_eq!(first.followed_by(lines[0]), None);
        for at in 0..lines[0].len() {
            let mut changed = lines[0].to_vec();
            changed[at] ^= 1;
            assert_eq!(Hash::GENESIS.followed_by(&changed), None, "byte {at}");
            assert_eq!(
                Hash::GENESIS.followed_by(&lines[0][..at]),
                None,
                "{at} bytes"
            );
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
