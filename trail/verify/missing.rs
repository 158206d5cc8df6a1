//! The records that a trail lacks, and whether the trail itself declares them missing.

use std::fmt;

use super::seals::Sealed;
use super::verification::{Broken, DeclaredGap};
use crate::chain::Line;
use crate::data::TrailPruned;
use crate::hash::Hash;
use crate::reader::{Place, RawLine};

/// A record whose predecessor wasn't read.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) seq: u64,
    prev: Hash,
    pub(super) place: Place,
}

/// Missing records, from this number up to the record with which the trail goes on.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) end: Begin,
}

/// The prunings of a trail, and the holes of a copy. A copy lacks the records that were pruned
/// before they were copied.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pruned: Vec<Pruning>,
    holes: Vec<Hole>,
    /// How each segment of a directory begins. None for a copy, which has no segments.
    segments: Option<Vec<(u64, Hash)>>,
    /// Prunings for which no checkpoint has vouched so far: number, first and last record.
    waiting: Vec<(u64, u64, u64)>,
    /// Up to here, every record was gone at the first checkpoint that says so, or was pruned since.
    gone_to: Option<u64>,
}

#[derive(Debug)]
struct Pruning {
    seq: u64,
    /// Whether a checkpoint behind it vouches for it. A relay deletes only after that one is on the
    /// disk.
    sealed: bool,
    data: TrailPruned,
    /// The time of the record.
    time: String,
}

impl Missing {
    /// Those of a directory or of a copy.
    pub(super) fn of(is_copy: bool) -> Self {
        Self {
            segments: (!is_copy).then(Vec::new),
            ..Self::default()
        }
    }

    /// Takes the first line of a segment.
    pub(super) fn begin_segment(&mut self, line: &Line<'_>) {
        if let Some(segments) = &mut self.segments {
            segments.push((line.seq, line.prev));
        }
    }

    /// Takes the record of a pruning, if it explains the beginning of the trail or a hole.
    pub(super) fn prune(&mut self, line: &Line<'_>, first: Option<&Begin>) -> Result<(), String> {
        let data: TrailPruned = line.data().ok_or("a pruning that doesn't say what")?;
        self.waiting.push((line.seq, data.from, data.to));
        let mut begins = first.into_iter().chain(self.holes.iter().map(|it| &it.end));
        if begins.any(|begin| self.explains(&data, begin)) {
            self.pruned.push(Pruning {
                seq: line.seq,
                sealed: false,
                data,
                time: line.time.clone().into_owned(),
            });
        }
        Ok(())
    }

    /// Takes a checkpoint. It vouches for the one pruning that it names, because its relay made
    /// that record itself. Any other may have been put into the tail that a crash left.
    ///
    /// Older relays name none, and their checkpoints vouch for every pruning before them.
    pub(super) fn seal(&mut self, seal: &Sealed) {
        for pruning in &mut self.pruned {
            pruning.sealed |= !seal.heads || seal.pruning == Some(pruning.seq);
        }
        if let (None, Some(first)) = (self.gone_to, &seal.first) {
            self.gone_to = Some(first.seq.saturating_sub(1));
        }
        for (seq, from, to) in self.waiting.drain(..) {
            if seal.pruning == Some(seq)
                && let Some(gone_to) = &mut self.gone_to
                && from.saturating_sub(1) <= *gone_to
            {
                *gone_to = to.max(*gone_to);
            }
        }
    }

    /// The first record before this beginning that was there, and that no vouched pruning names.
    pub(super) fn unpruned(&self, begin: &Begin) -> Option<u64> {
        let missing = self.gone_to?.saturating_add(1);
        (missing < begin.seq).then_some(missing)
    }

    /// Takes a hole that a later record of a pruning may explain.
    pub(super) fn pass(&mut self, hole: Hole) {
        self.holes.push(hole);
    }

    /// Whether a sealed pruning explains why the trail goes on here.
    pub(super) fn is_explained(&self, begin: &Begin) -> bool {
        self.explanation(begin)
            .is_some_and(|pruning| pruning.sealed)
    }

    /// A pruning that would explain it, and for which no checkpoint vouches: its number and time.
    pub(super) fn unsealed_explanation(&self, begin: &Begin) -> Option<(u64, &str)> {
        let pruning = self.explanation(begin)?;
        (!pruning.sealed).then_some((pruning.seq, &pruning.time))
    }

