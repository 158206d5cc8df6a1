//! The audit trail: what happened, one JSON line a record, each tied to the one before by a hash, all of it sealed now and then.
//!
//! Sessions don't write. They hand a finished record to one writer thread, which numbers, chains, writes and syncs; so the order
//! of the trail is the order of the hand-over, and no session waits for a disk unless it was told to (`sync = "always"`).
//! [`Audit::session`] gives a guard that leaves exactly one closing record, however its session ends.
//!
//! - Writing: `writer` drives `chain` (lines), `seal` and `kept` (checkpoints), `store` and `segments` (files), `stdout`; `throttle`
//!   keeps refusals from filling the disk; `recover` is what a start does.
//! - Shipping: `ship` sends the records on to a syslog server, as far as `progress` says that they are durable.
//! - Reading: `verify` proves a trail, `reader` and `follow` give its lines, `entry` is what one says, `report` sums them up, `export`
//!   converts them, `schema` describes them to programs, `text` makes them harmless.

mod chain;
mod clock;
pub mod entry;
pub mod export;
mod files;
mod follow;
mod kept;
mod owner;
mod progress;
mod reader;
mod record;
mod recover;
pub mod report;
mod schema;
mod seal;
mod segments;
mod recorder;
mod ship;
mod stdout;
mod store;
#[cfg(test)]
mod tests;
pub mod text;
mod throttle;
pub mod verify;
mod writer;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use jiff::Timestamp;
use rustix::fs::{Gid, Uid};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::telemetry::Metrics;
use progress::Progress;
use ship::{Connector, Shipper, Source};
use throttle::Throttle;

pub use chain::{Hash, Line, LineError};
pub use entry::Entry;
pub use follow::Follower;
pub use reader::Reader;
pub use record::{Client, Data, Decision, Event, MAX_RAW, Millis, Outcome, Tls, escape};
pub use schema::schema;
pub use seal::{PublicKey, generate};
pub use recorder::Recorder;
pub use ship::{ServerError as SyslogServerError, Syslog, SyslogServer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// Where the segments are kept. Without it there is no recovery and no seal.
    pub directory: Option<PathBuf>,
    /// Whether the records go to standard output, beside or instead of the directory.
    pub stdout: bool,
    /// Bytes after which a segment is closed.
    pub rotate_size: u64,
    /// Age at which a segment is closed.
    pub rotate_every: Duration,
    /// How long closed segments are kept.
    pub keep: Duration,
    /// Bytes that all segments may take.
    pub max_size: u64,
    pub sync: Sync,
    pub on_failure: OnFailure,
    /// The longest time without a checkpoint.
    pub seal_every: Duration,
    /// Where the records in the directory are shipped to.
    pub syslog: Option<Syslog>,
}

impl AuditOptions {
    /// Bytes of a segment that refusals may take: a flood of them leaves room for the tunnels.
    fn refusal_room(&self) -> u64 {
        self.rotate_size / 2
    }
}

/// When records are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before a client is told that its tunnel is open.
    Always,
    /// This long after a record at the latest.
    Every(Duration),
    /// When the kernel likes.
    Never,
}

/// What becomes of requests while the trail can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Refuse,
    /// They are served, and counted instead of recorded.
    Count,
}

/// The way into the trail. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

/// Ends the writer, and then the shipping, when the relay is done.
#[derive(Debug)]
pub struct Writer {
    audit: Audit,
    thread: Option<thread::JoinHandle<()>>,
    shipper: Option<Shipper>,
}

/// What the trail takes from the machine before the process confines itself.
#[derive(Debug)]
pub struct Prepared(Option<Connector>);

/// The trail takes no records now; a new request must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail can't be written")]
pub struct Unavailable;

#[derive(Debug)]
struct Shared {
    relay: Box<str>,
    sync: Sync,
    on_failure: OnFailure,
    queue: Mutex<Queue>,
    wake: Condvar,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// Records that the writer has taken and not made durable.
    writing: usize,
    throttle: Throttle,
    /// Bytes that refusals may still take of the segment; without any, further ones are counted together.
    refusal_room: u64,
    /// Requests that left no record because the trail couldn't take it.
    uncounted: u64,
    state: State,
    /// Since when the writer has been at the records that it took.
    busy_since: Option<Instant>,
    closing: bool,
    #[cfg(test)]
    fault: Option<Fault>,
}

/// How the writer fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Writing,
    /// Its last try failed, and there will be another.
    Failing,
    /// Its thread is gone.
    Gone,
}

