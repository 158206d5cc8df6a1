//! What the writer takes from the queue: it waits for records, numbers them and chains them.

use std::mem;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use callhome_trail::{AuditGap, ClockStepped, Data, Refusals};
use jiff::Timestamp;

use super::super::inbox::{Batch, Queue, WriterState};
use super::Writer;
use super::sealer::Sealer;

/// What one round takes from the queue.
struct TakenRecords {
    batch: Batch,
    /// Requests that left no record while the trail couldn't be written.
    uncounted: u64,
    refusals: Vec<Refusals>,
    closing: bool,
}

impl Writer {
    /// Waits for something to do, chains the records that were handed over, and returns whether the
    /// trail is to be closed.
    pub(super) fn take_records(&mut self) -> bool {
        let TakenRecords {
            mut batch,
            uncounted,
            refusals,
            closing,
        } = self.wait_for_records();
        if let Some(step) = self.clock.step(Timestamp::now(), Instant::now()) {
            let seconds = step.as_secs_f64();
            self.append_event(&Data::ClockStepped(ClockStepped { seconds }));
        }
        if uncounted > 0 {
            let cause = "requests that came while the trail couldn't be written";
            self.append_event(&Data::AuditGap(AuditGap::of_count(uncounted, cause)));
        }
        let mut rest = batch.members.as_slice();
        for record in batch.records.drain(..) {
            let (members, next) = rest.split_at(record.length);
            rest = next;
            self.append(record.time, members);
            self.waiters.extend(record.ack);
        }
        batch.clear();
        self.spare = batch;
        for refusals in refusals {
            self.append_event(&Data::Refusals(refusals));
        }
        closing
    }

    fn wait_for_records(&mut self) -> TakenRecords {
        let mut batch = mem::take(&mut self.spare);
        // Sessions wait for this lock, so the records are chained only after it is released.
        let mut queue = self.wait_until_due();
        // The buffers are swapped and not copied, so that each keeps its room for a later round.
        mem::swap(&mut batch, &mut queue.batch);
        queue.writing += batch.len();
        let (closing, available) = (queue.closing, queue.state == WriterState::Writing);
        // Requests that left no record are declared only once the trail takes records again.
        let uncounted = if available {
            mem::take(&mut queue.uncounted)
        } else {
            0
        };
        // While the trail fails, counts stay in the throttle. It bounds them; records that wait in
        // memory have no bound.
        let refusals = match (closing, available) {
            (true, _) => queue.throttle.take(None),
            (false, true) => queue.throttle.take(Some(Instant::now())),
            (false, false) => Vec::new(),
        };
        queue.busy_since = Some(Instant::now());
        #[cfg(test)]
        let fault = queue.fault.take();
        drop(queue);
        #[cfg(test)]
        fault
            .into_iter()
            .for_each(super::super::inbox::WriterFault::happen);
        TakenRecords {
            batch,
            uncounted,
            refusals,
            closing,
        }
    }

    /// Returns the locked queue once there are records, something is due, or the trail is to be
    /// closed.
    fn wait_until_due(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.inbox.lock();
        loop {
            let now = Instant::now();
            let deadline = self.next_deadline(queue.throttle.due());
            let nothing = queue.batch.is_empty() && queue.uncounted == 0;
            // While the trail fails, new records don't end the wait. Otherwise each of them would
            // be another try.
            let idle = nothing || self.retry_at.is_some();
            if !idle || queue.closing || deadline <= now {
                return queue;
            }
            queue = self
                .inbox
                .wake
                .wait_timeout(queue, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn next_deadline(&self, throttle: Option<Instant>) -> Instant {
        if let Some(retry_at) = self.retry_at {
            return retry_at;
        }
        let seal = self.sealer.as_ref().map(Sealer::due);
        [self.sync_at, seal, throttle, Some(self.tend_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.tend_at)
    }
}
