//! What the writer takes from the queue: it waits for records, numbers them and chains them.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, mem};

use callhome_trail::{AuditGap, Data, Refusals};

use super::super::inbox::{Batch, Queue, WriterState};
use super::super::store::Store;
use super::Writer;
use super::sealer::Sealer;

/// Records that were taken from the queue, as far as they aren't chained.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    batch: Batch,
    /// How many records of the batch are chained, and the bytes of their members.
    chained: usize,
    bytes: usize,
    /// Counted refusals, which come behind the batch.
    refusals: VecDeque<Refusals>,
}

/// What one round takes from the queue.
struct TakenRecords {
    /// Requests that left no record while the trail couldn't be written.
    uncounted: u64,
    refusals: Vec<Refusals>,
    /// Whether the search for tunnels without an end was over before.
    searched: bool,
    closing: bool,
}

impl Backlog {
    /// How many records aren't chained.
    pub(super) fn len(&self) -> usize {
        self.batch.len() - self.chained
    }
}

impl Writer {
    /// Waits for something to do, takes the records that were handed over, and returns whether the
    /// trail is to be closed.
    pub(super) fn take_records(&mut self) -> bool {
        let TakenRecords {
            uncounted,
            refusals,
            searched,
            closing,
        } = self.wait_for_records();
        let _ = self.note_clock();
        if uncounted > 0 {
            let cause = "requests that came while the trail couldn't be written";
            self.append_event(&Data::AuditGap(AuditGap::of_count(uncounted, cause)));
        }
        self.backlog.refusals.extend(refusals);
        self.open_tunnels.searched(searched);
        closing
    }

    /// Chains the records that were taken, with a checkpoint among them where one must be.
    ///
    /// A failure leaves the rest for the next round, because records that no checkpoint covers in
    /// time are believed by no reader.
    pub(super) fn chain_backlog(&mut self) -> io::Result<()> {
        // From the first checkpoint on, `verify` asks for a signed head. A crash before the first
        // head must leave nothing behind that checkpoint, otherwise it would look like a forgery.
        if self.sealer.as_ref().is_some_and(|it| !it.has_begun()) {
            self.write()?;
            self.sync()?;
        }
        while self.backlog.chained < self.backlog.batch.records.len() {
            self.seal_if_full()?;
            let record = &mut self.backlog.batch.records[self.backlog.chained];
            let (time, length, ack) = (record.time, record.length, record.ack.take());
            if let Some(step) = record.tunnel {
                self.open_tunnels.take(step, self.chain.next());
            }
            let begin = self.backlog.bytes;
            let batch = mem::take(&mut self.backlog.batch);
            self.append(time, &batch.members[begin..begin + length]);
            self.backlog.batch = batch;
            self.backlog.chained += 1;
            self.backlog.bytes += length;
            self.waiters.extend(ack);
        }
        let mut batch = mem::take(&mut self.backlog.batch);
        batch.clear();
        self.spare = batch;
        self.backlog.chained = 0;
        self.backlog.bytes = 0;
        while !self.backlog.refusals.is_empty() {
            self.seal_if_full()?;
            let Some(refusals) = self.backlog.refusals.pop_front() else {
                break;
            };
            self.append_event(&Data::Refusals(refusals));
        }
        self.open_tunnels.chained();
        Ok(())
    }

    /// Puts a checkpoint here if the next record would be one too many without it.
    fn seal_if_full(&mut self) -> io::Result<()> {
        let Some(sealer) = self.sealer.as_ref().filter(|it| it.is_full()) else {
            return Ok(());
        };
        // Its key takes over only once the checkpoint before is on the disk.
        if sealer.is_on_its_way() {
            self.write()?;
            self.sync()?;
        }
        self.seal(Instant::now())
    }

    fn wait_for_records(&mut self) -> TakenRecords {
        let mut batch = mem::take(&mut self.spare);
        let mut searched = false;
        // Sessions wait for this lock, so the records are chained only after it is released.
        let mut queue = self.wait_until_due();
        // The buffers are swapped and not copied, so that each keeps its room for a later round.
        // What a failure left is chained first.
        if self.backlog.batch.is_empty() {
            mem::swap(&mut batch, &mut queue.batch);
            queue.writing += batch.len();
            searched = queue.searched;
        }
        let (closing, available) = (queue.closing, queue.state == WriterState::Writing);
        // Requests that left no record are declared only once the trail takes records again.
        let uncounted = if available {
            mem::take(&mut queue.uncounted)
        } else {
            0
        };
        // While the trail fails, counts stay in the throttle, which holds a bounded number of them.
        // As records they would wait in memory, where nothing bounds them.
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
        if self.backlog.batch.is_empty() {
            self.backlog.batch = batch;
        } else {
            self.spare = batch;
        }
        TakenRecords {
            uncounted,
            refusals,
            searched,
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
        let head = self.store.as_ref().and_then(Store::head_at);
        [self.sync_at, seal, head, throttle, Some(self.tend_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.tend_at)
    }
}
