//! Tending the directory: full and old segments are closed, and closed ones that have no place left
//! are pruned.

use std::io;
use std::time::{Duration, Instant};

use callhome_trail::{Data, TrailPruned};
use jiff::Timestamp;

use super::super::compress;
use super::super::store::Pruned;
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
        let Some(pruned) = store.take_prunable(options.keep, options.max_size, Timestamp::now())
        else {
            return Ok(());
        };
        self.prune(&pruned)
    }

    /// Records that the segments are pruned, and then deletes them.
    ///
    /// The record is synced first. Otherwise a crash in between would leave a hole that no record
    /// explains.
    fn prune(&mut self, pruned: &Pruned) -> io::Result<()> {
        self.append_event(&Data::TrailPruned(TrailPruned {
            from: pruned.from,
            to: pruned.to,
            hash: pruned.hash.to_string().into(),
            segments: pruned.segments.len(),
            bytes: pruned.bytes,
        }));
        if let Some(store) = &mut self.store {
            store.write()?;
        }
        self.sync()?;
        // Oldest first: `verify` accepts a trail that begins within what a pruning was to delete.
        for segment in &pruned.segments {
            // This isn't an error of the trail: a file that can't be deleted is no reason to refuse
            // requests.
            if let Err(error) = compress::delete(segment) {
                tracing::warn!(path = %segment.path.display(), %error, "a pruned segment of the trail can't be deleted");
                break;
            }
        }
        Ok(())
    }
}

/// How often the age of segments and the room that they take are looked at.
const TEND_EVERY: Duration = Duration::from_secs(10);