    /// The first hole that no pruning has explained so far.
    pub(super) fn unexplained(&self) -> Option<Broken> {
        let hole = self
            .holes
            .iter()
            .find(|it| self.explanation(&it.end).is_none())?;
        Some(Broken {
            place: hole.end.place.clone(),
            seq: Some(hole.end.seq),
            what: hole.to_string(),
        })
    }

    /// The holes that a pruning explains, as declared gaps.
    pub(super) fn gaps(&self) -> impl Iterator<Item = DeclaredGap> {
        self.holes.iter().filter_map(|hole| {
            let pruned = self.explanation(&hole.end)?;
            Some(DeclaredGap {
                from: Some(hole.from),
                to: Some(hole.end.seq - 1),
                count: None,
                cause: if pruned.sealed {
                    "pruned before they were copied".into()
                } else {
                    format!("pruned, as record {} says", pruned.seq)
                },
                time: pruned.time.clone(),
                vouched: pruned.sealed,
                seq: pruned.seq,
            })
        })
    }

    /// Whether the trail begins where this pruning left it, or within the records that it was to
    /// delete.
    ///
    /// The second happens when the pruning was interrupted after some of its segments. The segment
    /// that was to stay is then still there, so a directory must have it.
    fn explains(&self, pruned: &TrailPruned, begin: &Begin) -> bool {
        let Some(stays) = pruned.to.checked_add(1) else {
            return false;
        };
        if begin.seq == stays {
            return pruned.hash == begin.prev.as_str();
        }
        (pruned.from..=pruned.to).contains(&begin.seq)
            && self.segments.as_ref().is_none_or(|segments| {
                let mut begins = segments.iter();
                begins.any(|(seq, prev)| *seq == stays && pruned.hash == prev.as_str())
            })
    }

    fn explanation(&self, begin: &Begin) -> Option<&Pruning> {
        let explaining = || {
            let all = self.pruned.iter();
            all.filter(|it| self.explains(&it.data, begin))
        };
        let mut sealed = explaining().filter(|it| it.sealed);
        sealed.next().or_else(|| explaining().next())
    }
}

impl Begin {
    /// Whether the record follows the one with this number and hash.
    pub(super) fn follows(&self, seq: u64, hash: Hash) -> bool {
        self.seq.checked_sub(1) == Some(seq) && self.prev == hash
    }

    pub(super) fn of(line: &Line<'_>, raw: &RawLine<'_>) -> Self {
        Self {
            seq: line.seq,
            prev: line.prev,
            place: raw.place.clone(),
        }
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.end.seq - 1;
        write!(f, "records {} to {to} are missing before it", self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pruning_explains_what_it_left() {
        let hash = Hash::of(b"record 9");
        let pruned = TrailPruned {
            from: 5,
            to: 9,
            hash: hash.to_string().into(),
            segments: 1,
            bytes: 1,
            reason: None,
            records: None,
            first_time: None,
            kept_from: None,
        };
        let begin = |seq, prev| Begin {
            seq,
            prev,
            place: Place::default(),
        };
        let copy = Missing::of(true);
        let mut directory = Missing::of(false);
        for missing in [&copy, &directory] {
            assert!(missing.explains(&pruned, &begin(10, hash)));
            assert!(!missing.explains(&pruned, &begin(10, Hash::of(b"another"))));
            let left = missing.explains(&pruned, &begin(11, hash));
            assert!(!left, "record 10 was left");
            assert!(!missing.explains(&pruned, &begin(4, Hash::of(b"record 3"))));
        }
        // An interrupted pruning leaves some of the records that it was to delete.
        let interrupted = begin(7, Hash::of(b"record 6"));
        assert!(copy.explains(&pruned, &interrupted));
        assert!(!directory.explains(&pruned, &interrupted), "no such end");
        let segments = directory.segments.as_mut().unwrap();
        segments.push((10, Hash::of(b"another")));
        assert!(!directory.explains(&pruned, &interrupted), "another end");
        let segments = directory.segments.as_mut().unwrap();
        segments.push((10, hash));
        assert!(directory.explains(&pruned, &interrupted));
    }
}
