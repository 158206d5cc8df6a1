//! The writer thread: it numbers, chains, writes and syncs the records, and seals, rotates and
//! prunes the trail.
//!
//! - `opening` takes the directory, `take` what the sessions hand over.
//! - `clock` records what happens to the clock.
//! - `sealer` makes the checkpoints, `tend` closes and deletes segments.

mod clock;
mod opening;
mod sealer;
mod take;
mod tend;

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use callhome_trail::verify::Pin;
use callhome_trail::{Chain, Data, Jumps};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::clock::WallClock;
use super::inbox::{Batch, Inbox, RelayRecord, WriterState, members};
use super::open_tunnels::UnendedTunnels;
use super::options::{AuditOptions, Sync};
use super::recover::LostSearch;
use super::stdout::Stdout;
use super::store::Store;
use sealer::{SealedState, Sealer};
use take::Backlog;

pub(super) use opening::{OpenedTrail, open};

/// What the writer thread works with.
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    options: AuditOptions,
    chain: Chain,
    store: Option<Store>,
    stdout: Option<Stdout>,
    sealer: Option<Sealer>,
    /// An empty batch, whose room the sessions get in exchange for the next full one.
    spare: Batch,
    /// Records that were taken and aren't chained.
    backlog: Backlog,
    /// Room for the line that is being made.
    line: Vec<u8>,
    clock: WallClock,
    open_tunnels: UnendedTunnels,
    /// The jumps of the clock that no age counts.
    jumps: Jumps,
    /// Whether one of them keeps segments that would be too old without it.
    is_held_back: bool,
    /// Sessions that wait until their record is durable.
    waiters: Vec<oneshot::Sender<()>>,
    /// Records that were taken and aren't durable.
    held: usize,
    sync_at: Option<Instant>,
    /// When to try again, while the trail fails.
    retry_at: Option<Instant>,
    tend_at: Instant,
    /// When refusals get new room, in a trail that has no segments.
    refill_at: Instant,
}

