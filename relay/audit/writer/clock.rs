//! What the writer does about its clock: it records steps and their confirmation, and keeps the
//! list of jumps that no age counts.

use std::fs;
use std::time::Instant;

use callhome_trail::{ClockConfirmed, ClockStepped, DAY, Data};
use jiff::Timestamp;

use super::super::confirmation;
use super::Writer;

impl Writer {
    /// Reads the clock, and records that it was set, if it was since the last call.
    pub(super) fn note_clock(&mut self) {
        if let Some(step) = self.clock.step(Timestamp::now(), Instant::now()) {
            self.append_step(ClockStepped {
                seconds: step.as_secs_f64(),
                before_start: false,
                maybe_off: false,
            });
            self.follow_step(step);
        }
    }

    /// Records a step of the clock.
    pub(super) fn append_step(&mut self, step: ClockStepped) {
        let (seconds, time) = (step.seconds, Timestamp::now().to_string());
        self.append_event(&Data::ClockStepped(step));
        self.jumps.step(self.chain.next() - 1, time.into(), seconds);
        if self.kept.is_some() && seconds > DAY {
            tracing::warn!(
                seconds,
                "the clock jumped ahead, or the machine was off: nothing in the audit trail gets older by that, unless `callhome-relay audit clock --confirm` says that the time has passed"
            );
        }
    }

    /// Records which jumps somebody has confirmed. A later call removes the file of the
    /// confirmation, once that record is durable.
    pub(super) fn take_confirmation(&mut self) {
        let Some(directory) = self.options.directory.as_ref().filter(|_| self.has_begun()) else {
            return;
        };
        let path = directory.join(confirmation::FILE);
        let Some(to) = confirmation::read(&path) else {
            return;
        };
        let seconds = self.jumps.confirm(to);
        if seconds > 0.0 {
            self.append_event(&Data::ClockConfirmed(ClockConfirmed { to, seconds }));
            self.confirmation = self.chain.next() - 1;
            tracing::info!(
                seconds,
                "what the clock jumped ahead counts as time that has passed"
            );
            return;
        }
        if self.inbox.durability.reached().seq < self.confirmation {
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a confirmation that is done with can't be deleted");
        }
    }

    /// Forgets jumps that make no difference to the segments, which begin with these records. Warns
    /// once if a jump keeps old segments from being deleted.
    pub(super) fn tidy_jumps(&mut self, begins: &[u64], is_held_back: bool) {
        if self.jumps.is_empty() {
            return;
        }
        self.jumps.tidy(begins);
        if is_held_back && !self.is_held_back {
            tracing::warn!(
                "segments of the audit trail would be older than `keep`, but for a jump of the clock: they stay until `callhome-relay audit clock --confirm` says that the time has passed, or `max_size` is reached"
            );
        }
        self.is_held_back = is_held_back;
    }
}
