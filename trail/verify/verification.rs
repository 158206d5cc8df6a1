//! The result of verifying a trail.

use std::str::FromStr;
use std::{fmt, io};

use crate::data::Range;
use crate::hash::Hash;
use crate::jumps::Jump;
use crate::key::PublicKey;
use crate::reader::Place;

/// The report on a trail that isn't broken.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Verification {
    pub trail: String,
    pub records: u64,
    pub from: u64,
    pub to: u64,
    pub first_time: String,
    pub last_time: String,
    pub gaps: Vec<DeclaredGap>,
    pub clock_steps: u64,
    /// The jumps ahead that the relay doesn't count as time that has passed.
    pub unconfirmed: Vec<Jump>,
    /// Lines that came a second time, as a failed write or a repeated copy leaves them.
    pub duplicates: u64,
    /// Segments that end in half a line, as a failed write leaves them, or a relay that is writing.
    pub torn: u64,
    pub checkpoints: u64,
    /// The last record that a valid seal covers, if a key was given.
    pub sealed_to: Option<u64>,
    /// The last record that the signed `head.json` of a directory covers, if a key was given.
    pub signed_to: Option<u64>,
    /// Records that a run left behind its last checkpoint, as a crash does. No seal shows when they
    /// were written.
    pub unsealed: Vec<Range>,
    /// Where the time goes back from one record to the next.
    pub time_back: Vec<TimeBack>,
    /// How often it does; `time_back` has the first of them.
    pub times_back: u64,
    /// Whether the record of the pin that was given was compared, if one was. It may have been
    /// pruned.
    pub pin_compared: Option<bool>,
    /// How many records of the witness were compared, if there is one.
    pub witnessed: Option<u64>,
    /// What the witness has from before the trail's first record.
    pub witness_before: Option<Range>,
    /// The end of the trail, to be noted elsewhere: see [`Pin`].
    pub pin: Pin,
}

/// The end of a trail at some time. A note of it shows whether a later trail goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    pub seq: u64,
    pub hash: Option<Hash>,
    /// The key that signs the next checkpoint.
    pub next: Option<PublicKey>,
}

/// A record with an earlier time than the one before it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TimeBack {
    pub seq: u64,
    pub from: String,
    pub to: String,
}

/// A gap that the trail declares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeclaredGap {
    /// The number of the first missing record. Without it there is only a count, or nothing but the
    /// cause.
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub cause: String,
    pub time: String,
    /// Whether a checkpoint vouches for the record that declares it. Otherwise anyone may have
    /// written that record.
    pub vouched: bool,
    /// The number of that record.
    #[serde(skip)]
    pub(super) seq: u64,
}

/// The first place at which the trail isn't as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub place: Place,
    pub seq: Option<u64>,
    pub what: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.hash.unwrap_or(Hash::GENESIS);
        write!(f, "{}:{hash}", self.seq)?;
        match &self.next {
            Some(next) => write!(f, ":{next}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let mut parts = text.split(':');
        let seq = parts.next().and_then(|seq| seq.parse().ok());
        let hash = parts.next().and_then(|hash| Hash::parse(hash.as_bytes()));
        let next = match parts.next() {
            Some(key) => Some(PublicKey::parse(key).ok_or(PinError)?),
            None => None,
        };
        match (seq, hash, parts.next()) {
            (Some(seq), Some(hash), None) => Ok(Self {
                seq,
                hash: Some(hash),
                next,
            }),
            _ => Err(PinError),
        }
    }
}

impl serde::Serialize for Pin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pin is written SEQ:HASH or SEQ:HASH:KEY, as `audit verify` and the relay's log print it"
)]
pub struct PinError;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "{}: record {seq}: {}", self.place, self.what),
            None if self.place.line > 0 => write!(f, "{}: {}", self.place, self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Broken {}
