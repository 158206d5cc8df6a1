//! The writer thread: it numbers, chains and writes the records, and decides when the trail is
//! synced, sealed, rotated and pruned.
//!
//! Sessions wait for it, so it does nothing slow. What may take time is a job of the disk.
//!
//! - `opening` takes the directory, `take` what the sessions hand over.
//! - `clock` records what happens to the clock.
//! - `sealer` makes the checkpoints, `jobs` hands work to the disk, `tend` closes and prunes
//!   segments, `inventory` begins them.

mod clock;
mod inventory;
mod jobs;
mod opening;
mod sealer;
mod take;
mod tend;

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use callhome_trail::verify::Pin;
use callhome_trail::{Chain, Data, Jumps};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::clock::WallClock;
use super::disk::{Disk, Reserve};
use super::inbox::{Batch, Inbox, RelayRecord, WriterState, members};
use super::open_tunnels::UnendedTunnels;
use super::options::{AuditOptions, Sync};
use super::recover::LostSearch;
use super::stdout::Stdout;
use super::store::Store;
use jobs::Jobs;
use sealer::{SealedState, Sealer};
use take::Backlog;
use tend::Pruning;

pub(super) use opening::{OpenedTrail, open};

/// What the writer thread works with.
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    options: AuditOptions,
    chain: Chain,
    kept: Option<KeptTrail>,
    stdout: Option<Stdout>,
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
    /// The record of the last confirmation of jumps, 0 before the first.
    confirmation: u64,
    /// Sessions that wait until their record is written, or durable under `sync = "always"`.
    waiters: Vec<oneshot::Sender<()>>,
    /// Records that were chained and aren't durable.
    held: usize,
    /// When the next round may begin.
    next_round: Instant,
    sync_at: Option<Instant>,
    /// When to try again, while the trail fails.
    retry_at: Option<Instant>,
    /// Whether a failure left lines that must go into a new segment.
    is_broken: bool,
    tend_at: Instant,
}

/// A trail that is kept in a directory.
struct KeptTrail {
    store: Store,
    sealer: Sealer,
    jobs: Jobs,
    pruning: Pruning,
    reserve: Reserve,
}

impl Writer {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        options: &AuditOptions,
        opened: OpenedTrail,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let kept = match opened.kept {
            Some(kept) => {
                let every = options.seal_every;
                let reports = inbox.clone();
                let report = move |done| reports.finish_job(done);
                let disk = Disk::start(&kept.path, kept.vault, kept.closed, report)?;
                Some(KeptTrail {
                    store: kept.store,
                    sealer: Sealer::new(kept.signer, every, opened.unsealed),
                    jobs: Jobs::new(disk, opened.chain.next() - 1),
                    pruning: Pruning::default(),
                    reserve: kept.reserve,
                })
            }
            None => None,
        };
        let mut writer = Self {
            inbox,
            options: options.clone(),
            chain: opened.chain,
            kept,
            stdout: options.stdout.then(Stdout::open).transpose()?,
            spare: Batch::default(),
            backlog: Backlog::default(),
            line: Vec::new(),
            clock: opened.clock,
            open_tunnels: UnendedTunnels::searching_from(
                opened.search.as_ref().map(LostSearch::from),
            ),
            jumps: opened.jumps,
            is_held_back: false,
            confirmation: 0,
            waiters: Vec::new(),
            held: 0,
            next_round: now,
            sync_at: None,
            retry_at: None,
            is_broken: false,
            tend_at: now,
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
        writer.seal(now);
        Ok(writer)
    }

    /// Runs until the trail is closed. A failure at the end is final, because the process waits for
    /// this thread.
    pub(super) fn run(mut self) {
        loop {
            let closing = self.take_records();
            let result = self.round(closing);
            if let Err(error) = &result {
                self.fail(error);
            }
            self.end_round(closing);
            if closing && result.is_err() {
                tracing::error!(
                    records = self.held + self.backlog.len(),
                    "the end of the audit trail is lost: it can't be written"
                );
                return;
            }
            if closing && self.is_done() {
                if self.kept.is_some() {
                    tracing::info!(pin = %self.pin(), "the audit trail ends here for now");
                }
                return;
            }
        }
    }

    /// Chains and writes the records that were taken, and begins what is due on the disk.
    fn round(&mut self, closing: bool) -> io::Result<()> {
        self.take_done()?;
        if self.is_broken && !self.give_up_segments() {
            return Ok(());
        }
        if self.looks_for_room()? {
            return Ok(());
        }
        let now = Instant::now();
        self.chain_backlog();
        let is_end = closing && self.has_taken_all();
        if let Some(kept) = &self.kept
            && (kept.sealer.is_due(now) || is_end && kept.sealer.has_unsealed())
        {
            self.seal(now);
        }
        self.record_pruning();
        self.write()?;
        if self.options.sync != Sync::Always || self.kept.is_none() {
            self.wake_waiters();
        }
        if self.kept.is_none() {
            self.confirmed();
        }
        self.rotate()?;
        self.begin_job(now, closing)
    }

