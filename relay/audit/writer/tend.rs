//! Tending the directory: full and old segments are closed, and closed ones that have no place left
//! are pruned.

use std::io;
use std::time::{Duration, Instant};

use callhome_trail::{Data, TrailPruned};

use super::super::compress;
use super::super::store::Pruned;
use super::sealer::Sealer;
use super::{COALESCE, Writer};

impl Writer {
    /// Rotates and prunes.
    pub(super) fn tend(&mut self, now: Instant) -> io::Result<()> {
        self.tend_at = now + TEND_EVERY;
        let options = &self.options;
        let Some(store) = &mut self.store else {
            // Standard output has no segments, so refusals get new room after each rotation period.
            if self.refill_at <= now {
                self.refill_at = now + options.rotate_every;
                self.inbox.lock().refusal_room = options.refusal_room();
            }
            return Ok(());
        };
        if !store.is_synced() {
            // Only a synced segment may rotate, so try again in `COALESCE`.
            self.tend_at = now + COALESCE;
            return Ok(());
        }
        if store.rotate(options.rotate_size, options.rotate_every)? {
            self.inbox.lock().refusal_room = options.refusal_room();
        }
        // A jump since the last look would make every segment old, so it is noted first.
        let Some(time) = self.note_clock() else {
            self.tend_at = now + COALESCE;
            return Ok(());
        };
        self.take_confirmation();
        self.tidy_jumps(time);
        let (options, jumps) = (&self.options, &self.jumps);
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        let Some(pruned) = store.take_prunable(options.keep, options.max_size, time, jumps) else {
            return Ok(());
        };
        self.prune(&pruned)
    }

    /// Records that the segments are pruned, and then deletes them.
    ///
    /// The record is sealed and synced first. Otherwise a crash in between would leave a hole that
    /// no record explains, or one that a forger could have written.
    fn prune(&mut self, pruned: &Pruned) -> io::Result<()> {
        let first_time = pruned.segments.first().map(|segment| segment.time);
        let reason = if pruned.is_old { "keep" } else { "max_size" };
        self.append_event(&Data::TrailPruned(TrailPruned {
            from: pruned.from,
            to: pruned.to,
            hash: pruned.hash.to_string().into(),
            segments: pruned.segments.len(),
            bytes: pruned.bytes,
            reason: Some(reason.into()),
            records: Some(pruned.to - pruned.from + 1),
            first_time: first_time.map(|time| time.to_string().into()),
            kept_from: Some(pruned.kept_from.to_string().into()),
        }));
        // A reader believes the record only once a checkpoint vouches for it.
        let pruning = self.chain.next() - 1;
        if self.sealer.as_ref().is_some_and(Sealer::is_on_its_way) {
            self.write()?;
            self.sync()?;
        }
        if let Some(sealer) = &mut self.sealer {
            sealer.vouch(pruning);
        }
        self.seal(Instant::now())?;
        self.write()?;
        self.sync()?;
        tracing::info!(
            reason,
            from = pruned.from,
            to = pruned.to,
            bytes = pruned.bytes,
            kept_from = %pruned.kept_from,
            "old records of the audit trail are deleted"
        );
        // Oldest first: `verify` accepts a trail that begins within what a pruning was to delete.
        for segment in &pruned.segments {
            // This isn't an error of the trail: a file that can't be deleted is no reason to refuse
            // requests.
            if let Err(error) = compress::delete(segment) {
                tracing::warn!(path = %segment.path.display(), %error, "a pruned segment of the trail can't be deleted");
                break;
            }
        }
        // A round reads only so much, so there may be more to prune.
        self.tend_at = Instant::now() + PRUNE_NEXT;
        Ok(())
    }
}

/// How often the age of segments and the room that they take are looked at.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// When it is looked again after a pruning.
const PRUNE_NEXT: Duration = Duration::from_secs(1);
