//! Proves the seals of a trail: its own checkpoints, and those that were kept when their segments
//! were pruned.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::verification::Broken;
use crate::chain::Line;
use crate::data::{Checkpoint, Oldest, Range};
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::reader::Place;
use crate::seals::{SEALS, SealReader};

/// Follows the keys from checkpoint to checkpoint, and compares the kept ones with the trail's.
#[derive(Debug, Default)]
pub(super) struct Seals {
    trust: Trust,
    /// Whether records are missing since the last checkpoint. Checkpoints may be among them.
    skipped: bool,
    file: PathBuf,
    kept: Option<SealReader>,
    /// The next kept checkpoint that the trail hasn't reached yet.
    next: Option<KeptSeal>,
    /// The first checkpoint of the trail that wasn't kept, and hasn't been followed by one that
    /// was.
    unkept: Option<u64>,
    /// The latest checkpoints, the last one at the end.
    latest: VecDeque<Sealed>,
    /// The first checkpoint that says that the relay signs `head.json`.
    heads_from: Option<u64>,
}

/// Which key must sign the next checkpoint.
#[derive(Debug, Default)]
enum Trust {
    /// No key was given.
    #[default]
    NotAsked,
    /// This key, from the first checkpoint behind record `after` on.
    Key { key: PublicKey, after: u64 },
    /// The sequence of keys was lost.
    Lost,
}

/// What a checkpoint says.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) seq: u64,
    /// The key that signs from now on.
    pub(super) next: Option<PublicKey>,
    pub(super) first: Option<Oldest>,
    pub(super) unsealed: Option<Range>,
    /// Whether the relay signs `head.json`, and names the pruning for which it vouches.
    pub(super) heads: bool,
    pub(super) pruning: Option<u64>,
    /// Whether its signature is that of the key that was due.
    pub(super) proved: bool,
}

#[derive(Debug)]
struct KeptSeal {
    number: u64,
    seq: u64,
    hash: Hash,
    bytes: Box<[u8]>,
}

impl Seals {
    /// Trusts the key that signs the first checkpoint behind record `after`.
    pub(super) fn trust(&mut self, key: PublicKey, after: u64) {
        self.trust = Trust::Key { key, after };
    }

    /// Whether a key was given.
    pub(super) fn has_key(&self) -> bool {
        !matches!(self.trust, Trust::NotAsked)
    }

    /// Opens the checkpoints that a directory keeps beside its trail.
    pub(super) fn open(&mut self, directory: &Path) -> io::Result<()> {
        self.file = directory.join(SEALS);
        self.kept = SealReader::open(directory)?;
        self.advance()
    }

