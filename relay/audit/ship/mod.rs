//! Ships the trail to a syslog server: a witness, kept where the relay's owner can't reach it.
//!
//! A thread of its own follows the files, so the writer never waits for a server. Records that a
//! server misses while it is down wait on the disk.
//!
//! Only durable records are shipped. Otherwise a crash could leave the witness with a record that
//! the trail lost, and the trail would look cut off. Each record is sent at least once; `position`
//! explains why.
//!
//! - `server` names the destination, `cursor` reads the records, `syslog` makes messages of them.
//! - `connector` connects to the server, `transport` sends over that connection, `stream` bounds
//!   how long a call may take.

mod connector;
mod cursor;
mod position;
mod server;
mod stream;
mod syslog;
#[cfg(test)]
mod tests;
mod transport;

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::durability::{Durability, Reached};
use crate::telemetry::Shipping;
use cursor::Cursor;
use position::Position;
use syslog::Sender;
use transport::{Taken, Transport};

pub(super) use connector::Connector;

pub use server::{SyslogServer, SyslogServerError};

/// Where the trail goes besides its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub server: SyslogServer,
    /// A PEM file of the authorities that a TLS server's certificate may come from. Without it the
    /// system's are used.
    pub ca: Option<PathBuf>,
}

/// What is shipped.
#[derive(Debug)]
pub(super) struct ShipSource<'a> {
    pub(super) directory: &'a Path,
    pub(super) relay: &'a str,
    pub(super) trail: &'a str,
    /// The last record of the trail at the start.
    pub(super) last: u64,
}

/// The thread that ships. The channel closes when it ends.
#[derive(Debug)]
pub(super) struct Shipper(Receiver<()>);

struct ShipWorker {
    durability: Arc<Durability>,
    metrics: Shipping,
    connector: Connector,
    server: String,
    sender: Sender,
    cursor: Cursor,
    position: Position,
    /// The last record that was reported as missing, so that none is reported twice.
    missed: u64,
    connection: Option<Connection>,
    failing: bool,
    retry_in: Duration,
}

struct Connection {
    transport: Transport,
    since: Instant,
}

impl Shipper {
    /// Starts to ship the records that `durability` reports. A server that can't be reached is
    /// tried again and again.
    pub(super) fn start(
        connector: Connector,
        source: &ShipSource<'_>,
        durability: Arc<Durability>,
        metrics: impl FnOnce(&str) -> Shipping,
    ) -> io::Result<Self> {
        let server = connector.server().to_string();
        let position = Position::load(source, &server);
        let worker = ShipWorker {
            durability,
            metrics: metrics(&server),
            connector,
            server,
            sender: Sender {
                relay: source.relay.into(),
                process: std::process::id(),
            },
            cursor: Cursor::new(source.directory, source.trail, position.received() + 1),
            position,
            missed: 0,
            connection: None,
            failing: false,
            retry_in: RETRY_FIRST,
        };
        let (alive, ended) = mpsc::channel();
        thread::Builder::new().name("ship".into()).spawn(move || {
            worker.run();
            drop(alive);
        })?;
        Ok(Self(ended))
    }

    /// Waits up to `FAREWELL` for the server to take the end of the trail. The rest is sent after
    /// the next start.
    pub(super) fn finish(self) {
        // Nothing is ever sent: either the thread ends and closes the channel, or the time is up.
        let _ = self.0.recv_timeout(FAREWELL);
    }
}