/// Records that have no numbers yet.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<Pending>,
    /// The JSON members of each from `relay` on, without braces, one behind the other: a record of its own allocation would be
    /// freed by another thread than made it.
    members: Vec<u8>,
}

/// What is known of a record beside its members.
#[derive(Debug)]
struct Pending {
    time: Timestamp,
    /// Of its members, in bytes.
    length: usize,
    ack: Option<oneshot::Sender<()>>,
}

/// Makes the directory, which will be used by `owner` if given, and reads what is read once.
///
/// Fails when the directory can't be made or given to the owner, or the file of the syslog server's authorities can't be used.
pub fn prepare(options: &AuditOptions, owner: Option<(Uid, Gid)>) -> io::Result<Prepared> {
    if let Some(directory) = &options.directory {
        owner::make_directory(directory, owner)?;
    }
    let connector = |syslog: &Syslog| Connector::new(syslog.server.clone(), syslog.ca.as_deref());
    options
        .syslog
        .as_ref()
        .map(connector)
        .transpose()
        .map(Prepared)
}

impl Audit {
    /// Prepares the trail, opens it, and starts its writer.
    ///
    /// Fails as [`prepare`] and [`Self::start_prepared`] do.
    pub fn start(
        options: &AuditOptions,
        relay: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, Writer)> {
        Self::start_prepared(prepare(options, None)?, options, relay, metrics)
    }

    /// Opens the trail and starts its writer.
    ///
    /// Fails when the directory isn't readable, or is another process's.
    pub fn start_prepared(
        prepared: Prepared,
        options: &AuditOptions,
        relay: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, Writer)> {
        let opened = writer::open(options)?;
        if let Some(key) = &opened.new_key {
            tracing::info!(
                public_key = key.as_str(),
                "a new key seals the audit trail: keep its public half elsewhere, `audit verify --key` needs it"
            );
        }
        metrics.audit_available.set(1);
        let audit = Self(Arc::new(Shared {
            relay: relay.into(),
            sync: options.sync,
            on_failure: options.on_failure,
            queue: Mutex::new(Queue {
                refusal_room: options.refusal_room(),
                ..Queue::default()
            }),
            wake: Condvar::new(),
            progress: Arc::default(),
            metrics,
        }));
        let (trail, last) = (opened.chain.trail().to_owned(), opened.chain.next() - 1);
        let thread = writer::Writer::new(audit.0.clone(), options, opened)?;
        let shared = audit.0.clone();
        let thread = thread::Builder::new().name("audit".into()).spawn(move || {
            let _guard = WriterGuard(shared);
            thread.run();
        })?;
        let mut writer = Writer {
            audit: audit.clone(),
            thread: Some(thread),
            shipper: None,
        };
        writer.shipper = audit.start_shipper(prepared, options, &trail, last)?;
        Ok((audit, writer))
    }

    fn start_shipper(
        &self,
        Prepared(connector): Prepared,
        options: &AuditOptions,
        trail: &str,
        last: u64,
    ) -> io::Result<Option<Shipper>> {
        let (Some(connector), Some(directory)) = (connector, &options.directory) else {
            return Ok(None);
        };
        let source = Source {
            directory,
            relay: &self.0.relay,
            trail,
            last,
        };
        let metrics = |server: &str| self.0.metrics.shipping(server);
        Shipper::start(connector, &source, self.0.progress.clone(), metrics).map(Some)
    }

    /// Whether new requests may be served, as far as the trail is concerned.
    pub fn admits(&self) -> bool {
        self.0.on_failure == OnFailure::Count || self.is_available()
    }

    /// Whether records are being taken.
    pub fn is_available(&self) -> bool {
        !self.0.lock().is_failing()
    }

    /// Whether the writer is gone, or doesn't come back from what it does: only a restart may help. One that fails and tries again
    /// is neither.
    pub fn is_stuck(&self) -> bool {
        let queue = self.0.lock();
        queue.state == State::Gone || queue.is_stalled()
    }

