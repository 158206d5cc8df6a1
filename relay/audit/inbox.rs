//! The queue between the sessions and the writer: records that have no numbers yet. The disk
//! reports here what it has done.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callhome_trail::{Data, Event, Range};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::oneshot;

use super::disk::Done;
use super::durability::Durability;
use super::inventory::KnownInventory;
use super::open_tunnels::TunnelStep;
use super::options::OnFailure;
use super::throttle::Throttle;
use crate::telemetry::Metrics;

/// Shared by all sessions and the writer.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) relay: Arc<str>,
    pub(super) directory: Option<PathBuf>,
    pub(super) on_failure: OnFailure,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    pub(super) durability: Arc<Durability>,
    /// The records that an earlier run left behind its last checkpoint.
    pub(super) unsealed: Option<Range>,
    pub(super) known_inventory: Mutex<KnownInventory>,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// When the first record of the batch came.
    pub(super) since: Option<Instant>,
    /// Whether a session waits until its record is written.
    pub(super) is_urgent: bool,
    /// Records that the writer has taken and that aren't durable.
    pub(super) writing: usize,
    pub(super) throttle: Throttle,
    /// Requests that left no record because the trail couldn't take it.
    pub(super) uncounted: u64,
    pub(super) state: WriterState,
    /// How long the writer is at its present round, and the disk at its job.
    pub(super) round: Patience,
    pub(super) job: Patience,
    /// What came of the disk's last job, until the writer takes it.
    pub(super) done: Option<Done>,
    pub(super) closing: bool,
    /// Whether the search for tunnels without an end is over, and has handed over what it found.
    pub(super) searched: bool,
    #[cfg(test)]
    pub(super) fault: Option<WriterFault>,
}

/// Whether the writer writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WriterState {
    #[default]
    Writing,
    /// Its last try failed, and it will try again.
    Failing,
    /// Its thread is gone.
    Gone,
}

/// Counts for how long something takes, in ticks of [`TICK`].
///
/// A clock would count the time too in which the whole process was frozen, as by a pause of its
/// container. Such a time counts as one tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience(Option<u32>);

/// Records that were handed over together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Pending>,
    /// The JSON members of every record, one behind the other, from `relay` on and without braces.
    ///
    /// They share one buffer, because a buffer for each record would be freed by another thread
    /// than the one that allocated it. Allocators are slow at that.
    pub(super) members: Vec<u8>,
}

/// A record of a batch, without its members.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) time: Timestamp,
    /// The bytes that its members take in [`Batch::members`].
    pub(super) length: usize,
    pub(super) tunnel: Option<TunnelStep>,
    /// Wakes the session that waits for its record.
    pub(super) ack: Option<oneshot::Sender<()>>,
}

/// What happened to a record that was handed over.
#[derive(Debug)]
pub(super) enum Handed {
    Over,
    /// The receiver gets a message when the record is written, or durable under `sync = "always"`.
    /// If it is closed without one, the record waits in memory.
    Awaited(oneshot::Receiver<()>),
    /// There was no room for the record, so it was only counted.
    Counted,
}

/// The kinds of records that the queue treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Opening,
    Progress,
    /// The end of a tunnel that was opened, or an event of the relay itself.
    Closing,
    Refusal,
}

/// A record of the relay itself, without the members that the chain adds.
#[derive(Debug, Serialize)]
pub(super) struct RelayRecord<'a> {
    relay: &'a str,
    event: Event,
    data: &'a Data,
}

impl<'a> RelayRecord<'a> {
    pub(super) fn of(relay: &'a str, data: &'a Data) -> Self {
        Self {
            relay,
            event: data.event(),
            data,
        }
    }
}