impl Writer {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        options: &AuditOptions,
        opened: OpenedTrail,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut writer = Self {
            inbox,
            options: options.clone(),
            chain: opened.chain,
            store: opened.store,
            stdout: options.stdout.then(Stdout::open).transpose()?,
            sealer: opened
                .seal
                .zip(opened.kept)
                .map(|(seal, kept)| Sealer::new(seal, kept, options.seal_every, opened.unsealed)),
            spare: Batch::default(),
            backlog: Backlog::default(),
            line: Vec::new(),
            clock: opened.clock,
            open_tunnels: UnendedTunnels::searching_from(
                opened.search.as_ref().map(LostSearch::from),
            ),
            jumps: opened.jumps,
            is_held_back: false,
            waiters: Vec::new(),
            held: 0,
            sync_at: None,
            retry_at: None,
            tend_at: now,
            refill_at: now,
        };
        for gap in opened.gaps {
            writer.append_event(&Data::AuditGap(gap));
        }
        if let Some(step) = opened.clock_step {
            writer.append_step(step);
        }
        if !opened.is_vouched {
            writer.jumps.distrust();
        }
        // The first checkpoint ties the trail to its key before any session is recorded.
        writer.seal(now)?;
        Ok(writer)
    }

    /// Runs until the trail is closed. A failure at the end is final, because the process waits for
    /// this thread.
    pub(super) fn run(mut self) {
        loop {
            let closing = self.take_records();
            let result = self.chain_backlog().and_then(|()| self.step(closing));
            self.report(result.as_ref().err());
            if closing {
                match result {
                    // What a failure left was chained first, so there may be more in the queue.
                    Ok(()) if self.held == 0 && self.inbox.lock().batch.is_empty() => {
                        if self.store.is_some() {
                            tracing::info!(pin = %self.pin(), "the audit trail ends here for now");
                        }
                        return;
                    }
                    Ok(()) => {}
                    Err(_) => {
                        tracing::error!(
                            records = self.held + self.backlog.len(),
                            "the end of the audit trail is lost: it can't be written"
                        );
                        return;
                    }
                }
            } else if self.options.sync != Sync::Always && result.is_ok() {
                // Sessions that end within the same moment share a write and a wake-up.
                thread::sleep(COALESCE);
            }
        }
    }

    /// Writes the records that were taken, and does what is due: a checkpoint, a sync, tending.
    fn step(&mut self, closing: bool) -> io::Result<()> {
        let now = Instant::now();
        if closing {
            // The last checkpoint must cover every record. One that isn't durable yet would hold it
            // up, so sync that first.
            self.write()?;
            self.sync()?;
        }
        if self
            .sealer
            .as_ref()
            .is_some_and(|sealer| sealer.is_due(now) || closing && sealer.has_unsealed())
        {
            self.seal(now)?;
        }
        self.write()?;
        let due = closing || self.retry_at.is_some() || self.sync_at.is_some_and(|at| at <= now);
        if self.held > 0 && (due || self.is_batch_large() || self.is_segment_full()) {
            self.sync()?;
        }
        if self.tend_at <= now || self.is_segment_full() {
            self.tend(now)?;
        }
        if let (Some(store), Some(sealer)) = (&mut self.store, &self.sealer)
            && store.head_at().is_some_and(|at| closing || at <= now)
        {
            sealer.save_head(store)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(stdout) = &mut self.stdout {
            stdout.write()?;
        }
        self.store.as_mut().map_or(Ok(()), Store::write)
    }

    /// Makes durable what was written, and wakes the sessions and the shipper that wait for it.
    fn sync(&mut self) -> io::Result<()> {
        if let Some(store) = &mut self.store {
            store.sync(&self.chain, self.options.sync != Sync::Never)?;
            if let Some(sealer) = &mut self.sealer {
                sealer.synced(store)?;
            }
        }
        for waiter in self.waiters.drain(..) {
            // The send fails when the session was cancelled, and then nothing waits for it.
            let _ = waiter.send(());
        }
        self.inbox.durability.synced(self.chain.next() - 1);
        self.inbox.lock().writing = self.backlog.len();
        self.held = 0;
        self.sync_at = None;
        Ok(())
    }

    /// Appends a checkpoint, unless one isn't durable yet.
    fn seal(&mut self, now: Instant) -> io::Result<()> {
        let (Some(sealer), Some(store)) = (&mut self.sealer, &mut self.store) else {
            return Ok(());
        };
        let state = SealedState {
            open_from: self.open_tunnels.from(self.chain.next()),
            jumps: self.jumps.clone(),
        };
        if let Some(line) = sealer.checkpoint(&self.inbox.relay, &mut self.chain, store, state)? {
            let line = line.to_vec();
            self.push(&line);
            // Sync at once, because the key can only be erased afterwards and should live no longer
            // than it must.
            self.sync_at = Some(now);
        }
        Ok(())
    }

    /// The end of the trail, for a note elsewhere.
    fn pin(&self) -> Pin {
        Pin {
            seq: self.chain.next() - 1,
            hash: Some(*self.chain.previous()),
            next: self.sealer.as_ref().map(Sealer::next_key),
        }
    }

    /// Whether memory asks for a sync. Without a store there is nothing to gather: what was written
    /// is done with.
    fn is_batch_large(&self) -> bool {
        self.store
            .as_ref()
            .is_none_or(|store| store.unsynced() >= MAX_BATCH)
    }

    fn is_segment_full(&self) -> bool {
        self.store
            .as_ref()
            .is_some_and(|store| store.length() >= self.options.rotate_size)
    }

    fn append_event(&mut self, data: &Data) {
        let mut json = Vec::new();
        let record = RelayRecord::of(&self.inbox.relay, data);
        let members = members(&record, &mut json);
        self.append(Timestamp::now(), members);
    }

    /// Chains a record, and pushes its line to every place that the trail is written to.
    fn append(&mut self, time: Timestamp, members: &[u8]) {
        let mut line = mem::take(&mut self.line);
        line.clear();
        self.chain.append(time, members, &mut line);
        if let Some(sealer) = &mut self.sealer {
            sealer.count();
        }
        self.push(&line);
        self.line = line;
    }

    fn push(&mut self, line: &[u8]) {
        if let Some(store) = &mut self.store {
            store.push(line);
        }
        if let Some(stdout) = &mut self.stdout {
            stdout.push(line);
        }
        self.held += 1;
        self.inbox.metrics.audit_records.inc();
        let within = match self.options.sync {
            Sync::Always | Sync::Never => Duration::ZERO,
            Sync::Every(period) => period,
        };
        self.sync_at.get_or_insert_with(|| Instant::now() + within);
    }

    /// Sets the state that sessions see, and logs the first failure and the recovery, not each try
    /// between them.
    fn report(&mut self, failure: Option<&io::Error>) {
        let metrics = &self.inbox.metrics;
        let mut queue = self.inbox.lock();
        let state = match failure {
            Some(_) => WriterState::Failing,
            None => WriterState::Writing,
        };
        let was = mem::replace(&mut queue.state, state) == WriterState::Failing;
        queue.busy_since = None;
        drop(queue);
        metrics.audit_available.set(i64::from(failure.is_none()));
        let Some(error) = failure else {
            self.retry_at = None;
            if was {
                tracing::info!("the audit trail is written again");
            }
            return;
        };
        metrics.audit_failures.inc();
        if !was {
            tracing::error!(%error, "the audit trail can't be written");
        }
        if let Some(store) = &mut self.store {
            store.abandon();
        }
        // Dropping the senders refuses the sessions that wait. Their records stay, and those of the
        // refusals will follow.
        self.waiters.clear();
        self.retry_at = Some(Instant::now() + RETRY);
    }
}

/// Records that come within this time share a write.
const COALESCE: Duration = Duration::from_millis(20);
/// How long a failing trail waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that may wait for a sync. A trail that grows faster is synced more often than `sync` asks
/// for.
const MAX_BATCH: usize = 4 << 20;
