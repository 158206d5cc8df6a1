//! Writes and ships the audit trail: one JSON line a record, tied to the one before by a hash.
//!
//! The package `callhome_trail` defines what a record is, and how a trail is read and proved.
//!
//! Sessions don't write to the disk. They hand a finished record to one writer thread, which
//! numbers, chains, writes and syncs it. So the order of the trail is the order in which records
//! are handed over. A session waits for the disk only under `sync = "always"`.
//!
//! [`Audit::session`] returns a guard that leaves exactly one closing record, however its session
//! ends.
//!
//! - `recorder` is the guard of a session, `inbox` the queue between the sessions and the writer.
//! - `writer` drives `store` and `compress` (files), `seal` and `kept` (keys and checkpoints), and
//!   `stdout`.
//! - `inventory` remembers who is expected to call home, `upload` judges what tunnels carried.
//! - `throttle` keeps refusals from filling the disk, `recover` puts a directory in order at the
//!   start.
//! - `ship` sends records to a syslog server, as soon as `durability` reports that they are
//!   durable.

mod clock;
mod compress;
mod durability;
mod files;
mod hello;
mod inbox;
mod inventory;
mod kept;
mod last_uploads;
mod options;
mod owner;
mod prunable;
mod recorder;
mod recover;
mod seal;
mod ship;
mod stdout;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod upload;
mod writer;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use std::{io, thread};

use callhome_trail::{Data, ExpectedClient, Inventory, Range};
use jiff::Timestamp;
use rustix::fs::{Gid, Uid};

use crate::telemetry::Metrics;
use durability::Durability;
use inbox::{Inbox, Queue, RecordKind, RelayRecord, WriterState};
use inventory::KnownInventory;
use last_uploads::LastUploads;
use ship::{Connector, ShipSource, Shipper};
use writer::Writer;

pub use options::{AuditOptions, OnFailure, Sync};
pub use recorder::Recorder;
pub use seal::generate;
pub use ship::{Syslog, SyslogServer, SyslogServerError};

/// The handle by which the relay records. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inbox>);

/// Ends the writer and then the shipping, when it is closed or dropped.
#[derive(Debug)]
pub struct WriterHandle {
    audit: Audit,
    thread: Option<thread::JoinHandle<()>>,
    shipper: Option<Shipper>,
}

/// What the trail has read from the machine before the sandbox is in force.
#[derive(Debug)]
pub struct Prepared(Option<Connector>);

/// The trail takes no records now, so a new request must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail can't be written")]
pub struct Unavailable;

