//! What a trail lacks, and whether it says so itself.

use std::fmt;

use serde::Deserialize;

use super::{Broken, Gap};
use crate::audit::chain::{Hash, Line};
use crate::audit::reader::{Place, Raw};

/// A record that doesn't follow one that was read.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) seq: u64,
    prev: Hash,
    pub(super) place: Place,
}

/// Records from this number on are missing, and then it goes on.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) end: Begin,
}

/// Prunings, and the holes of a copy, which has nothing of what was pruned before it was copied.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pruned: Vec<Pruned>,
    holes: Vec<Hole>,
}

#[derive(Deserialize)]
pub(super) struct GapData {
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) count: Option<u64>,
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
struct PrunedData {
    from: u64,
    to: u64,
    hash: String,
}

#[derive(Debug)]
struct Pruned {
    data: PrunedData,
    /// When the trail said so.
    time: String,
}

impl Missing {
    /// Takes the record of a pruning.
    pub(super) fn prune(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.pruned.push(Pruned {
            data: line.data().ok_or("a pruning that doesn't say what")?,
            time: line.time.clone().into_owned(),
        });
        Ok(())
    }

    /// Takes a hole that a later pruning may explain.
    pub(super) fn pass(&mut self, hole: Hole) {
        self.holes.push(hole);
    }

    pub(super) fn is_explained(&self, begin: &Begin) -> bool {
        self.explanation(begin).is_some()
    }

    /// The first hole that no pruning explains so far.
    pub(super) fn unexplained(&self) -> Option<Broken> {
        let hole = self.holes.iter().find(|it| !self.is_explained(&it.end))?;
        Some(Broken {
            place: hole.end.place.clone(),
            seq: Some(hole.end.seq),
            what: hole.to_string(),
        })
    }

    /// The holes that are explained.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.holes.iter().filter_map(|hole| {
            let pruned = self.explanation(&hole.end)?;
            Some(Gap {
                from: Some(hole.from),
                to: Some(hole.end.seq - 1),
                count: None,
                cause: "pruned before they were copied".into(),
                time: pruned.time.clone(),
            })
        })
    }

    fn explanation(&self, begin: &Begin) -> Option<&Pruned> {
        self.pruned.iter().find(|it| it.data.explains(begin))
    }
}

impl Begin {
    pub(super) fn of(line: &Line<'_>, raw: &Raw<'_>) -> Self {
        Self {
            seq: line.seq,
            prev: line.prev,
            place: raw.place.clone(),
        }
    }
}

impl PrunedData {
    /// Whether the trail begins where this pruning left it; or within what it was to delete, when it was interrupted.
    fn explains(&self, begin: &Begin) -> bool {
        if begin.seq.checked_sub(1) == Some(self.to) {
            return self.hash == begin.prev.as_str();
        }
        (self.from..=self.to).contains(&begin.seq)
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.end.seq - 1;
        write!(f, "records {} to {to} are missing before it", self.from)
    }
}

/// Whether a line says that just these records are missing before it.
pub(super) fn declares(line: &Line<'_>, missing: (u64, u64)) -> bool {
    line.event == "audit_gap"
        && line
            .data::<GapData>()
            .is_some_and(|gap| (gap.from, gap.to) == (Some(missing.0), Some(missing.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pruning_explains_what_it_left() {
        let hash = Hash::of(b"record 9");
        let pruned = PrunedData {
            from: 5,
            to: 9,
            hash: hash.as_str().into(),
        };
        let begin = |seq, prev| Begin {
            seq,
            prev,
            place: Place::default(),
        };
        assert!(pruned.explains(&begin(10, hash)));
        assert!(!pruned.explains(&begin(10, Hash::of(b"another"))));
        assert!(!pruned.explains(&begin(11, hash)), "record 10 was left");
        // Interrupted, it left some of what it was to delete.
        assert!(pruned.explains(&begin(7, Hash::of(b"record 6"))));
        assert!(!pruned.explains(&begin(4, Hash::of(b"record 3"))));
    }
}
