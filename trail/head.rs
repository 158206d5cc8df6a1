//! The end of a trail, as its directory keeps it apart from the records.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::Chain;

/// The last record that was known to be on the disk. It may be behind the trail, and is never ahead
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub trail: Box<str>,
    pub seq: u64,
    pub hash: Box<str>,
}

impl Head {
    /// The end of this chain.
    pub fn of(chain: &Chain) -> Self {
        Self {
            trail: chain.trail().into(),
            seq: chain.next() - 1,
            hash: chain.previous().as_str().into(),
        }
    }

    /// Reads the file of a directory. Returns none if it is missing or can't be read.
    pub fn load(directory: &Path) -> Option<Self> {
        let text = fs::read(directory.join(HEAD)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// The name of the file.
pub const HEAD: &str = "head.json";
