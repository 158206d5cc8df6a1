//! Dates what a trail has, although its relay's clock may have been wrong.
//!
//! A date is never later than the truth as far as the trail shows it. Otherwise a clock that was
//! two years ahead for an hour would make a client look well for two years.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A time that a trail tells, and where it tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// By the relay's clock.
    at: Timestamp,
    /// When it was read, by the reader's clock.
    read: Timestamp,
    /// The number of the record among those that were read.
    position: u64,
}

/// The clock of the relay that writes a trail, as far as its records show it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TrailClock {
    position: u64,
    last: Option<Timestamp>,
    /// Where the time went back and hasn't come to where it was. Later ones have lower peaks.
    setbacks: VecDeque<Setback>,
    /// Where the time went far ahead from one record to the next. Later ones are smaller.
    leaps: VecDeque<Leap>,
}

/// A place where the time went back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Setback {
    position: u64,
    /// The time before it.
    peak: Timestamp,
    /// The time after it.
    low: Timestamp,
}

/// A place where the time went ahead.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Leap {
    position: u64,
    by: SignedDuration,
}

impl TrailClock {
    /// Takes the time of the next record.
    pub(super) fn take(&mut self, time: Timestamp) {
        self.position += 1;
        let position = self.position;
        while self.setbacks.back().is_some_and(|it| it.peak <= time) {
            self.setbacks.pop_back();
        }
        if let Some(last) = self.last.replace(time) {
            let by = time.duration_since(last);
            if by < -TOLERANCE {
                self.set_back(Setback {
                    position,
                    peak: last,
                    low: time,
                });
            } else if by >= AHEAD {
                self.leaps.retain(|leap| leap.by > by);
                self.leaps.push_back(Leap { position, by });
                if self.leaps.len() > MOST {
                    self.leaps.pop_front();
                }
            }
        }
    }

    fn set_back(&mut self, setback: Setback) {
        self.setbacks.push_back(setback);
        if self.setbacks.len() > MOST
            && let (Some(first), Some(second)) =
                (self.setbacks.pop_front(), self.setbacks.front_mut())
        {
            second.peak = second.peak.max(first.peak);
            second.low = second.low.min(first.low);
        }
    }

    /// Marks a time that the present record tells.
    pub(super) fn mark(&self, at: Timestamp, read: Timestamp) -> Mark {
        Mark {
            at,
            read,
            position: self.position,
        }
    }

    /// When it was at the latest, by a reader's clock that is right.
    pub(super) fn date(&self, mark: &Mark, now: Timestamp) -> Timestamp {
        let mut at = mark.at;
        if let Some(ahead) = self.ahead(now) {
            // The clock is as right as ever before it went ahead by so much.
            let since = self.leaps.iter().rev().find(|leap| leap.by >= ahead);
            if since.is_none_or(|leap| mark.position >= leap.position) {
                at = minus(at, ahead);
            }
        }
        for setback in self.setbacks.iter().rev() {
            if setback.position <= mark.position {
                break;
            }
            // What comes later in the trail was later. A time that stays behind the peak shows that
            // the clock was ahead before.
            at = at.min(setback.low);
        }
        at.min(mark.read).min(now)
    }

    /// By how much the relay's clock is ahead of the reader's, if that is more than a little.
    pub(super) fn ahead(&self, now: Timestamp) -> Option<SignedDuration> {
        let ahead = self.last?.duration_since(now);
        (ahead > AHEAD).then_some(ahead)
    }

    /// The time of the last record.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }
}

impl Mark {
    /// The time that the relay's clock had.
    pub(super) fn recorded(&self) -> Timestamp {
        self.at
    }

    /// The mark of something that was so much earlier than what the record tells.
    pub(super) fn earlier(self, by: SignedDuration) -> Self {
        Self {
            at: minus(self.at, by),
            ..self
        }
    }
}

/// Adds to a time, and stops at the last one there is.
pub(super) fn plus(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration)
        .unwrap_or(if duration.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
}

pub(super) fn minus(time: Timestamp, duration: SignedDuration) -> Timestamp {
    plus(time, duration.checked_neg().unwrap_or(SignedDuration::MAX))
}

/// Records are in the order of their times, but for what the writer itself adds among them.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// Clocks that are kept right differ by less.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How many places of a kind are kept for a trail.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        plus(
            "2026-11-01T00:00:00Z".parse().unwrap(),
            SignedDuration::from_hours(hours),
        )
    }

    const YEARS: i64 = 2 * 365 * 24;

    #[test]
    fn a_clock_that_was_ahead_dates_nothing_behind_the_next_record() {
        let mut clock = TrailClock::default();
        let mut marks = Vec::new();
        for hour in [0, 1, YEARS + 2, 3, 30] {
            clock.take(at(hour));
            marks.push(clock.mark(at(hour), at(100)));
        }
        let dates = marks.iter().map(|mark| clock.date(mark, at(100)));
        assert_eq!(dates.collect::<Vec<_>>(), [0, 1, 3, 3, 30].map(at));
    }

    #[test]
    fn a_clock_that_was_behind_for_a_while_leaves_dates_as_they_were() {
        let mut clock = TrailClock::default();
        clock.take(at(2000));
        let mark = clock.mark(at(2000), at(3000));
        clock.take(at(900));
        assert_eq!(clock.date(&mark, at(3000)), at(900));
        clock.take(at(1000));
        clock.take(at(2001));
        assert_eq!(clock.date(&mark, at(3000)), at(2000));
    }

    #[test]
    fn a_clock_that_is_ahead_now_is_taken_back() {
        let mut clock = TrailClock::default();
        clock.take(at(0));
        let before = clock.mark(at(0), at(12));
        clock.take(at(YEARS + 10));
        let wrong = clock.mark(at(YEARS + 10), at(12));
        clock.take(at(YEARS + 12));
        assert_eq!(clock.date(&before, at(12)), at(0));
        assert_eq!(clock.date(&wrong, at(12)), at(10));
    }

    #[test]
    fn nothing_is_later_than_it_was_read() {
        let mut clock = TrailClock::default();
        clock.take(at(5));
        let mark = clock.mark(at(5), at(4));
        assert_eq!(clock.date(&mark, at(9)), at(4));
    }

    #[test]
    fn many_steps_take_bounded_memory_and_date_nothing_later() {
        let mut clock = TrailClock::default();
        clock.take(at(5000));
        let mark = clock.mark(at(5000), at(9000));
        for step in 0..1000 {
            clock.take(at(4000 - step));
        }
        assert!(clock.setbacks.len() <= MOST);
        assert_eq!(clock.date(&mark, at(9000)), at(3001));
    }
}
