//! Proves the seals of a trail: its own checkpoints, and those that were kept when their segments
//! were pruned.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::verification::Broken;
use crate::chain::Line;
use crate::data::Checkpoint;
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::reader::Place;
use crate::seals::{self, SEALS};

/// Follows the keys from checkpoint to checkpoint, and compares the kept ones with the trail's.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// The key that must sign the next checkpoint. None if no first key was given, or if the
    /// sequence was lost.
    expected: Option<PublicKey>,
    /// Whether records are missing since the last checkpoint. Checkpoints may be among them.
    skipped: bool,
    file: PathBuf,
    /// The kept checkpoints that the trail hasn't reached yet, by number.
    kept: BTreeMap<u64, KeptSeal>,
}

#[derive(Debug)]
struct KeptSeal {
    line: u64,
    hash: Hash,
    bytes: Box<[u8]>,
}

impl Seals {
    pub(super) fn trust(&mut self, key: PublicKey) {
        self.expected = Some(key);
    }

    /// Takes the checkpoints that a directory keeps beside its trail.
    pub(super) fn load(&mut self, directory: &Path) -> io::Result<()> {
        self.file = directory.join(SEALS);
        for (number, line) in seals::lines(&seals::read(directory)?) {
            let kept = KeptSeal {
                line: number,
                hash: line.hash,
                bytes: line.bytes.into(),
            };
            self.kept.insert(line.seq, kept);
        }
        Ok(())
    }

    /// Takes the kept checkpoints before record `seq`, with which the trail goes on. Their records
    /// were pruned, or are missing.
    pub(super) fn pass(&mut self, seq: u64) -> Result<(), Broken> {
        while let Some(entry) = self.kept.first_entry() {
            if *entry.key() >= seq {
                break;
            }
            let (seq, kept) = entry.remove_entry();
            if let Ok(line) = Line::parse(&kept.bytes) {
                self.take(&line).map_err(|what| Broken {
                    place: Place {
                        file: self.file.clone(),
                        line: kept.line,
                    },
                    seq: Some(seq),
                    what,
                })?;
            }
        }
        Ok(())
    }

    /// Checks that a record of the trail is the one that was kept under its number.
    pub(super) fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        match self.kept.remove(&line.seq) {
            Some(kept) if kept.hash != line.hash => Err(format!(
                "{SEALS} kept another record under this number, at line {}",
                kept.line
            )),
            _ => Ok(()),
        }
    }

    /// Notes that records are missing here, as a copy may lack them.
    pub(super) fn skip(&mut self) {
        self.skipped = true;
    }

    /// Takes the next checkpoint, and returns whether its seal was proved.
    pub(super) fn take(&mut self, line: &Line<'_>) -> Result<bool, String> {
        let Some(expected) = &self.expected else {
            return Ok(false);
        };
        let keys = line
            .data::<Checkpoint>()
            .ok_or("a checkpoint without keys")?;
        if keys.key != *expected.as_str() {
            // The checkpoint that names this key may be among the missing records. Later seals
            // can't be proved then.
            if self.skipped {
                self.expected = None;
                return Ok(false);
            }
            return Err(format!(
                "the checkpoint's key is not {}, which is due",
                expected.as_str()
            ));
        }
        let (signature, signed) = line
            .signed
            .as_ref()
            .ok_or("a checkpoint without a signature")?;
        if !expected.verifies(signed, signature) {
            return Err("the checkpoint's signature is not its key's".into());
        }
        let next = PublicKey::parse(&keys.next).ok_or("a checkpoint without a successor")?;
        self.expected = Some(next);
        self.skipped = false;
        Ok(true)
    }

    /// The first kept checkpoint that the trail didn't reach, if there is one.
    pub(super) fn left(&self) -> Option<u64> {
        self.kept.keys().next().copied()
    }
}
