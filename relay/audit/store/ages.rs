//! Where segments begin, and what their ages tell besides which are deleted.

use std::time::Duration;

use callhome_trail::Jumps;
use callhome_trail::segments::Segment;
use jiff::Timestamp;

use super::super::prunable::age;
use super::Store;

impl Store {
    /// The first records of the segments, in their order.
    pub(in crate::audit) fn begins(&self) -> Vec<u64> {
        let active = self.active.as_ref().map(|active| &active.begin);
        let all = self.closed.iter().chain(active);
        all.map(|segment| segment.first).collect()
    }

    /// Whether the oldest segment would be too old, but for a jump of the clock.
    pub(in crate::audit) fn is_held_back(
        &self,
        keep: Duration,
        now: Timestamp,
        jumps: &Jumps,
    ) -> bool {
        let none = Jumps::default();
        let next = self.closed.first().and_then(|_| self.begin_after(0));
        next.is_some_and(|next| {
            let is_old = |jumps| age(next.time, next.first, now, jumps) > keep;
            is_old(&none) && !is_old(jumps)
        })
    }

    /// The segment behind this closed one.
    pub(super) fn begin_after(&self, index: usize) -> Option<&Segment> {
        let active = || self.active.as_ref().map(|active| &active.begin);
        self.closed.get(index + 1).or_else(active)
    }
}
