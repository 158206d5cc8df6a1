//! What the writer takes from the queue: it waits for records, numbers them and chains them.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use callhome_trail::{AuditGap, Data, Refusals};
use jiff::Timestamp;

use super::super::inbox::{Batch, Pending, Queue, WriterState};
use super::super::options::Sync;
use super::{RETRY, Writer};

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
    /// Puts a record behind those that aren't chained.
    pub(super) fn push(&mut self, members: &[u8], time: Timestamp) {
        let record = Pending {
            time,
            length: members.len(),
            tunnel: None,
            ack: None,
        };
        self.batch.push(members, record);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.refusals.is_empty()
    }

    /// How many records aren't chained.
    pub(super) fn len(&self) -> usize {
        self.batch.len() - self.chained
    }
}

impl Writer {
    /// Waits for something to do, takes the records that were handed over, and returns whether the
    /// trail is to be closed.
    pub(super) fn take_records(&mut self) -> bool {
        // Sessions that open a tunnel within the same moment share a round.
        thread::sleep(self.next_round.saturating_duration_since(Instant::now()));
        let TakenRecords {
            uncounted,
            refusals,
            searched,
            closing,
        } = self.wait_for_records();
        if self.has_begun() {
            self.note_clock();
            if uncounted > 0 {
                let cause = "requests that came while the trail couldn't be written";
                self.append_event(&Data::AuditGap(AuditGap::of_count(uncounted, cause)));
            }
        }
        self.backlog.refusals.extend(refusals);
        self.open_tunnels.searched(searched);
        closing
    }

    /// Whether records may follow the first checkpoint.
    ///
    /// From that checkpoint on, `verify` asks for a signed head. A crash before the first head must
    /// leave nothing behind that checkpoint, otherwise it would look like a forgery.
    pub(super) fn has_begun(&self) -> bool {
        self.kept.as_ref().is_none_or(|it| it.sealer.has_begun())
    }

    /// Chains the records that were taken, with a checkpoint among them where one must be.
    ///
    /// It leaves the rest for a later round where that checkpoint has to wait, because records that
    /// no checkpoint covers in time are believed by no reader.
    pub(super) fn chain_backlog(&mut self) {
        if !self.has_begun() {
            return;
        }
        while self.backlog.chained < self.backlog.batch.records.len() {
            if !self.may_append() {
                return;
            }
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
        while !self.backlog.refusals.is_empty() && self.may_append() {
            if let Some(refusals) = self.backlog.refusals.pop_front() {
                self.append_event(&Data::Refusals(refusals));
            }
        }
        self.open_tunnels.chained();
    }

    /// Puts a checkpoint here if the next record would be one too many without it. Returns false
    /// if that has to wait until the checkpoint before is durable, or a head is saved.
    fn may_append(&mut self) -> bool {
        let last = self.chain.next() - 1;
        let jobs = self.kept.as_ref().map(|kept| &kept.jobs);
        if jobs.is_some_and(|jobs| jobs.is_far_ahead(last)) {
            return false;
        }
        let is_full = |it: &Self| it.kept.as_ref().is_some_and(|kept| kept.sealer.is_full());
        if is_full(self) {
            self.seal(Instant::now());
        }
        !is_full(self)
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
            queue.since = None;
            queue.is_urgent = false;
            searched = queue.searched;
        }
        let closing = queue.closing;
        let available = queue.state == WriterState::Writing && self.has_begun();
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
        queue.round.begin();
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

    /// Ends a round. The next one begins at the earliest after `SPACING`, unless the sessions wait
    /// for the disk anyway.
    pub(super) fn end_round(&mut self, closing: bool) {
        self.inbox.lock().round.end();
        let is_spaced = self.options.sync != Sync::Always && !closing;
        let spacing = if is_spaced { SPACING } else { Duration::ZERO };
        self.next_round = Instant::now() + spacing;
    }

    /// Returns the locked queue once there are records, something is due, the disk has done its
    /// job, or the trail is to be closed.
    fn wait_until_due(&self) -> MutexGuard<'_, Queue> {
        let is_running = self.kept.as_ref().is_some_and(|it| it.jobs.is_running());
        let mut queue = self.inbox.lock();
        loop {
            let now = Instant::now();
            let deadline = self.next_deadline(&queue, is_running, now);
            if queue.done.is_some() || queue.closing && !is_running || deadline <= now {
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

    fn next_deadline(&self, queue: &Queue, is_running: bool, now: Instant) -> Instant {
        // While the trail fails, new records don't end the wait. Otherwise each of them would be
        // another try.
        if let Some(retry_at) = self.retry_at {
            return if is_running { now + RETRY } else { retry_at };
        }
        // What waits for a checkpoint is chained before anything else is taken.
        let takes = self.backlog.is_empty();
        let records = queue.since.filter(|_| takes).map(|since| {
            if queue.is_urgent || self.options.sync == Sync::Always {
                since
            } else {
                since + COALESCE
            }
        });
        let uncounted = (queue.uncounted > 0 && self.has_begun()).then_some(now);
        let throttle = queue.throttle.due(now).filter(|_| self.has_begun());
        let kept = self.kept.as_ref().filter(|_| !is_running);
        let on_disk = [
            self.sync_at,
            kept.and_then(|kept| kept.jobs.head_at()),
            Some(self.tend_at),
        ];
        let on_disk = on_disk.into_iter().filter(|_| !is_running);
        let seal = self.kept.as_ref().and_then(|kept| kept.sealer.due());
        [records, uncounted, throttle, seal]
            .into_iter()
            .chain(on_disk)
            .flatten()
            .min()
            .unwrap_or(now + RETRY)
    }
}

/// Records for which no session waits share a write within this time.
const COALESCE: Duration = Duration::from_millis(15);
/// How long the writer rests between two rounds. Each wakes threads, which under load costs more
/// than the writes.
const SPACING: Duration = Duration::from_millis(2);
