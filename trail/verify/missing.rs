//! The records that a trail lacks, and whether the trail itself declares them missing.

use std::fmt;

use super::verification::{Broken, DeclaredGap};
use crate::chain::Line;
use crate::data::{AuditGap, TrailPruned};
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
}

#[derive(Debug)]
struct Pruning {
    data: TrailPruned,
    /// The time of the record.
    time: String,
}

impl Missing {
    /// Takes the record of a pruning.
    pub(super) fn prune(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.pruned.push(Pruning {
            data: line.data().ok_or("a pruning that doesn't say what")?,
            time: line.time.clone().into_owned(),
        });
        Ok(())
    }

    /// Takes a hole that a later record of a pruning may explain.
    pub(super) fn pass(&mut self, hole: Hole) {
        self.holes.push(hole);
    }

    pub(super) fn is_explained(&self, begin: &Begin) -> bool {
        self.explanation(begin).is_some()
    }

    /// The first hole that no pruning has explained so far.
    pub(super) fn unexplained(&self) -> Option<Broken> {
        let hole = self.holes.iter().find(|it| !self.is_explained(&it.end))?;
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
                cause: "pruned before they were copied".into(),
                time: pruned.time.clone(),
            })
        })
    }

    fn explanation(&self, begin: &Begin) -> Option<&Pruning> {
        self.pruned.iter().find(|it| explains(&it.data, begin))
    }
}

impl Begin {
    pub(super) fn of(line: &Line<'_>, raw: &RawLine<'_>) -> Self {
        Self {
            seq: line.seq,
            prev: line.prev,
            place: raw.place.clone(),
        }
    }
}

/// Whether the trail begins where this pruning left it, or within the records that it was to
/// delete.
///
/// The second happens when the pruning was interrupted after some of its segments.
fn explains(pruned: &TrailPruned, begin: &Begin) -> bool {
    if begin.seq.checked_sub(1) == Some(pruned.to) {
        return pruned.hash == begin.prev.as_str();
    }
    (pruned.from..=pruned.to).contains(&begin.seq)
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.end.seq - 1;
        write!(f, "records {} to {to} are missing before it", self.from)
    }
}

/// Whether a line declares that exactly these records are missing before it.
pub(super) fn declares(line: &Line<'_>, missing: (u64, u64)) -> bool {
    line.event == "audit_gap"
        && line
            .data::<AuditGap>()
            .is_some_and(|gap| (gap.from, gap.to) == (Some(missing.0), Some(missing.1)))
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
        };
        let begin = |seq, prev| Begin {
            seq,
            prev,
            place: Place::default(),
        };
        assert!(explains(&pruned, &begin(10, hash)));
        assert!(!explains(&pruned, &begin(10, Hash::of(b"another"))));
        assert!(!explains(&pruned, &begin(11, hash)), "record 10 was left");
        // An interrupted pruning leaves some of the records that it was to delete.
        assert!(explains(&pruned, &begin(7, Hash::of(b"record 6"))));
        assert!(!explains(&pruned, &begin(4, Hash::of(b"record 3"))));
    }
}