    /// Takes the kept checkpoints before record `seq`, with which the trail goes on. Their records
    /// were pruned, or are missing.
    pub(super) fn pass(&mut self, seq: u64) -> Result<(), Broken> {
        while let Some(kept) = self.next.take_if(|kept| kept.seq < seq) {
            let place = Place {
                file: self.file.clone(),
                line: kept.number,
            };
            let broken = |what| Broken {
                place: place.clone(),
                seq: Some(kept.seq),
                what,
            };
            self.advance().map_err(|error| broken(error.to_string()))?;
            if let Some(next) = &self.next
                && next.seq <= kept.seq
                && next.hash != kept.hash
            {
                return Err(broken("the next kept checkpoint isn't a later one".into()));
            }
            if let Ok(line) = Line::parse(&kept.bytes) {
                self.take(&line).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// Checks that a record of the trail is the one that was kept under its number.
    pub(super) fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        if self.unkept.is_none() && line.event == "checkpoint" {
            self.unkept = Some(line.seq);
        }
        // An addition that failed at its end is repeated, so a line may be there twice.
        while let Some(kept) = self.next.take_if(|kept| kept.seq == line.seq) {
            if kept.hash != line.hash {
                return Err(format!(
                    "{SEALS} kept another record under this number, at line {}",
                    kept.number
                ));
            }
            match self.unkept.take() {
                Some(unkept)
                    if unkept < line.seq && self.heads_from.is_some_and(|from| from < line.seq) =>
                {
                    return Err(format!("{SEALS} lacks the checkpoint {unkept}"));
                }
                _ => {}
            }
            self.advance().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Notes that records are missing here, as a copy may lack them.
    pub(super) fn skip(&mut self) {
        self.skipped = true;
    }

    /// Takes the next checkpoint.
    pub(super) fn take(&mut self, line: &Line<'_>) -> Result<(), String> {
        // A checkpoint that is kept twice is one.
        if self.latest.back().is_some_and(|it| it.seq == line.seq) {
            return Ok(());
        }
        let data = line
            .data::<Checkpoint>()
            .ok_or("a checkpoint without keys")?;
        let proved = self.prove(line, &data)?;
        if data.heads {
            self.heads_from.get_or_insert(line.seq);
        }
        self.latest.push_back(Sealed {
            seq: line.seq,
            next: PublicKey::parse(&data.next),
            first: data.first,
            unsealed: data.unsealed,
            heads: data.heads,
            pruning: data.pruning,
            proved,
        });
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
        Ok(())
    }

    /// The last checkpoint, proved or not.
    pub(super) fn newest(&self) -> Option<&Sealed> {
        self.latest.back()
    }

    fn prove(&mut self, line: &Line<'_>, data: &Checkpoint) -> Result<bool, String> {
        let Trust::Key { key, after } = &self.trust else {
            return Ok(false);
        };
        // The chain ties this one to the record `after`, which is pinned.
        if line.seq <= *after {
            return Ok(true);
        }
        if data.key != *key.as_str() {
            // The checkpoint that names this key may be among the missing records. Later seals
            // can't be proved then.
            if self.skipped {
                self.trust = Trust::Lost;
                return Ok(false);
            }
            return Err(format!("the checkpoint's key is not {key}, which is due"));
        }
        let (signature, signed) = line
            .signed
            .as_ref()
            .ok_or("a checkpoint without a signature")?;
        if !key.verifies(signed, signature) {
            return Err("the checkpoint's signature is not its key's".into());
        }
        let next = PublicKey::parse(&data.next).ok_or("a checkpoint without a successor")?;
        self.trust = Trust::Key {
            key: next,
            after: *after,
        };
        self.skipped = false;
        Ok(true)
    }

    /// The first kept checkpoint that the trail didn't reach, if there is one.
    pub(super) fn left(&self) -> Option<u64> {
        self.next.as_ref().map(|kept| kept.seq)
    }

    /// The last checkpoint that counts: the last proved one if a key was given, else the last.
    pub(super) fn last(&self) -> Option<&Sealed> {
        let needs_proof = self.has_key();
        let mut latest = self.latest.iter().rev();
        latest.find(|it| it.proved || !needs_proof)
    }

    /// The record from which on the seals were asked for, if that isn't the first.
    pub(super) fn anchor(&self) -> Option<u64> {
        match &self.trust {
            Trust::Key { after, .. } if *after > 0 => Some(*after),
            _ => None,
        }
    }

    /// The last checkpoint at or before a record.
    pub(super) fn at(&self, seq: u64) -> Option<&Sealed> {
        self.latest.iter().rev().find(|it| it.seq <= seq)
    }

    /// The checkpoint before the last one.
    pub(super) fn last_but_one(&self) -> Option<&Sealed> {
        self.latest.iter().rev().nth(1)
    }

    /// The checkpoint from which on the relay signs `head.json`. Older relays don't.
    pub(super) fn heads_from(&self) -> Option<u64> {
        self.heads_from
    }

    /// Whether the sequence of keys was lost at records that are missing.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.trust, Trust::Lost)
    }

    /// The key that signs the next checkpoint, as the last one names it.
    pub(super) fn next_key(&self) -> Option<&PublicKey> {
        self.latest.back()?.next.as_ref()
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(reader) = &mut self.kept else {
            return Ok(());
        };
        self.next = reader.next_line()?.map(|(number, line)| KeptSeal {
            number,
            seq: line.seq,
            hash: line.hash,
            bytes: line.bytes.into(),
        });
        Ok(())
    }
}

/// How many checkpoints are remembered. The head is never further behind than a few.
const LATEST: usize = 256;