    /// Whether every record is durable and under a checkpoint.
    fn is_done(&self) -> bool {
        let is_durable = self.held == 0 && self.has_taken_all();
        is_durable
            && self.kept.as_ref().is_none_or(|kept| {
                !kept.jobs.is_running()
                    && !kept.sealer.has_unsealed()
                    && kept.jobs.head_at().is_none()
            })
    }

    /// Whether every record that was handed over is chained.
    fn has_taken_all(&self) -> bool {
        self.backlog.is_empty() && self.inbox.lock().batch.is_empty()
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(stdout) = &mut self.stdout {
            stdout.write()?;
        }
        self.kept.as_mut().map_or(Ok(()), |kept| kept.store.write())
    }

    fn wake_waiters(&mut self) {
        for waiter in self.waiters.drain(..) {
            // The send fails when the session was cancelled, and then nothing waits for it.
            let _ = waiter.send(());
        }
    }

    /// Appends a checkpoint, unless one isn't durable yet.
    fn seal(&mut self, now: Instant) {
        let Some(kept) = &mut self.kept else { return };
        let state = SealedState {
            oldest: kept.store.oldest(),
            open_from: self.open_tunnels.from(self.chain.next()),
            jumps: self.jumps.clone(),
        };
        let line = kept
            .sealer
            .checkpoint(&self.inbox.relay, &mut self.chain, state);
        if let Some(line) = line {
            let line = line.to_vec();
            self.push(&line);
            // Sync at once, because the key can only be erased afterwards and should live no longer
            // than it must.
            self.sync_at = Some(now);
        }
    }

    /// The end of the trail, for a note elsewhere.
    fn pin(&self) -> Pin {
        Pin {
            seq: self.chain.next() - 1,
            hash: Some(*self.chain.previous()),
            next: self.kept.as_ref().map(|kept| kept.sealer.next_key()),
        }
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
        if let Some(kept) = &mut self.kept {
            kept.sealer.count();
        }
        self.push(&line);
        self.line = line;
    }

    fn push(&mut self, line: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.store.push(line);
        }
        if let Some(stdout) = &mut self.stdout {
            stdout.push(line);
        }
        self.held += 1;
        self.inbox.metrics.audit_records.inc();
        let within = match self.options.sync {
            Sync::Always => Duration::ZERO,
            Sync::Never => UNSYNCED,
            Sync::Every(period) => period,
        };
        self.sync_at.get_or_insert_with(|| Instant::now() + within);
    }

    /// Notes that everything chained is durable, where that is all that was held.
    fn confirmed(&mut self) {
        self.held = 0;
        self.sync_at = None;
        self.confirmed_to(self.chain.next() - 1);
    }

    /// Tells the shipper and the sessions what is durable, and that the trail works.
    fn confirmed_to(&mut self, seq: u64) {
        self.inbox.durability.synced(seq);
        self.inbox.lock().writing = self.held + self.backlog.len();
        if self.is_broken {
            // The sync had begun before the failure, so it proves nothing.
            return;
        }
        let was = mem::take(&mut self.retry_at).is_some();
        self.inbox.lock().state = WriterState::Writing;
        self.inbox.metrics.audit_available.set(1);
        if was {
            tracing::info!("the audit trail is written again");
        }
    }

    /// Notes a failure, which the sessions see. The log has the first one in a row.
    fn fail(&mut self, error: &io::Error) {
        self.inbox.lock().state = WriterState::Failing;
        self.inbox.metrics.audit_available.set(0);
        self.inbox.metrics.audit_failures.inc();
        if self.retry_at.is_none() {
            tracing::error!(%error, "the audit trail can't be written");
        }
        self.is_broken = true;
        // Dropping the senders refuses the sessions that wait. Their records stay, and those of the
        // refusals will follow.
        self.waiters.clear();
        self.retry_at = Some(Instant::now() + RETRY);
        self.note_full_disk(error);
    }

    /// Gives up the segments that no sync has confirmed. Returns whether that can be done now.
    fn give_up_segments(&mut self) -> bool {
        if let Some(kept) = &mut self.kept {
            if kept.jobs.is_running() {
                return false;
            }
            kept.store.abandon();
        }
        self.is_broken = false;
        true
    }
}

/// How long written lines stay in memory where none is synced. Each time wakes another thread.
const UNSYNCED: Duration = Duration::from_millis(100);
/// How long a failing trail waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);