impl ShipWorker {
    fn run(mut self) {
        loop {
            let reached = self.durability.reached();
            match self.step(reached) {
                Ok(()) if !reached.ended || self.cursor.next() <= reached.seq => {}
                Ok(()) => return,
                Err(error) => {
                    self.fail(&error, reached);
                    if reached.ended {
                        return;
                    }
                    self.durability.wait_for_end(self.retry_in);
                    self.retry_in = (self.retry_in * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// Sends a batch of records, or waits for more.
    fn step(&mut self, reached: Reached) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.transport.check()?;
        let sent = self.send(&mut connection.transport, reached.seq)?;

        let finished = reached.ended && self.cursor.next() > reached.seq;
        if self.is_confirmation_due(finished) {
            connection.transport.close()?;
            self.position.confirmed();
            self.save();
            self.works(reached);
            return Ok(());
        }
        self.note_lag(reached);
        // Some servers accept a connection and then close it, or never read. After a failure,
        // report success only when records were confirmed and the connection has lasted.
        let steady = self.position.is_settled() && connection.since.elapsed() >= STEADY;
        if !self.failing || steady {
            self.works(reached);
        }
        self.connection = Some(connection);
        if !sent {
            let watched = self.failing || !self.position.is_settled();
            let within = if watched { LOOK_SOON } else { LOOK };
            self.durability.wait_beyond(self.cursor.next() - 1, within);
        }
        Ok(())
    }

    /// Whether the connection should be closed now, to confirm the records that it carried.
    fn is_confirmation_due(&self, finished: bool) -> bool {
        let after = if self.failing { STEADY } else { CONFIRM_EVERY };
        let due = finished || self.position.is_full() || self.position.is_older(after);
        due && !self.position.is_settled()
    }

    fn connect(&self) -> io::Result<Connection> {
        Ok(Connection {
            transport: self.connector.connect()?,
            since: Instant::now(),
        })
    }

    /// Sends a batch of records up to number `last`, and returns whether there were any.
    fn send(&mut self, transport: &mut Transport, last: u64) -> io::Result<bool> {
        let mut message = Vec::new();
        let mut count = 0;
        while count < BATCH && transport.pending() < BATCH_BYTES && !self.position.is_full() {
            message.clear();
            let Some(line) = self.cursor.read(last)? else {
                break;
            };
            let seq = line.seq;
            self.sender.message(&line, &mut message);
            if let Some((from, to)) = self.cursor.take_missed() {
                self.note_missed(from, to, "the trail has them no more");
            }
            if transport.send(&message)? == Taken::TooLong {
                self.note_missed(seq, seq, "too long for a datagram");
            }
            self.position.sent(seq);
            count += 1;
        }
        transport.flush()?;
        self.metrics.shipped.inc_by(count);
        Ok(count > 0)
    }

    /// Logs and counts records that can't be shipped, each only once.
    fn note_missed(&mut self, from: u64, to: u64, why: &str) {
        let from = from.max(self.missed + 1);
        if from > to {
            return;
        }
        self.missed = to;
        self.metrics.missed.inc_by(to - from + 1);
        tracing::warn!(
            server = self.server,
            "records {from} to {to} are not shipped: {why}"
        );
    }

    fn save(&mut self) {
        if let Err(error) = self.position.save() {
            // This only means that more is sent again after a restart. The trail on the same disk
            // reports the cause.
            tracing::debug!(%error, "how far the trail is shipped can't be kept");
        }
    }

    fn works(&mut self, reached: Reached) {
        self.note_lag(reached);
        self.metrics.up.set(1);
        self.retry_in = RETRY_FIRST;
        if mem::take(&mut self.failing) {
            tracing::info!(server = self.server, "the audit trail is shipped again");
        }
    }

    /// Logs the first failure in a row, and goes back to the first record that isn't confirmed.
    fn fail(&mut self, error: &io::Error, reached: Reached) {
        self.connection = None;
        self.position.broke();
        self.cursor.seek(self.position.received() + 1);
        self.save();
        self.note_lag(reached);
        self.metrics.up.set(0);
        if !mem::replace(&mut self.failing, true) {
            tracing::warn!(
                server = self.server,
                %error,
                "the audit trail isn't shipped; it waits in its directory"
            );
        }
    }

    fn note_lag(&self, reached: Reached) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let lag = (reached.seq + 1).saturating_sub(self.cursor.next());
        self.metrics.lag.set(gauge(lag));
        let unconfirmed = self.position.unconfirmed();
        self.metrics.unconfirmed.set(gauge(unconfirmed));
    }
}

/// How many records, and how many bytes, are sent before the connection is looked at again.
const BATCH: u64 = 512;
const BATCH_BYTES: usize = 256 * 1024;
/// How often an idle connection is checked: if every record is confirmed, and if not.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How long a connection must last after a failure before it counts as working.
const STEADY: Duration = Duration::from_secs(1);
/// How long a connection carries records before it is closed to confirm them.
const CONFIRM_EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// How long the relay waits at its end until the rest of the trail is shipped.
const FAREWELL: Duration = Duration::from_secs(2);
