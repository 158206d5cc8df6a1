//! Repeats the inventory, so that each part of the trail tells who was expected to call home.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callhome_trail::Data;
use jiff::{SignedDuration, Timestamp};

use super::super::inbox::{RelayRecord, members};
use super::Writer;

impl Writer {
    /// Puts the inventory at the head of a segment that begins now. All records before must be
    /// chained.
    pub(super) fn head_segment(&mut self) {
        // Without a directory there are no segments, and the inventory comes once a day.
        let size = self.kept.as_ref().map_or(0, |_| self.options.rotate_size);
        let records = self.inbox.inventory().at_segment(size, Instant::now());
        if let Some(records) = records {
            self.push_inventory(&records);
            self.chain_backlog();
        }
    }

    /// Repeats the inventory behind the waiting records after a large step of the clock, because
    /// its `since` is to be compared with the new time.
    pub(super) fn follow_step(&mut self, step: SignedDuration) {
        if step.unsigned_abs() > LARGE_STEP {
            let records = self.inbox.inventory().again(Instant::now());
            if let Some(records) = records {
                self.push_inventory(&records);
            }
        }
    }

    fn push_inventory(&mut self, records: &Arc<[Data]>) {
        let mut json = Vec::new();
        for data in records.iter() {
            let record = RelayRecord::of(&self.inbox.relay, data);
            let members = members(&record, &mut json);
            self.backlog.push(members, Timestamp::now());
        }
    }
}

const LARGE_STEP: Duration = Duration::from_hours(1);
