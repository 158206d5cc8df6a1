//! What sessions hand over, and the writer takes: records that have no numbers yet.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callhome_trail::{Data, Event};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::oneshot;

use super::durability::Durability;
use super::options::{OnFailure, Sync};
use super::throttle::Throttle;
use crate::telemetry::Metrics;

/// Shared by all sessions and the writer.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) relay: Arc<str>,
    pub(super) sync: Sync,
    pub(super) on_failure: OnFailure,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    pub(super) durability: Arc<Durability>,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// Records that the writer has taken and not made durable.
    pub(super) writing: usize,
    pub(super) throttle: Throttle,
    /// Bytes that refusals may still take of the segment; without any, further ones are counted together.
    pub(super) refusal_room: u64,
    /// Requests that left no record because the trail couldn't take it.
    pub(super) uncounted: u64,
    pub(super) state: WriterState,
    /// Since when the writer has been at the records that it took.
    pub(super) busy_since: Option<Instant>,
    pub(super) closing: bool,
    #[cfg(test)]
    pub(super) fault: Option<WriterFault>,
}

/// How the writer fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WriterState {
    #[default]
    Writing,
    /// Its last try failed, and there will be another.
    Failing,
    /// Its thread is gone.
    Gone,
}

/// Records that have no numbers yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Pending>,
    /// The JSON members of each from `relay` on, without braces, one behind the other: a record of its own allocation would be
    /// freed by another thread than made it.
    pub(super) members: Vec<u8>,
}

/// What is known of a record beside its members.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) time: Timestamp,
    /// Of its members, in bytes.
    pub(super) length: usize,
    pub(super) ack: Option<oneshot::Sender<()>>,
}

/// What became of a record that was handed over.
#[derive(Debug)]
pub(super) enum Handed {
    Over,
    /// Tells when it is durable; or ends without, and it waits in memory.
    Durably(oneshot::Receiver<()>),
    /// There was no room for it: it is counted only.
    Counted,
}

/// What a record is, as far as the queue treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Opening,
    /// The end of something that was opened, or the relay's own.
    Closing,
    Refusal,
}

/// A record of the relay itself, without what the chain adds.
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

/// Serialises a record into `json`, and gives its members: the text without the braces.
pub(super) fn members<'a>(record: &impl Serialize, json: &'a mut Vec<u8>) -> &'a [u8] {
    json.clear();
    // Serialising plain data to a Vec can't fail.
    let _ = serde_json::to_writer(&mut *json, record);
    json.strip_prefix(b"{")
        .and_then(|json| json.strip_suffix(b"}"))
        .unwrap_or_default()
}

impl Intake {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under the lock but an allocation, and a queue is consistent between any two of its statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether new requests may be served, as far as the trail is concerned.
    pub(super) fn admits(&self) -> bool {
        self.on_failure == OnFailure::Count || !self.lock().is_failing()
    }

    /// Hands a record over. For an opening one under `sync = "always"` the receiver tells when it is durable.
    pub(super) fn write(&self, record: &impl Serialize, kind: RecordKind) -> Handed {
        JSON.with_borrow_mut(|json| self.hand_over(members(record, json), kind))
    }

    fn hand_over(&self, members: &[u8], kind: RecordKind) -> Handed {
        let (ack, durable) = (kind == RecordKind::Opening && self.sync == Sync::Always)
            .then(oneshot::channel)
            .unzip();
        let mut queue = self.lock();
        let waiting = queue.batch.len() + queue.writing;
        // Closing records are bounded by the sessions that are open.
        let is_full = queue.is_failing() && kind != RecordKind::Closing && waiting >= MAX_WAITING;
        if is_full || queue.state == WriterState::Gone {
            queue.uncounted += 1;
            return Handed::Counted;
        }
        // The clock is read under the lock, so that times are in the order of the trail.
        let time = Timestamp::now();
        if kind == RecordKind::Refusal {
            let line = (members.len() + CHAINED) as u64;
            queue.refusal_room = queue.refusal_room.saturating_sub(line);
        }
        let first = queue.batch.is_empty();
        queue.batch.push(
            members,
            Pending {
                time,
                length: members.len(),
                ack,
            },
        );
        drop(queue);
        if first {
            self.wake.notify_one();
        }
        durable.map_or(Handed::Over, Handed::Durably)
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

    /// Empties it. Its room is kept for the next ones, but for what an outage has piled up.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.records.shrink_to(KEEP_RECORDS);
        self.members.clear();
        self.members.shrink_to(KEEP_RECORDS * 1024);
    }
}

impl Queue {
    /// A call that doesn't come back, to a disk that hangs, is a failure as much as one that says so.
    pub(super) fn is_failing(&self) -> bool {
        self.state != WriterState::Writing || self.is_stalled()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.busy_since
            .is_some_and(|since| since.elapsed() >= STALL)
    }
}

thread_local! {
    /// Where a session's thread serialises a record before it hands the members over.
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many records may wait while the trail can't be written, beside one for each open session.
pub(super) const MAX_WAITING: usize = 4096;
/// Bytes that a line has beside its members, about.
const CHAINED: usize = 300;
/// How many records' room an empty batch keeps.
const KEEP_RECORDS: usize = 256;
/// How long the writer may take over one round before the trail counts as unavailable.
pub(super) const STALL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// What the tests let go wrong in the writer's thread.
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
