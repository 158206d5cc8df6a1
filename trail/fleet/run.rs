//! Until when a run of the relay is known to have lasted.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::words::Event;

/// The present run, as far as its records tell.
///
/// A start writes some records before `relay_started`: its first checkpoint, and what it found.
/// They don't show that the run before still lasted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct KnownRun {
    /// The last record that the run has surely written.
    lasted: Option<Timestamp>,
    /// The last checkpoint behind that. It may be the next start's.
    checkpoint: Option<Timestamp>,
}

impl KnownRun {
    /// The last time at which the run is known to have lasted.
    pub(super) fn lasted(&self) -> Option<Timestamp> {
        self.lasted
    }

    pub(super) fn take(&mut self, record: &Record) {
        match record.event {
            Event::Checkpoint => {
                // Checkpoints that follow each other closely may all be those of starts.
                let at_rest = |before: &Timestamp| record.time.duration_since(*before) >= AT_REST;
                if let Some(before) = self.checkpoint.filter(at_rest) {
                    self.lasted = Some(before);
                }
                self.checkpoint = Some(record.time);
            }
            Event::AuditGap
            | Event::TunnelLost
            | Event::TrailPruned
            | Event::ClockStepped
            | Event::ClockConfirmed => {}
            _ => {
                *self = Self {
                    lasted: Some(record.time),
                    checkpoint: None,
                };
            }
        }
    }
}

/// A relay at rest writes no other record than a checkpoint an hour.
const AT_REST: SignedDuration = SignedDuration::from_mins(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: Event, minute: i64) -> Record {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        serde_json::from_value(serde_json::json!({
            "trail": "t", "seq": 1, "time": time, "relay": "r", "event": event, "hash": "h",
        }))
        .unwrap()
    }

    fn lasted(events: &[(Event, i64)]) -> Option<i64> {
        let mut run = KnownRun::default();
        for (event, minute) in events {
            run.take(&record(*event, *minute));
        }
        run.lasted().map(|time| time.as_second() / 60)
    }

    #[test]
    fn what_a_start_writes_first_does_not_prolong_the_run_before() {
        use Event::{AuditGap, Checkpoint, ClockStepped, RelayStarted, TunnelClosed};
        let run = [(RelayStarted, 0), (TunnelClosed, 10)];
        let start = [(AuditGap, 900), (ClockStepped, 900), (Checkpoint, 900)];
        assert_eq!(lasted(&[run.as_slice(), &start].concat()), Some(10));
        // A relay at rest makes a checkpoint an hour.
        let rest = [(Checkpoint, 60), (Checkpoint, 120)];
        assert_eq!(lasted(&[&run, rest.as_slice(), &start].concat()), Some(120));
        let again = [(RelayStarted, 901)];
        assert_eq!(
            lasted(&[run.as_slice(), &start, &again].concat()),
            Some(901)
        );
    }
}