    /// Writes down something that concerns the relay and no session.
    pub fn relay_event(&self, event: Event, data: &Data) {
        #[derive(Serialize)]
        struct Members<'a> {
            data: &'a Data,
        }
        let data = &data.clone().bounded();
        self.write(event, &Members { data }, Kind::Closing);
    }

    /// Hands a record over. For an opening one under `sync = "always"` the receiver tells when it is durable.
    fn write(&self, event: Event, members: &impl Serialize, kind: Kind) -> Handed {
        MEMBERS.with_borrow_mut(|out| {
            out.clear();
            self.0.members(event, members, out);
            self.hand_over(out, kind)
        })
    }

    fn hand_over(&self, members: &[u8], kind: Kind) -> Handed {
        let (ack, durable) = (kind == Kind::Opening && self.0.sync == Sync::Always)
            .then(oneshot::channel)
            .unzip();
        let mut queue = self.0.lock();
        let waiting = queue.batch.len() + queue.writing;
        // Closing records are bounded by the sessions that are open.
        let is_full = queue.is_failing() && kind != Kind::Closing && waiting >= MAX_WAITING;
        if is_full || queue.state == State::Gone {
            queue.uncounted += 1;
            return Handed::Counted;
        }
        // The clock is read under the lock, so that times are in the order of the trail.
        let time = Timestamp::now();
        if kind == Kind::Refusal {
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
            self.0.wake.notify_one();
        }
        durable.map_or(Handed::Over, Handed::Durably)
    }
}

/// What became of a record that was handed over.
#[derive(Debug)]
enum Handed {
    Over,
    /// Tells when it is durable; or ends without, and it waits in memory.
    Durably(oneshot::Receiver<()>),
    /// There was no room for it: it is counted only.
    Counted,
}

/// What a record is, as far as the queue treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opening,
    /// The end of something that was opened, or the relay's own.
    Closing,
    Refusal,
}

impl Batch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn push(&mut self, members: &[u8], record: Pending) {
        self.members.extend_from_slice(members);
        self.records.push(record);
    }

    /// Empties it. Its room is kept for the next ones, but for what an outage has piled up.
    fn clear(&mut self) {
        self.records.clear();
        self.records.shrink_to(KEEP_RECORDS);
        self.members.clear();
        self.members.shrink_to(KEEP_RECORDS * 1024);
    }
}

impl Queue {
    /// A call that doesn't come back, to a disk that hangs, is a failure as much as one that says so.
    fn is_failing(&self) -> bool {
        self.state != State::Writing || self.is_stalled()
    }

    fn is_stalled(&self) -> bool {
        self.busy_since
            .is_some_and(|since| since.elapsed() >= STALL)
    }
}

/// Tells everybody when the writer's thread ends by a defect: a trail without a writer takes no records.
struct WriterGuard(Arc<Shared>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut queue = self.0.lock();
        queue.state = State::Gone;
        // Who waits for one of them to be durable is told by this that it won't.
        let lost = std::mem::take(&mut queue.batch).len() + queue.writing;
        drop(queue);
        self.0.metrics.audit_available.set(0);
        self.0.metrics.audit_failures.inc();
        tracing::error!(
            lost,
            "the audit trail's writer ended by a defect: nothing is recorded until the relay is restarted"
        );
    }
}

impl Writer {
    /// Writes what waits, and ends the thread.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.audit.0.lock().closing = true;
        self.audit.0.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing, and its panic has been reported by the panic hook.
            let _ = thread.join();
        }
        self.audit.0.progress.end();
        if let Some(shipper) = self.shipper.take() {
            shipper.finish();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under the lock but an allocation, and a queue is consistent between any two of its statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends `"relay":…,"event":…,` and the members of the given record, which has some.
    fn members(&self, event: Event, record: &impl Serialize, out: &mut Vec<u8>) {
        // Serialising plain data to a Vec can't fail.
        out.extend_from_slice(b"\"relay\":");
        let _ = serde_json::to_writer(&mut *out, &*self.relay);
        out.extend_from_slice(b",\"event\":");
        let _ = serde_json::to_writer(&mut *out, &event);
        let body = out.len();
        let _ = serde_json::to_writer(&mut *out, record);
        // The record's own braces go.
        if let Some(brace) = out.get_mut(body) {
            *brace = b',';
        }
        out.pop();
    }
}

thread_local! {
    /// Where a session's thread writes the members of a record before it hands them over.
    static MEMBERS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many records may wait while the trail can't be written, beside one for each open session.
const MAX_WAITING: usize = 4096;
/// Bytes that a line has beside its members, about.
const CHAINED: usize = 300;
/// How many records' room an empty batch keeps.
const KEEP_RECORDS: usize = 256;
/// How long the writer may take over one round before the trail counts as unavailable.
const STALL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// What the tests let go wrong in the writer's thread.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
enum Fault {
    Panic,
    Hang(Duration),
}

#[cfg(test)]
impl Fault {
    fn happen(self) {
        match self {
            Self::Panic => panic!("a defect, made for a test"),
            Self::Hang(time) => thread::sleep(time),
        }
    }
}
