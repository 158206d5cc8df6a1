//! What a directory says of its trail's end.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::Chain;

/// The end of the trail as it was known to be on the disk. It may lag behind the trail and never leads.
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

    /// Reads a directory's. Gives none where there is none, or none that can be read.
    pub fn load(directory: &Path) -> Option<Self> {
        let text = fs::read(directory.join(HEAD)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// The file's name.
pub const HEAD: &str = "head.json";
