//! The chain that ties each record to all before it.
//!
//! A line is `{"v":1,"trail":…,"seq":…,…,"prev":…,"hash":…}`. `hash` is the SHA-256 of the line's
//! bytes before `,"hash":`. `prev` is the hash of the record before, and is hashed too. So a change
//! anywhere changes every hash after it.
//!
//! A checkpoint has a `signature` between the two, made over the bytes before `,"signature":`.

use std::borrow::Cow;
use std::io::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::data::{AuditGap, Checkpoint, ClockConfirmed, ClockStepped};
use crate::hash::Hash;
use crate::jumps::Jumps;
use crate::key::PublicKey;

/// The end of a chain, which makes lines out of the members of records.
#[derive(Debug)]
pub struct Chain {
    trail: Box<str>,
    next: u64,
    previous: Hash,
}

/// A line whose hash is that of its bytes.
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

/// What is wrong with a line, without regard to its neighbours.
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
    /// Starts a chain. `trail` names it, and must not need escaping in JSON.
    pub fn new(trail: Box<str>) -> Self {
        Self::resume(trail, 1, Hash::GENESIS)
    }

    /// Continues a chain after a record with the hash `previous`.
    pub fn resume(trail: Box<str>, next: u64, previous: Hash) -> Self {
        Self {
            trail,
            next,
            previous,
        }
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn previous(&self) -> &Hash {
        &self.previous
    }

    pub fn trail(&self) -> &str {
        &self.trail
    }

    /// Appends the line of the next record to `out`.
    ///
    /// `members` are the JSON members of the record that follow its time, without braces.
    pub fn append(&mut self, time: Timestamp, members: &[u8], out: &mut Vec<u8>) {
        self.append_signed(time, members, out, |_| None);
    }

    /// Appends the line of a record that `sign` signs, in hexadecimal.
    pub fn append_signed(
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
        out.extend_from_slice(self.previous.as_bytes());
        out.push(b'"');
        if let Some(signature) = sign(&out[start..]) {
            let _ = write!(out, "{SIGNATURE}\"{signature}\"");
        }
        let hash = Hash::of(&out[start..]);
        out.extend_from_slice(HASH);
        out.extend_from_slice(hash.as_bytes());
        out.extend_from_slice(b"\"}\n");
        self.next += 1;
        self.previous = hash;
    }
}

impl<'a> Line<'a> {
    /// Parses a line, without its line feed, that must follow the record with the hash `previous`.
    ///
    /// Returns none when its hash isn't that of its bytes, or when it follows another record. The
    /// raw bytes are hashed, because JSON that means the same can have other bytes.
    pub fn after(previous: &Hash, bytes: &'a [u8]) -> Option<Self> {
        let line = Self::parse(bytes).ok()?;
        (line.prev == *previous).then_some(line)
    }

    /// Parses a line, without its line feed, and proves its hash.
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

    /// The `data` of the record, if it can be read as a `T`.
    pub fn data<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.data?.get()).ok()
    }

    /// Whether the record declares that exactly the records from `from` up to it are missing.
    pub fn declares_missing(&self, from: u64) -> bool {
        let last = self.seq.checked_sub(1);
        let gap = (self.event == "audit_gap").then(|| self.data::<AuditGap>());
        gap.flatten()
            .is_some_and(|gap| (gap.from, gap.to) == (Some(from), last))
    }

    /// Tells the list of the clock's jumps what the record says about them.
    pub fn tell(&self, jumps: &mut Jumps) {
        match &*self.event {
            "checkpoint" => {
                let data = self.data::<Checkpoint>();
                *jumps = data.map(|data| data.jumps).unwrap_or_default();
            }
            "clock_stepped" => {
                if let Some(step) = self.data::<ClockStepped>() {
                    jumps.step(
                        self.seq,
                        self.time.clone().into_owned().into(),
                        step.seconds,
                    );
                }
            }
            "clock_confirmed" => {
                if let Some(confirmed) = self.data::<ClockConfirmed>() {
                    jumps.confirm(confirmed.to);
                }
            }
            _ => {}
        }
    }

    /// The key that a checkpoint names as its successor.
    pub fn successor(&self) -> Option<PublicKey> {
        PublicKey::parse(&self.data::<Checkpoint>()?.next)
    }
}

/// The version of the record's schema, the `v` of every line.
pub const VERSION: u8 = 1;
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
        fn after(hash: &Hash, bytes: &[u8]) -> Option<Hash> {
            Line::after(hash, bytes).map(|line| line.hash)
        }
        let mut chain = Chain::new("t".into());
        let mut lines = Vec::new();
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"a""#, &mut lines);
        chain.append(Timestamp::UNIX_EPOCH, br#""event":"b""#, &mut lines);
        let lines: Vec<_> = lines.trim_ascii_end().split(|b| *b == b'\n').collect();
        let first = after(&Hash::GENESIS, lines[0]).unwrap();
        assert_eq!(after(&first, lines[1]), Some(chain.previous));
        assert_eq!(after(&Hash::GENESIS, lines[1]), None);
        assert_eq!(after(&first, lines[0]), None);
        for at in 0..lines[0].len() {
            let mut changed = lines[0].to_vec();
            changed[at] ^= 1;
            assert_eq!(after(&Hash::GENESIS, &changed), None, "byte {at}");
            assert_eq!(after(&Hash::GENESIS, &lines[0][..at]), None, "{at} bytes");
        }
    }
}
