//! The end of a trail, as its directory keeps it apart from the records.

use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::hash::Hash;
use crate::key::{PublicKey, SigningKey};
use crate::segments::{is_absent, open_file};

/// The last record that was known to be on the disk. It may be behind the trail, and is never ahead
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub trail: Box<str>,
    pub seq: u64,
    pub hash: Box<str>,
    /// By the key that the last checkpoint at or before `seq` names. Older relays didn't sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Box<str>>,
}

/// What lies in a directory under the name of the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeadFile {
    #[default]
    Missing,
    /// It is no head.
    Spoilt,
    Read(Head),
}

impl Head {
    /// A head that isn't signed.
    pub fn new(trail: &str, seq: u64, hash: &Hash) -> Self {
        Self {
            trail: trail.into(),
            seq,
            hash: hash.as_str().into(),
            signature: None,
        }
    }

    /// The end of this chain, not signed.
    pub fn of(chain: &Chain) -> Self {
        Self::new(chain.trail(), chain.next() - 1, chain.previous())
    }

    /// Signs the head.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> Self {
        self.signature = Some(key.sign(self.text().as_bytes()).into());
        self
    }

    /// Reads the file of a directory.
    ///
    /// # Errors
    ///
    /// The file is there, and the disk doesn't give it.
    pub fn load(directory: &Path) -> io::Result<HeadFile> {
        let mut text = Vec::new();
        match open_file(&directory.join(HEAD)) {
            Ok(file) => file.take(MAX_HEAD).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HeadFile::Missing),
            Err(error) if is_absent(&error) => return Ok(HeadFile::Spoilt),
            Err(error) => return Err(error),
        };
        let head = serde_json::from_slice::<Self>(&text).ok();
        let head = head.filter(|head| Hash::parse(head.hash.as_bytes()).is_some());
        Ok(head.map_or(HeadFile::Spoilt, HeadFile::Read))
    }

    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.signature
            .as_ref()
            .is_some_and(|signature| key.verifies(self.text().as_bytes(), signature))
    }

    /// What is signed. It begins unlike any line of a trail, so that a signature for the one is
    /// none for the other.
    fn text(&self) -> String {
        let Self {
            trail, seq, hash, ..
        } = self;
        format!("callhome-relay head\n{trail}\n{seq}\n{hash}\n")
    }
}

/// The name of the file.
pub const HEAD: &str = "head.json";
/// No head is longer.
const MAX_HEAD: u64 = 4096;
