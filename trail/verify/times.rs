//! The times of a trail, and where they go back.

use jiff::{SignedDuration, Timestamp};

use super::verification::{TimeBack, Verification};
use crate::chain::Line;

/// The time of the last record.
#[derive(Debug, Default)]
pub(super) struct Times(Option<Timestamp>);

impl Times {
    /// Notes the time of a record in the report.
    pub(super) fn take(&mut self, line: &Line<'_>, report: &mut Verification) {
        if report.first_time.is_empty() {
            report.first_time = line.time.clone().into_owned();
        }
        let time = line.time.parse::<Timestamp>().ok();
        if let (Some(last), Some(time)) = (self.0, time)
            && last.duration_since(time) > TOLERANCE
        {
            report.times_back += 1;
            if report.time_back.len() < MOST {
                report.time_back.push(TimeBack {
                    seq: line.seq,
                    from: report.last_time.clone(),
                    to: line.time.clone().into_owned(),
                });
            }
        }
        self.0 = time.or(self.0);
        report.last_time.clear();
        report.last_time.push_str(&line.time);
    }
}

/// Sessions note the time of a record before they hand it over, so that two records may be in the
/// order in which they were handed over and not in that of their times.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// How many places are listed.
const MOST: usize = 20;