/// Serialises a record into `json` and returns its members, which is the text without the braces.
pub(super) fn members<'a>(record: &impl Serialize, json: &'a mut Vec<u8>) -> &'a [u8] {
    json.clear();
    // Serialising plain data to a Vec can't fail.
    let _ = serde_json::to_writer(&mut *json, record);
    json.strip_prefix(b"{")
        .and_then(|json| json.strip_suffix(b"}"))
        .unwrap_or_default()
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        // Only an allocation can panic under the lock, and the queue is consistent between any two
        // statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inventory(&self) -> MutexGuard<'_, KnownInventory> {
        let known = self.known_inventory.lock();
        // No code panics under the lock.
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the trail lets new requests be served.
    pub(super) fn admits(&self) -> bool {
        self.on_failure == OnFailure::Count || !self.lock().is_failing()
    }

    /// Hands a record over. An opening record gets a receiver, because its client may be told of
    /// the tunnel only once the record is written.
    ///
    /// `tunnel` says whether the record opens or ends a tunnel.
    pub(super) fn write(
        &self,
        record: &impl Serialize,
        kind: RecordKind,
        tunnel: Option<TunnelStep>,
    ) -> Handed {
        JSON.with_borrow_mut(|json| self.hand_over(members(record, json), kind, tunnel))
    }

    fn hand_over(&self, members: &[u8], kind: RecordKind, tunnel: Option<TunnelStep>) -> Handed {
        let mut queue = self.lock();
        let is_failing = queue.is_failing();
        let waiting = queue.batch.len() + queue.writing;
        // Closing records are taken even then, because the number of open sessions bounds them.
        let is_full = is_failing && kind != RecordKind::Closing && waiting >= MAX_WAITING;
        if is_full || queue.state == WriterState::Gone {
            queue.uncounted += 1;
            return Handed::Counted;
        }
        // While the trail fails and requests are only counted, a session would wait in vain.
        let counts_only = is_failing && self.on_failure == OnFailure::Count;
        let (ack, awaited) = (kind == RecordKind::Opening && !counts_only)
            .then(oneshot::channel)
            .unzip();
        // Read the clock under the lock. Otherwise two sessions could hand over in another order
        // than that of their times.
        let time = Timestamp::now();
        let is_first = queue.batch.is_empty();
        if is_first {
            queue.since = Some(Instant::now());
        }
        let becomes_urgent = ack.is_some() && !queue.is_urgent;
        queue.is_urgent |= ack.is_some();
        queue.batch.push(
            members,
            Pending {
                time,
                length: members.len(),
                tunnel,
                ack,
            },
        );
        drop(queue);
        if is_first || becomes_urgent {
            self.wake.notify_one();
        }
        awaited.map_or(Handed::Over, Handed::Awaited)
    }

    /// Reports what came of the disk's job.
    pub(super) fn finish_job(&self, done: Done) {
        let mut queue = self.lock();
        queue.job.end();
        queue.done = Some(done);
        drop(queue);
        self.wake.notify_one();
    }

    /// Counts a tick of what the writer and the disk are at.
    pub(super) fn tick(&self) {
        let mut queue = self.lock();
        queue.round.tick();
        queue.job.tick();
    }
}

impl Patience {
    pub(super) fn begin(&mut self) {
        self.0 = Some(0);
    }

    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    fn tick(&mut self) {
        if let Some(ticks) = &mut self.0 {
            *ticks = ticks.saturating_add(1);
        }
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|ticks| ticks > STALL)
    }
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn push(&mut self, members: &[u8], record: Pending) {
        self.members.extend_from_slice(members);
        self.records.push(record);
    }

    /// Empties the batch. It keeps room for the next records, but not all that an outage has piled
    /// up.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.records.shrink_to(KEEP_RECORDS);
        self.members.clear();
        self.members.shrink_to(KEEP_RECORDS * 1024);
    }
}

impl Queue {
    /// Whether the trail counts as failing. A call that never returns from a hanging disk is as bad
    /// as an error.
    pub(super) fn is_failing(&self) -> bool {
        self.state != WriterState::Writing || self.is_stalled()
    }

    /// Whether the writer has been in one round for too long, or the disk at one job.
    pub(super) fn is_stalled(&self) -> bool {
        self.round.is_over() || self.job.is_over()
    }
}

thread_local! {
    /// The buffer in which a session's thread serialises a record, so that the lock is held only to
    /// copy it.
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many records may wait while the trail can't be written, besides one for each open session.
pub(super) const MAX_WAITING: usize = 4096;
/// For how many records an empty batch keeps room.
const KEEP_RECORDS: usize = 256;
/// How often the time is counted that the writer and the disk take.
pub(super) const TICK: Duration = Duration::from_millis(if cfg!(test) { 250 } else { 500 });
/// How many ticks they may take before the trail counts as unavailable: five seconds.
pub(super) const STALL: u32 = 10;

/// A fault that a test causes in the writer thread.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) enum WriterFault {
    Panic,
    Hang(Duration),
}

#[cfg(test)]
impl WriterFault {
    pub(super) fn happen(self) {
        match self {
            Self::Panic => panic!("a defect, made for a test"),
            Self::Hang(time) => std::thread::sleep(time),
        }
    }
}
