//! The result of verifying a trail.

use std::{fmt, io};

use crate::reader::Place;

/// The report on a trail that isn't broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    pub trail: String,
    pub records: u64,
    pub from: u64,
    pub to: u64,
    pub first_time: String,
    pub last_time: String,
    pub gaps: Vec<DeclaredGap>,
    pub clock_steps: u64,
    /// Lines that came a second time, as a failed write or a repeated copy leaves them.
    pub duplicates: u64,
    /// Segments that end in half a line, as a failed write leaves them, or a relay that is writing.
    pub torn: u64,
    pub checkpoints: u64,
    /// The last record that a valid seal covers, if a key was given.
    pub sealed_to: Option<u64>,
    /// How many records of the witness were compared, if there is one.
    pub witnessed: Option<u64>,
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
