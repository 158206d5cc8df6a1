//! Tending the directory: full and old segments are closed, and closed ones that have no place left
//! are pruned.
//!
//! A pruning is found, recorded and sealed, made durable, and only then done. Otherwise a crash in
//! between would leave a hole that no record explains, or one that a forger could have written.

use std::io;
use std::time::{Duration, Instant};

use callhome_trail::{Data, Oldest, TrailPruned};

use super::super::disk::{Job, Look, Looked, Pruned, is_no_room};
use super::{KeptTrail, Writer};

/// How far a pruning has come.
#[derive(Default)]
pub(super) struct Pruning {
    /// Segments that have no place left.
    found: Option<Pruned>,
    /// The record of this pruning is chained, and so is a checkpoint that vouches for it.
    recorded: Option<Pruned>,
    /// That checkpoint is durable, so the segments may go.
    sealed: Option<Pruned>,
    full: FullDisk,
}

/// What was tried since the disk was found full.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum FullDisk {
    #[default]
    No,
    /// Nothing yet.
    Found,
    /// It was looked for segments that can go.
    Looked,
}

impl Pruning {
    /// Notes that the last checkpoint is durable, and everything before it.
    pub(super) fn sealed(&mut self) {
        if let Some(recorded) = self.recorded.take() {
            self.sealed = Some(recorded);
        }
    }

    /// Notes that the trail was written, so the disk isn't full.
    pub(super) fn has_room(&mut self) {
        self.full = FullDisk::No;
    }

    fn is_idle(&self) -> bool {
        self.found.is_none() && self.recorded.is_none() && self.sealed.is_none()
    }
}

impl KeptTrail {
    /// Gives the reserve's room to a pruning that is under way.
    fn use_reserve(&self) {
        if self.reserve.release() {
            tracing::warn!("the disk is full: the trail's reserve is used to prune old records");
        }
    }
}

impl Writer {
    /// Closes the active segment if it is full or old.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let options = &self.options;
        let Some(kept) = &mut self.kept else {
            // Standard output has no segments, so refusals get new room after each rotation period.
            if self.tend_at <= now {
                self.tend_at = now + options.rotate_every;
                self.inbox.lock().throttle.refill();
                self.head_segment();
            }
            return Ok(());
        };
        let is_due = kept.store.length() >= options.rotate_size || self.tend_at <= now;
        // The disk expects the file that it syncs under its name.
        if !is_due || kept.jobs.is_running() {
            return Ok(());
        }
        let (size, every) = (options.rotate_size, options.rotate_every);
        if kept.store.rotate(size, every, &self.chain)? {
            self.inbox.lock().throttle.refill();
            self.sync_at = Some(now);
            // A new segment takes room, so look soon whether another must go.
            self.tend_at = now;
            self.head_segment();
            // A sync begins only when everything that is chained is written.
            self.write()?;
        }
        Ok(())
    }

    /// The next step of pruning, if one is due.
    pub(super) fn next_tending(&mut self, now: Instant) -> Option<Job> {
        let kept = self.kept.as_mut()?;
        if let Some(pruned) = &kept.pruning.sealed {
            return Some(Job::Delete(pruned.to));
        }
        if self.tend_at > now || !kept.pruning.is_idle() {
            return None;
        }
        self.tend_at = now + TEND_EVERY;
        Some(self.look())
    }

    fn look(&self) -> Job {
        Job::Look(Look {
            keep: self.options.keep,
            max_size: self.options.max_size,
            now: self.clock.now(),
            jumps: self.jumps.clone(),
            active: self.kept.as_ref().and_then(|kept| kept.store.active()),
        })
    }

    pub(super) fn take_looked(&mut self, looked: Looked) {
        let Looked {
            pruned,
            oldest,
            capacity,
            mut begins,
            is_held_back,
        } = looked;
        let Some(kept) = &mut self.kept else { return };
        begins.extend(kept.store.begins());
        if let Some(capacity) = capacity {
            self.inbox.metrics.audit_capacity(capacity);
        }
        if let Some(oldest) = oldest {
            kept.store.begins_with(oldest);
        }
        if pruned.is_some() && kept.pruning.full == FullDisk::Looked {
            kept.pruning.full = FullDisk::No;
            kept.use_reserve();
        }
        kept.pruning.found = pruned;
        self.tidy_jumps(&begins, is_held_back);
        self.take_confirmation();
    }

    /// Records a pruning that was found, once a checkpoint can vouch for it.
    pub(super) fn record_pruning(&mut self) {
        let Some(KeptTrail {
            pruning, sealer, ..
        }) = &mut self.kept
        else {
            return;
        };
        if !sealer.is_ready() {
            return;
        }
        let Some(pruned) = pruning.found.take() else {
            return;
        };
        self.append_event(&Data::TrailPruned(TrailPruned {
            from: pruned.from,
            to: pruned.to,
            hash: pruned.hash.to_string().into(),
            segments: pruned.segments,
            bytes: pruned.bytes,
            reason: Some(reason(&pruned).into()),
            records: Some(pruned.to - pruned.from + 1),
            first_time: Some(pruned.first_time.to_string().into()),
            kept_from: Some(pruned.kept_from.to_string().into()),
        }));
        // A reader believes the record only once a checkpoint vouches for it.
        let record = self.chain.next() - 1;
        if let Some(kept) = &mut self.kept {
            kept.sealer.vouch(record);
            kept.store.begins_with(Oldest {
                seq: pruned.to + 1,
                prev: pruned.hash.to_string().into(),
            });
            kept.pruning.recorded = Some(pruned);
        }
        self.seal(Instant::now());
    }

    pub(super) fn take_deleted(&mut self) {
        let pruned = self.kept.as_mut().and_then(|it| it.pruning.sealed.take());
        if let Some(pruned) = pruned {
            tracing::info!(
                reason = reason(&pruned),
                from = pruned.from,
                to = pruned.to,
                bytes = pruned.bytes,
                kept_from = %pruned.kept_from,
                "old records of the audit trail are deleted"
            );
        }
        // A look reads only so much, so there may be more to prune.
        self.tend_at = Instant::now() + PRUNE_NEXT;
    }

    /// Notes that there is no room for records, if that is what failed.
    pub(super) fn note_full_disk(&mut self, error: &io::Error) {
        let Some(kept) = self.kept.as_mut().filter(|_| is_no_room(error)) else {
            return;
        };
        if kept.pruning.is_idle() {
            kept.pruning.full = FullDisk::Found;
        } else {
            kept.use_reserve();
        }
    }

    /// On a full disk, looks for segments that can go, before anything else is tried. Returns
    /// whether it began to.
    pub(super) fn looks_for_room(&mut self) -> io::Result<bool> {
        let Some(kept) = &mut self.kept else {
            return Ok(false);
        };
        if kept.pruning.full != FullDisk::Found || kept.jobs.is_running() {
            return Ok(false);
        }
        kept.pruning.full = FullDisk::Looked;
        let job = self.look();
        self.begin(job)?;
        Ok(true)
    }
}

fn reason(pruned: &Pruned) -> &'static str {
    if pruned.is_old { "keep" } else { "max_size" }
}

/// How often the age of segments and the room that they take are looked at.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// When it is looked again after a pruning.
const PRUNE_NEXT: Duration = Duration::from_secs(1);
