//! The jumps of a relay's clock that no age counts, so that a wrong clock deletes no record.
//!
//! A record's age is the time from then until now, without what the clock jumped meanwhile. A jump
//! ahead counts once somebody confirms that so much time has passed. The list is in each
//! checkpoint, and each change of it is a record, so the trail alone tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The jumps in the order of their records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Jumps(Vec<Jump>);

/// A jump of the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jump {
    /// The record that tells it. Only older records were before the jump.
    pub seq: u64,
    /// The time of that record, by the clock as it was then.
    pub time: Text,
    /// How much of it no age counts; less than zero for a jump back.
    pub seconds: f64,
    /// How much of that no jump in the other direction has taken back, and nobody has confirmed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open: f64,
}

impl Jumps {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The jumps ahead that wait for a confirmation.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &Jump> {
        self.0.iter().filter(|jump| jump.open > 0.0)
    }

    /// By how many seconds the clock has jumped since the record `seq`.
    pub fn since(&self, seq: u64) -> f64 {
        let jumps = self.0.iter().filter(|jump| jump.seq > seq);
        jumps.map(|jump| jump.seconds).sum()
    }

    /// Takes a step of the clock, which the record `seq` tells.
    ///
    /// It takes back steps in the other direction, the last one first. Up to a day of what is left
    /// counts as time that has passed, because most such steps are corrections.
    pub fn step(&mut self, seq: u64, time: Text, seconds: f64) {
        let mut open = seconds;
        for jump in self.0.iter_mut().rev() {
            if jump.open * open < 0.0 {
                let back = jump.open.abs().min(open.abs()).copysign(open);
                jump.open += back;
                open -= back;
                jump.count_small();
            }
        }
        let mut jump = Jump {
            seq,
            time,
            seconds,
            open,
        };
        jump.count_small();
        self.0.push(jump);
        self.0.retain(|jump| !jump.is_nothing());
    }

    /// Counts the jumps ahead up to the record `to` as time that has passed. Returns how many
    /// seconds that are.
    pub fn confirm(&mut self, to: u64) -> f64 {
        let mut confirmed = 0.0;
        for jump in &mut self.0 {
            if jump.seq <= to && jump.open > 0.0 {
                confirmed += jump.open;
                jump.seconds -= jump.open;
                jump.open = 0.0;
            }
        }
        self.0.retain(|jump| !jump.is_nothing());
        confirmed
    }

    /// Forgets jumps back, which make records older, because nothing proves that the relay has
    /// written them.
    pub fn distrust(&mut self) {
        self.0.retain(|jump| jump.seconds > 0.0);
    }

    /// Forgets what makes no difference to the age of a segment. `begins` are the first records of
    /// the segments, in their order.
    ///
    /// A machine without a clock of its own jumps back and ahead at each start. That must not add
    /// up.
    pub fn tidy(&mut self, begins: &[u64]) {
        let is_end_between =
            |from: &Jump, to: &Jump| begins.iter().any(|it| *it > from.seq && *it <= to.seq);
        // A jump matters for the segments that have ended before it, and for the age of the last
        // one if it began before it.
        let second = begins.get(1).copied().unwrap_or(u64::MAX);
        let last = begins.last().copied().unwrap_or(0);
        self.0.retain(|jump| jump.seq >= second || jump.seq > last);
        let mut at = 1;
        while let Some([from, to]) = self.0.get(at - 1..=at) {
            let is_undone = (from.seconds + to.seconds).abs() < NOTHING
                && (from.open + to.open).abs() < NOTHING;
            if is_undone && !is_end_between(from, to) {
                self.0.drain(at - 1..=at);
                at = at.saturating_sub(1).max(1);
            } else {
                at += 1;
            }
        }
        while self.0.len() > MOST {
            let from = self.0.remove(0);
            let to = &mut self.0[0];
            // Where a segment ended in between, it must not become older by this.
            if from.seconds < 0.0 && to.seconds > 0.0 && is_end_between(&from, to) {
                continue;
            }
            if from.seconds < 0.0 && is_end_between(&from, to) {
                to.seq = from.seq;
            }
            to.seconds += from.seconds;
            to.open += from.open;
        }
    }
}

impl Jump {
    /// Counts what is open as time that has passed, if it is small.
    fn count_small(&mut self) {
        if self.open.abs() <= DAY {
            self.seconds -= self.open;
            self.open = 0.0;
        }
    }

