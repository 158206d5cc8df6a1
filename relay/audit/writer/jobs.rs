//! The disk's jobs, one at a time.

use std::io;
use std::time::{Duration, Instant};

use callhome_trail::seals::EVERY;
use tokio::sync::oneshot;

use super::super::disk::{Disk, Done, Job, SyncJob, Synced};
use super::super::options::Sync;
use super::{KeptTrail, Writer};

/// What the disk does now, and when it is to save the head.
pub(super) struct Jobs {
    disk: Disk,
    is_running: bool,
    /// Whether the last job was a sync, so that something else gets its turn.
    was_sync: bool,
    syncing: Option<Syncing>,
    head_saved: Option<Instant>,
    /// The record that the saved head names.
    head: u64,
    /// When the head is to be saved. None if the file has it.
    head_at: Option<Instant>,
}

/// What the running sync is to confirm.
struct Syncing {
    records: usize,
    /// The last of them.
    seq: u64,
    /// Sessions that wait for it.
    waiters: Vec<oneshot::Sender<()>>,
}

impl Jobs {
    /// The trail ends with the record `last` now.
    pub(super) fn new(disk: Disk, last: u64) -> Self {
        Self {
            head: last,
            disk,
            is_running: false,
            was_sync: false,
            syncing: None,
            head_saved: None,
            head_at: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// When the head is to be saved.
    pub(super) fn head_at(&self) -> Option<Instant> {
        self.head_at
    }

    fn is_head_due(&self, now: Instant, last: u64) -> bool {
        let is_far = last.saturating_sub(self.head) >= EVERY / 2;
        is_far || self.head_saved.is_none_or(|at| at + HEAD_EVERY <= now)
    }

    /// Whether a record behind `last` would be further from the saved head than `verify` takes.
    pub(super) fn is_far_ahead(&self, last: u64) -> bool {
        last.saturating_sub(self.head) >= EVERY
    }
}

impl Writer {
    /// Takes what came of the disk's job, and fails as the job did.
    pub(super) fn take_done(&mut self) -> io::Result<()> {
        let done = self.inbox.lock().done.take();
        let (Some(done), Some(kept)) = (done, &mut self.kept) else {
            return Ok(());
        };
        kept.jobs.is_running = false;
        match done {
            Done::Sync(synced) => return self.take_synced(synced),
            Done::Look(looked) => self.take_looked(looked),
            Done::Delete => self.take_deleted(),
        }
        Ok(())
    }

    fn take_synced(&mut self, Synced { lines, rest }: Synced) -> io::Result<()> {
        let Some(KeptTrail {
            store,
            jobs,
            sealer,
            pruning,
            ..
        }) = &mut self.kept
        else {
            return Ok(());
        };
        // Dropping what waits for a sync that failed refuses the sessions.
        let syncing = jobs.syncing.take();
        lines?;
        store.confirm();
        let now = Instant::now();
        let saved_at = jobs.head_saved;
        jobs.head_at
            .get_or_insert_with(|| saved_at.map_or(now, |at| at + HEAD_EVERY));
        let Some(syncing) = syncing else {
            return Ok(());
        };
        self.held -= syncing.records;
        for waiter in syncing.waiters {
            // The send fails when the session was cancelled, and then nothing waits for it.
            let _ = waiter.send(());
        }
        let followed = rest?;
        pruning.has_room();
        if followed.is_head_saved {
            jobs.head_saved = Some(now);
            jobs.head = syncing.seq;
            jobs.head_at = None;
        }
        if let Some(signer) = followed.signer {
            sealer.succeeded(signer);
            pruning.sealed();
        }
        self.confirmed_to(syncing.seq);
        Ok(())
    }

    /// Begins what is due on the disk, unless it is busy.
    pub(super) fn begin_job(&mut self, now: Instant, closing: bool) -> io::Result<()> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        if kept.jobs.is_running {
            return Ok(());
        }
        let last = self.chain.next() - 1;
        let is_sync_due = kept.store.has_written()
            && (self.sync_at.is_some_and(|at| at <= now)
                || kept.store.unsynced() >= MAX_BATCH
                || last.saturating_sub(kept.jobs.head) >= EVERY / 2);
        let is_head_due = kept.jobs.head_at.is_some_and(|at| at <= now);
        let is_left = kept.store.has_written() || kept.jobs.head_at.is_some();
        // On a slow disk a sync is always due, and pruning must not wait for ever.
        if kept.jobs.was_sync && !closing && self.retry_at.is_none() {
            kept.jobs.was_sync = false;
            if let Some(job) = self.next_tending(now) {
                return self.begin(job);
            }
        }
        if closing && is_left || self.retry_at.is_some() || is_sync_due || is_head_due {
            return self.begin_sync(now, closing);
        }
        self.next_tending(now).map_or(Ok(()), |job| self.begin(job))
    }

    fn begin_sync(&mut self, now: Instant, closing: bool) -> io::Result<()> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        let job = SyncJob {
            files: kept.store.begin_sync(&self.chain),
            durable: self.options.sync != Sync::Never,
            adopted: kept.store.take_adopted(),
            head: callhome_trail::Head::of(&self.chain),
            save_head: closing || kept.jobs.is_head_due(now, self.chain.next() - 1),
            checkpoint: kept.sealer.take_made(),
        };
        kept.jobs.syncing = Some(Syncing {
            records: self.held,
            seq: self.chain.next() - 1,
            waiters: std::mem::take(&mut self.waiters),
        });
        kept.jobs.was_sync = true;
        self.sync_at = None;
        self.begin(Job::Sync(job))
    }

    pub(super) fn begin(&mut self, job: Job) -> io::Result<()> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        self.inbox.lock().job.begin();
        kept.jobs.is_running = true;
        kept.jobs.disk.begin(job)
    }
}

/// The head is saved at most this often.
const HEAD_EVERY: Duration = Duration::from_secs(1);
/// Bytes that may wait for a sync. A trail that grows faster is synced more often than `sync` asks
/// for.
const MAX_BATCH: usize = 4 << 20;
