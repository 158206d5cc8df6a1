//! Checks both ends of a trail: what comes before its first record, and how far its end is proved.

use super::Verifier;
use super::missing::Begin;
use super::verification::{Broken, DeclaredGap};
use crate::data::Range;
use crate::head::{HEAD, Head, HeadFile};
use crate::reader::Place;
use crate::seals::{EVERY, SEALS};

impl Verifier {
    /// Checks that the trail begins with the record behind the pin's, where it does so.
    pub(super) fn check_pin(&mut self, begin: &Begin) -> Result<(), Broken> {
        let Some(pin) = &self.pin else {
            return Ok(());
        };
        if begin.seq.checked_sub(1) != Some(pin.seq) {
            return Ok(());
        }
        let is_pinned = pin.hash.is_some_and(|hash| begin.follows(pin.seq, hash));
        if !is_pinned {
            return Err(Broken {
                place: begin.place.clone(),
                seq: Some(begin.seq),
                what: "it follows another record than the one that the pin names".into(),
            });
        }
        // A copy that was begun late begins here.
        self.first_pinned = self.is_copy;
        Ok(())
    }

    /// Checks that nothing is missing before the first record but what was pruned.
    pub(super) fn check_beginning(&mut self, begin: Begin) -> Result<(), Broken> {
        let broken = |begin: Begin, what| Broken {
            place: begin.place,
            seq: None,
            what,
        };
        if let Some(first) = self.seals.last().and_then(|seal| seal.first.as_ref())
            && !self.is_copy
            && begin.seq > first.seq
        {
            let (from, to) = (first.seq, begin.seq - 1);
            let what = format!("records {from} to {to} are missing: the last checkpoint has them");
            return Err(broken(begin, what));
        }
        let is_explained = self.first_declared || self.first_pinned;
        if begin.seq <= 1 || is_explained || self.missing.is_explained(&begin) {
            // The pruning may name less than what is gone.
            let unpruned = self.missing.unpruned(&begin).filter(|_| !self.is_copy);
            let Some(from) = unpruned else {
                return Ok(());
            };
            let to = begin.seq - 1;
            let what = format!("records {from} to {to} are missing, and no pruning says so");
            return Err(broken(begin, what));
        }
        let last = begin.seq - 1;
        let Some((seq, time)) = self.missing.unsealed_explanation(&begin) else {
            let what = format!("records 1 to {last} are missing, and no pruning says so");
            return Err(broken(begin, what));
        };
        // A relay that signs its head deletes only what a checkpoint has covered.
        let is_older = self.seals.heads_from().is_none_or(|from| seq < from);
        if !self.is_copy && !is_older {
            let what = format!(
                "records 1 to {last} are missing: record {seq} says that they were pruned, and no checkpoint vouches for it"
            );
            return Err(broken(begin, what));
        }
        self.report.gaps.push(DeclaredGap {
            from: Some(1),
            to: Some(last),
            count: None,
            cause: format!("pruned, as record {seq} says"),
            time: time.to_owned(),
            vouched: false,
            seq,
        });
        Ok(())
    }

    /// Checks how many records come behind the last checkpoint, where a key was given: a relay puts
    /// the next one there before they are too many.
    pub(super) fn check_seals(&mut self) -> Result<(), String> {
        if !self.seals.has_key() {
            return Ok(());
        }
        let last = self.seals.last().map(|seal| seal.seq);
        self.report.sealed_to = last.filter(|seq| *seq < self.next);
        // A trail may end with the record that is pinned, or soon after it.
        let Some(last) = last.or(self.seals.anchor()) else {
            return Err("no checkpoint is signed by a key that the given one leads to".into());
        };
        let behind = (self.next - 1).saturating_sub(last);
        let most = match self.seals.heads_from() {
            Some(_) => EVERY + SLACK,
            None => EVERY * 2,
        };
        // In a copy the checkpoints may be among the records that it lacks.
        if behind > most && !self.seals.is_lost() {
            return Err(format!(
                "{behind} records come behind checkpoint {last}: a relay seals after {EVERY}"
            ));
        }
        Ok(())
    }