    fn is_nothing(&self) -> bool {
        self.seconds.abs() < NOTHING && self.open.abs() < NOTHING
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_zero(open: &f64) -> bool {
    *open == 0.0
}

/// A longer jump ahead must be confirmed. In seconds.
pub const DAY: f64 = 86_400.0;
/// Less than this is the two clocks' own inaccuracy. In seconds.
const NOTHING: f64 = 1.0;
/// How many jumps a checkpoint has at most.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: f64 = 365.0 * DAY;

    fn jumps(steps: &[(u64, f64)]) -> Jumps {
        let mut jumps = Jumps::default();
        for (seq, seconds) in steps {
            jumps.step(*seq, "2026-11-28T12:00:00Z".into(), *seconds);
        }
        jumps
    }

    fn open(jumps: &Jumps) -> Vec<(u64, f64)> {
        let jumps = jumps.unconfirmed();
        jumps.map(|jump| (jump.seq, jump.open)).collect()
    }

    /// Compares sums of seconds.
    #[track_caller]
    fn same(is: f64, expected: f64) {
        assert!((is - expected).abs() < 0.01, "{is} and not {expected}");
    }

    #[test]
    fn a_jump_ahead_counts_once_it_is_confirmed() {
        let mut jumps = jumps(&[(100, 60.0 * DAY), (200, 3600.0)]);
        assert_eq!(open(&jumps), [(100, 60.0 * DAY)]);
        same(jumps.since(99), 60.0 * DAY);
        same(jumps.since(100), 0.0);
        same(jumps.confirm(99), 0.0);
        same(jumps.confirm(300), 60.0 * DAY);
        assert!(jumps.is_empty());
    }

    #[test]
    fn a_jump_that_was_taken_back_needs_no_confirmation() {
        // A machine was off, and later its clock was wrong for a while.
        let mut jumps = jumps(&[(100, 60.0 * DAY), (300, 2.0 * YEAR), (400, -2.0 * YEAR)]);
        assert_eq!(open(&jumps), [(100, 60.0 * DAY)]);
        jumps.confirm(1000);
        assert_eq!(open(&jumps), []);
        same(jumps.since(50), 0.0);
        // Records of that while have times that are two years late.
        same(jumps.since(350), -2.0 * YEAR);
        same(jumps.since(400), 0.0);
    }

    #[test]
    fn nightly_starts_without_a_clock_of_its_own_leave_nothing() {
        let mut all = Jumps::default();
        for night in 0..400 {
            let seq = 100 * night;
            all.step(seq + 1, "1970-01-01T00:00:09Z".into(), -56.0 * YEAR);
            all.step(seq + 9, "2026-11-28T12:00:00Z".into(), 56.0 * YEAR + 600.0);
            // The night's segments began at other records.
            all.tidy(&[1, 50, seq + 50]);
        }
        assert!(all.is_empty(), "{all:?}");
    }

    #[test]
    fn a_segment_that_ended_under_a_wrong_clock_keeps_its_age() {
        let mut jumps = jumps(&[(101, -56.0 * YEAR), (201, 56.0 * YEAR + 600.0)]);
        jumps.tidy(&[1, 50, 150, 300]);
        assert_eq!(open(&jumps), []);
        same(jumps.since(49), 0.0);
        same(jumps.since(149), 56.0 * YEAR);
        same(jumps.since(299), 0.0);
    }

    #[test]
    fn a_jump_before_all_segments_is_forgotten() {
        let mut jumps = jumps(&[(3, 56.0 * YEAR)]);
        jumps.tidy(&[1]);
        assert!(!jumps.is_empty(), "the only segment began before it");
        jumps.tidy(&[1, 50]);
        assert!(jumps.is_empty(), "it has ended behind it");
        let mut jumps = self::jumps(&[(60, 56.0 * YEAR)]);
        jumps.tidy(&[1, 50, 100]);
        assert!(!jumps.is_empty());
        jumps.tidy(&[50, 100]);
        assert!(jumps.is_empty());
    }

    #[test]
    fn many_jumps_make_no_record_older() {
        let mut state = 7_u64;
        for _ in 0..200 {
            let mut jumps = Jumps::default();
            let mut exact = Vec::new();
            let mut begins = vec![1];
            for n in 1..200 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let days = i32::try_from((state >> 33) % 801).unwrap() - 400;
                let seq = 10 * n;
                if state >> 60 < 4 {
                    begins.push(seq - 5);
                }
                let seconds = f64::from(days) * DAY;
                jumps.step(seq, "2026-11-28T12:00:00Z".into(), seconds);
                exact.push((seq, seconds));
                jumps.tidy(&begins);
                assert!(jumps.0.len() <= MOST);
            }
            for end in begins.iter().skip(1).map(|begin| begin - 1) {
                let exact = exact.iter().filter(|(seq, _)| *seq > end);
                let exact: f64 = exact.map(|(_, seconds)| seconds).sum();
                // Each step may leave a day that counts.
                assert!(jumps.since(end) >= exact - 200.0 * DAY, "{end}");
            }
        }
    }
}
