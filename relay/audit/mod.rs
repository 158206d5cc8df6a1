//! The audit trail: what happened, one JSON line a record, each tied to the one before by a hash.
//!
//! Sessions don't write. They hand a finished record to one writer thread, which numbers, chains and writes; so the order
//! of the trail is the order of the hand-over, and no session waits for a disk. [`Audit::session`] gives a guard that leaves
//! exactly one closing record, however its session ends.

mod chain;
mod record;
mod session;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{io, thread};

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::Metrics;

pub use chain::Hash;
pub use record::{Client, Data, Decision, Event, MAX_RAW, Millis, Outcome, Tls, escape};
pub use session::Session;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where `access.jsonl` is kept.
    pub directory: Option<PathBuf>,
    /// Whether the records go to standard output, beside or instead of the directory.
    pub stdout: bool,
}

/// The way into the trail. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

/// Ends the writer when the relay is done.
#[derive(Debug)]
pub struct Writer {
    audit: Audit,
    thread: Option<thread::JoinHandle<()>>,
}

/// The trail takes no records now; a new request must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail can't be written")]
pub struct Unavailable;

#[derive(Debug)]
struct Shared {
    relay: Box<str>,
    queue: Mutex<Queue>,
    wake: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Pending>,
    unavailable: bool,
    closing: bool,
}

/// A record that has no number yet.
#[derive(Debug)]
struct Pending {
    time: Timestamp,
    /// Its JSON members from `relay` on, without braces.
    members: Vec<u8>,
}

impl Audit {
    /// Opens the trail and starts its writer.
    ///
    /// Fails when the directory can't be made or the file can't be opened.
    pub fn start(
        options: &Options,
        relay: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, Writer)> {
        let sinks = writer::Sinks::open(options)?;
        metrics.audit_available.set(1);
        let audit = Self(Arc::new(Shared {
            relay: relay.into(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            metrics,
        }));
        let shared = audit.0.clone();
        let thread = thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer::run(&shared, sinks))?;
        let writer = Writer {
            audit: audit.clone(),
            thread: Some(thread),
        };
        Ok((audit, writer))
    }

    /// Whether records are being taken.
    pub fn is_available(&self) -> bool {
        !self.0.lock().unavailable
    }

    /// Writes down something that concerns the relay and no session.
    pub fn relay_event(&self, event: Event, data: &Data) {
        #[derive(Serialize)]
        struct Members<'a> {
            data: &'a Data,
        }
        self.write(event, &Members { data });
    }

    /// Hands a record over. What waits for the writer is bounded by the sessions that are open, each with one record to come.
    fn write(&self, event: Event, members: &impl Serialize) {
        let members = self.0.members(event, members);
        let mut queue = self.0.lock();
        // The clock is read under the lock, so that times are in the order of the trail.
        let time = Timestamp::now();
        let first = queue.records.is_empty();
        queue.records.push(Pending { time, members });
        drop(queue);
        if first {
            self.0.wake.notify_one();
        }
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
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // Nothing panics under the lock but an allocation, and a queue is consistent between any two of its statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `"relay":…,"event":…,` and the members of the given record.
    fn members(&self, event: Event, record: &impl Serialize) -> Vec<u8> {
        #[derive(Serialize)]
        struct Head<'a> {
            relay: &'a str,
            event: Event,
        }
        let mut out = Vec::with_capacity(1024);
        let head = Head {
            relay: &self.relay,
            event,
        };
        // Serialising plain data to a Vec can't fail.
        let _ = serde_json::to_writer(&mut out, &head);
        if let Some(brace) = out.last_mut() {
            *brace = b',';
        }
        let body = out.len();
        let _ = serde_json::to_writer(&mut out, record);
        out.pop();
        out.remove(body);
        out.remove(0);
        out
    }
}
