//! A span of time, and which segments may have records of it.

use jiff::{SignedDuration, Timestamp};

use crate::segments::Segment;

/// The records from `since` on and before `until`. None is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpan {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl TimeSpan {
    pub fn contains(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Splits the segments of a directory into those that may have a record of the span, and those
    /// that have none.
    ///
    /// The times follow the order of the records, unless the clock was set. So a segment has none
    /// if it and the next one begin in order, both before the span or both after it. The margin of
    /// a day covers steps of the clock there and back within a segment. The last segment is always
    /// read, because nothing shows whether the clock was set in it.
    pub fn split(&self, segments: Vec<Segment>) -> (Vec<Segment>, Vec<Segment>) {
        let begins = segments
            .iter()
            .map(|segment| segment.readable.then_some(segment.time));
        let begins: Vec<_> = begins.collect();
        let mut at = 0..begins.len();
        segments.into_iter().partition(|_| {
            let at = at.next().unwrap_or_default();
            // A damaged segment has no beginning. It lies between its neighbours.
            let from = begins[..=at].iter().rev().find_map(|begin| *begin);
            let to = begins[at + 1..].iter().find_map(|begin| *begin);
            self.may_have(from, to)
        })
    }

    /// Whether records between two times may be of the span. A time that isn't known is none.
    fn may_have(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> bool {
        let Some(to) = to else { return true };
        if from.is_some_and(|from| from > to) {
            return true;
        }
        let is_before = self
            .since
            .and_then(|since| since.checked_sub(MARGIN).ok())
            .is_some_and(|early| to <= early);
        let is_after = self
            .until
            .and_then(|until| until.checked_add(MARGIN).ok())
            .zip(from)
            .is_some_and(|(late, from)| from >= late);
        !is_before && !is_after
    }
}

const MARGIN: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    /// The days with which the segments begin that are read. A negative day is a damaged segment.
    fn read(days: &[i64], since: Option<i64>, until: Option<i64>) -> Vec<i64> {
        let segments = (1..).zip(days).map(|(first, &begin)| Segment {
            path: begin.to_string().into(),
            first,
            prev: Hash::GENESIS,
            time: day(begin.max(0)),
            size: 1,
            readable: begin >= 0,
        });
        let span = TimeSpan {
            since: since.map(day),
            until: until.map(day),
        };
        let (read, _) = span.split(segments.collect());
        let begin = |segment: &Segment| segment.path.to_str().unwrap().parse().unwrap();
        read.iter().map(begin).collect()
    }

    #[test]
    fn no_segment_with_a_record_of_the_span_is_left_out() {
        assert_eq!(read(&[100, 110, 120], Some(115), None), [110, 120]);
        assert_eq!(read(&[100, 110, 120], Some(200), None), [120]);
        assert_eq!(read(&[100, 110, 120], Some(50), None), [100, 110, 120]);
        assert_eq!(read(&[100, 110, 120, 130], None, Some(105)), [100, 130]);
        assert_eq!(
            read(&[100, 110, 120, 130], Some(112), Some(115)),
            [110, 130]
        );
        assert_eq!(read(&[], Some(111), Some(112)), [0; 0]);
        assert_eq!(read(&[100, 110], None, None), [100, 110]);
        // A step of a day within a segment is covered.
        assert_eq!(read(&[100, 110, 120], Some(110), None), [100, 110, 120]);
        assert_eq!(read(&[100, 110, 120], Some(111), None), [110, 120]);
        assert_eq!(
            read(&[100, 110, 120, 130], None, Some(110)),
            [100, 110, 130]
        );
    }

    #[test]
    fn a_clock_that_was_set_hides_nothing() {
        // Set back by 46 days at day 112, and forward by 47 at day 68.
        let days = [100, 110, 66, 67, 115, 120];
        assert_eq!(read(&days, Some(111), Some(112)), [110, 67, 120]);
        assert_eq!(read(&days, Some(66), Some(67)), [110, 66, 67, 120]);
        // Two years ahead for an hour, in which a segment began.
        assert_eq!(
            read(&[100, 830, 101, 102], Some(101), Some(102)),
            [100, 830, 101, 102]
        );
        assert_eq!(
            read(&[100, 830, 101, 102], Some(830), None),
            [100, 830, 102]
        );
    }

    #[test]
    fn a_damaged_segment_lies_between_its_neighbours() {
        assert_eq!(read(&[-1, 110, 120], Some(115), None), [110, 120]);
        assert_eq!(read(&[-1, 110, 120], Some(105), None), [-1, 110, 120]);
        assert_eq!(
            read(&[100, -1, -2, 130, 140], Some(120), None),
            [100, -1, -2, 130, 140]
        );
        assert_eq!(read(&[100, 110, 120, -1], None, Some(105)), [100, 120, -1]);
    }
}