/// Makes the directory, gives it to `owner` if there is one, and reads the authorities of the
/// syslog server.
///
/// Fails when the directory can't be made or given to the owner, or when the file of authorities
/// can't be used.
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
    ) -> io::Result<(Self, WriterHandle)> {
        Self::start_prepared(prepare(options, None)?, options, relay, metrics)
    }

    /// Opens the trail and starts its writer.
    ///
    /// Fails when the directory isn't readable, or when another process holds it.
    pub fn start_prepared(
        prepared: Prepared,
        options: &AuditOptions,
        relay: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, WriterHandle)> {
        let opened = writer::open(options)?;
        if let Some(key) = &opened.new_key {
            tracing::info!(
                public_key = key.as_str(),
                "a new key seals the audit trail: keep its public half elsewhere, `audit verify --key` needs it"
            );
        }
        let directory = options.directory.as_deref();
        let left = directory.map_or(Ok(None), inventory::newest)?;
        metrics.audit_available.set(1);
        let audit = Self(Arc::new(Inbox {
            relay: relay.into(),
            directory: options.directory.clone(),
            sync: options.sync,
            on_failure: options.on_failure,
            queue: Mutex::new(Queue {
                refusal_room: options.refusal_room(),
                ..Queue::default()
            }),
            wake: Condvar::new(),
            durability: Arc::<Durability>::default(),
            unsealed: opened.unsealed,
            known_inventory: Mutex::new(KnownInventory::left(left)),
            metrics,
        }));
        let (trail, last) = (opened.chain.trail().to_owned(), opened.chain.next() - 1);
        if options.directory.is_some() {
            tracing::info!(pin = %opened.pin(), "the audit trail goes on from here");
        }
        let thread = Writer::new(audit.0.clone(), options, opened)?;
        let shared = audit.0.clone();
        let thread = thread::Builder::new().name("audit".into()).spawn(move || {
            let _guard = WriterGuard(shared);
            thread.run();
        })?;
        let mut writer = WriterHandle {
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
        let source = ShipSource {
            directory,
            relay: &self.0.relay,
            trail,
            last,
        };
        let metrics = |server: &str| self.0.metrics.shipping(server);
        Shipper::start(connector, &source, self.0.durability.clone(), metrics).map(Some)
    }

    /// The records that an earlier run left behind its last checkpoint, as a crash does.
    pub fn unsealed(&self) -> Option<Range> {
        self.0.unsealed
    }

    /// Whether the trail lets new requests be served.
    pub fn admits(&self) -> bool {
        self.0.admits()
    }

    /// Whether records are being taken.
    pub fn is_available(&self) -> bool {
        !self.0.lock().is_failing()
    }

    /// Whether only a restart may help: the writer is gone, or hangs in a call to the disk.
    ///
    /// A writer that fails and tries again is neither.
    pub fn is_stuck(&self) -> bool {
        let queue = self.0.lock();
        queue.state == WriterState::Gone || queue.is_stalled()
    }

    /// Takes the inventory of the configuration in force, and records it at a start and when it
    /// changes. The `since` of its clients is the time at which they are new, if they are.
    pub fn record_inventory(&self, inventory: Inventory) {
        self.0
            .metrics
            .clients
            .list(inventory.clients.iter().map(|it| &*it.name));
        self.look_up_uploads(&inventory);
        let records = self.0.inventory().take(inventory, Instant::now());
        for data in records.iter().flat_map(|records| records.iter()) {
            let record = RelayRecord::of(&self.0.relay, data);
            self.0.write(&record, RecordKind::Closing);
        }
    }

    /// Looks in the trail for the last upload of each client of which none is known, for the
    /// metrics. It may take long, so it has a thread of its own.
    fn look_up_uploads(&self, inventory: &Inventory) {
        let clients = &self.0.metrics.clients;
        let unknown = |it: &&ExpectedClient| it.calls_home && !clients.knows_last_upload(&it.name);
        let unknown: Vec<_> = inventory.clients.iter().filter(unknown).cloned().collect();
        let (false, Some(directory)) = (unknown.is_empty(), self.0.directory.clone()) else {
            return;
        };
        let inbox = self.0.clone();
        let search = move || {
            let now = Timestamp::now();
            let is_over = || inbox.lock().closing;
            let uploads = LastUploads::of(&unknown);
            match uploads.search(&directory, now, is_over) {
                Ok(found) if !is_over() => {
                    // A reload may have removed one meanwhile.
                    let clients = &inbox.metrics.clients;
                    for client in unknown.iter().filter(|it| clients.lists(&it.name)) {
                        let at = found.get(&*client.name).map_or(0, |at| at.as_second());
                        clients.uploaded(Some(&client.name), at, now.as_second());
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the last uploads can't be read from the trail, so their metrics are missing");
                }
            }
        };
        let thread = thread::Builder::new().name("uploads".into()).spawn(search);
        if let Err(error) = thread {
            tracing::warn!(%error, "the last uploads can't be looked for, so their metrics are missing");
        }
    }

    /// Records an event of the relay itself, which belongs to no session.
    pub fn relay_event(&self, data: Data) {
        let data = data.bounded();
        let record = RelayRecord::of(&self.0.relay, &data);
        self.0.write(&record, RecordKind::Closing);
    }
}

/// Marks the trail unavailable when the writer thread panics, because nothing takes records any
/// longer.
struct WriterGuard(Arc<Inbox>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut queue = self.0.lock();
        queue.state = WriterState::Gone;
        // Dropping the batch drops each `ack`, so a waiting session learns that its record won't be
        // durable.
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

impl WriterHandle {
    /// Writes the records that wait, and ends the thread.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.audit.0.lock().closing = true;
        self.audit.0.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The result is ignored: the thread returns nothing, and the panic hook has reported a
            // panic.
            let _ = thread.join();
        }
        self.audit.0.durability.end();
        if let Some(shipper) = self.shipper.take() {
            shipper.finish();
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.finish();
    }
}