    /// Marks the gaps for which a checkpoint vouches.
    pub(super) fn mark_gaps(&mut self) {
        let newest = self.seals.last().map_or(0, |it| it.seq);
        let unsealed = &self.report.unsealed;
        for gap in &mut self.report.gaps {
            let in_tail = |range: &Range| (range.from..=range.to).contains(&gap.seq);
            gap.vouched = gap.seq <= newest && !unsealed.iter().any(in_tail);
        }
    }

    /// Checks that the trail reaches as far as the directory says.
    pub(super) fn check_length(&self) -> Result<(), String> {
        match &self.head {
            HeadFile::Read(head) if head.seq >= self.next && *head.trail == *self.report.trail => {
                Err(format!(
                    "the end is cut off: records {} to {} were there",
                    self.next, head.seq
                ))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a directory's `head.json` and kept checkpoints go with the trail.
    pub(super) fn check_head(&mut self) -> Result<(), String> {
        if self.is_copy {
            return Ok(());
        }
        let heads_from = self.seals.heads_from();
        let head = match (&self.head, heads_from) {
            (HeadFile::Read(head), _) => head.clone(),
            (HeadFile::Missing, None) => return Ok(()),
            (HeadFile::Missing, Some(from)) if self.ends_with(from) => return Ok(()),
            (HeadFile::Missing, Some(_)) => return Err(format!("{HEAD} is missing")),
            (HeadFile::Spoilt, _) => return Err(format!("{HEAD} is spoilt")),
        };
        let is_there = self.compare_head(&head)?;
        let Some(heads_from) = heads_from else {
            return Ok(());
        };
        self.check_signature(&head, heads_from)?;
        if !is_there {
            self.report.signed_to = None;
        }
        let behind = (self.next - 1).saturating_sub(head.seq);
        if behind > EVERY + SLACK {
            return Err(format!(
                "{behind} records come behind record {}, with which {HEAD} says that the trail ends",
                head.seq
            ));
        }
        let kept = self.last_kept.unwrap_or(0);
        match self.seals.last_but_one() {
            Some(seal) if seal.seq > kept && seal.seq >= heads_from => {
                Err(format!("{SEALS} lacks the checkpoint {}", seal.seq))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the trail has no other record under the number that the head names. Returns
    /// whether it has the record. It may be among those that the trail declares missing.
    fn compare_head(&self, head: &Head) -> Result<bool, String> {
        if *head.trail != *self.report.trail {
            return Err(format!("{HEAD} is of another trail"));
        }
        match self.duplicates.hash_of(head.seq) {
            Some(hash) if hash.as_str() != &*head.hash => {
                Err(format!("{HEAD} has another hash of record {}", head.seq))
            }
            hash => Ok(hash.is_some()),
        }
    }

    /// Checks that the head is signed by the key that was due at its record.
    fn check_signature(&mut self, head: &Head, heads_from: u64) -> Result<(), String> {
        let Some(seal) = self
            .seals
            .at(head.seq)
            .filter(|seal| seal.seq >= heads_from)
        else {
            return if self.ends_with(heads_from) {
                Ok(())
            } else {
                Err(format!("{HEAD} is older than the checkpoints behind it"))
            };
        };
        if !head.is_signed() {
            return Err(format!("{HEAD} isn't signed"));
        }
        let is_signed = seal.next.as_ref().is_some_and(|key| head.is_signed_by(key));
        if !is_signed {
            return Err(format!(
                "the signature of {HEAD} is not that of the key that was due"
            ));
        }
        if seal.proved {
            self.report.signed_to = Some(head.seq);
        }
        Ok(())
    }

    /// Whether nothing comes behind this checkpoint, the first that says that heads are signed. Its
    /// relay signs the first head before it records anything else, and may crash before that.
    fn ends_with(&self, heads_from: u64) -> bool {
        self.next - 1 == heads_from
    }

    /// The error of what is wrong at the end of the trail.
    pub(super) fn broken_at_end(&self, what: String) -> Broken {
        Broken {
            place: self.last_place.clone(),
            seq: None,
            what,
        }
    }

    /// The error of a trail without a record.
    pub(super) fn empty(&self) -> Broken {
        let what = match &self.head {
            HeadFile::Read(head) => format!("there is no record, and there were {}", head.seq),
            _ => "there is no record".into(),
        };
        Broken {
            place: Place::default(),
            seq: None,
            what,
        }
    }
}

/// Records of the relay itself that may come between the record with which a checkpoint is due and
/// the checkpoint.
const SLACK: u64 = 64;
