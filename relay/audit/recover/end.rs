//! Where a trail ended.

use callhome_trail::{Hash, Head, Line};

/// The members of a record that the next one needs to follow it.
#[derive(Clone, Debug)]
pub(super) struct TrailEnd {
    pub(super) trail: Box<str>,
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

impl TrailEnd {
    pub(super) fn of(line: &Line<'_>) -> Self {
        Self {
            trail: line.trail.as_ref().into(),
            seq: line.seq,
            hash: line.hash,
        }
    }

    /// Whether a trail can have got so far. A forged number near the maximum would leave no numbers
    /// for later records.
    pub(super) fn is_plausible(&self) -> bool {
        self.seq < MAX_SEQ
    }

    /// The end that a head names.
    pub(super) fn of_head(head: &Head) -> Option<Self> {
        Some(Self {
            trail: head.trail.clone(),
            seq: head.seq,
            hash: Hash::parse(head.hash.as_bytes())?,
        })
    }

    /// The same for what only names an end, and isn't a record of the trail: it must leave numbers
    /// for the records that follow it.
    pub(super) fn leaves_room(&self) -> bool {
        self.seq < MAX_SEQ / 2
    }
}

/// Far beyond any trail, and the limit up to which every JSON reader is exact (2^53).
const MAX_SEQ: u64 = 1 << 53;
