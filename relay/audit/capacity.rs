//! How long the trail holds: how many records `max_size` has room for, at the last week's rate.

use std::io;
use std::path::Path;
use std::time::Duration;

use callhome_trail::segments::{self, Segment};

/// Reads a trail's directory, and tells how long `max_size` holds what the relay writes. Gives none
/// where the trail has too little history.
///
/// # Errors
///
/// The directory or a segment can't be read.
pub fn capacity(directory: &Path, max_size: u64) -> io::Result<Option<Duration>> {
    let mut segments = segments::list(directory)?;
    segments.retain(|segment| segment.readable);
    Ok(capacity_of(segments.iter(), max_size))
}

/// Does the same for segments in order. The last one isn't compressed yet, so it doesn't count.
pub(super) fn capacity_of<'a>(
    segments: impl DoubleEndedIterator<Item = &'a Segment>,
    max_size: u64,
) -> Option<Duration> {
    let mut backwards = segments.rev();
    let end = backwards.next()?.time;
    let mut begin = end;
    let mut bytes = 0;
    for segment in backwards {
        // Time within the trail, not until now: a relay that is stopped writes nothing.
        let age = end.duration_since(begin).unsigned_abs();
        if age >= WEEK {
            break;
        }
        begin = segment.time;
        bytes += segment.size;
    }
    // A clock that was set back gives no rate.
    let span = Duration::try_from(end.duration_since(begin)).ok()?;
    // A flood can fill the trail within a day, so much data is history enough.
    if bytes == 0 || span < DAY && bytes < max_size / 4 {
        return None;
    }
    let seconds = u128::from(span.as_secs()) * u128::from(max_size) / u128::from(bytes);
    Some(Duration::from_secs(
        u64::try_from(seconds).unwrap_or(u64::MAX),
    ))
}

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use callhome_trail::Hash;
    use jiff::Timestamp;

    use super::super::{Audit, AuditOptions, tests};
    use super::*;
    use crate::telemetry::Metrics;

    /// Makes segments of these sizes, each beginning this many hours after the one before.
    fn segments(of: &[(i64, u64)]) -> Vec<Segment> {
        let mut hours = 500_000;
        of.iter()
            .map(|(after, size)| {
                hours += after;
                Segment {
                    path: "access.jsonl".into(),
                    first: 1,
                    prev: Hash::GENESIS,
                    time: Timestamp::from_second(hours * 3600).unwrap(),
                    size: *size,
                    readable: true,
                }
            })
            .collect()
    }

    fn days(of: &[(i64, u64)], max_size: u64) -> Option<u64> {
        let capacity = capacity_of(segments(of).iter(), max_size)?;
        Some(capacity.as_secs() / 86_400)
    }

    #[test]
    fn it_goes_by_the_closed_segments_of_a_week() {
        let daily = [(24, 1000); 30];
        assert_eq!(days(&daily, 400_000), Some(400));
        // The last segment isn't compressed, and what lies before the last week doesn't count.
        let mut changed = daily;
        changed[29].1 = 1 << 40;
        changed[..20].fill((24, 1 << 40));
        assert_eq!(days(&changed, 400_000), Some(400));
        changed[25].1 = 8000;
        assert_eq!(days(&changed, 400_000), Some(200));
        // A segment that is longer than a week counts as a whole.
        assert_eq!(days(&[(0, 9000), (24 * 30, 0)], 90_000), Some(300));
    }

    /// A running relay reports it as a metric, and a reader of its directory finds the same.
    #[test]
    fn a_running_trail_tells_it() {
        let directory = tempfile::tempdir().unwrap();
        let options = AuditOptions {
            rotate_size: 4000,
            max_size: 20_000,
            ..tests::options(directory.path())
        };
        let metrics = Arc::<Metrics>::default();
        let (audit, writer) = Audit::start(&options, "test", metrics.clone()).unwrap();
        assert_eq!(capacity(directory.path(), options.max_size).unwrap(), None);
        assert!(!metrics.encode().contains("audit_capacity_seconds "));
        tests::wait_for(|| {
            tests::tunnel(&audit);
            // A file may be renamed or compressed while the directory is read.
            let holds = capacity(directory.path(), options.max_size);
            let is_short = holds.is_ok_and(|holds| holds.is_some_and(|holds| holds < DAY));
            is_short && metrics.encode().contains("audit_capacity_seconds ")
        });
        writer.close();
    }

    #[test]
    fn little_history_tells_nothing_unless_the_trail_is_full() {
        assert_eq!(days(&[], 1000), None);
        assert_eq!(days(&[(0, 10)], 1000), None);
        assert_eq!(days(&[(0, 10), (9, 10)], 1000), None);
        assert_eq!(days(&[(0, 500), (9, 10)], 1000), Some(0));
        assert_eq!(days(&[(0, 10), (-9, 10)], 1000), None);
    }
}
