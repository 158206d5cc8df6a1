//! How far the trail is durable: the writer says so, and whoever passes records on waits for more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by the writer and those who follow it. Nobody holds its lock for longer than it takes to copy two words.
#[derive(Debug, Default)]
pub(super) struct Durability {
    reached: Mutex<Reached>,
    moved: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    /// The last record of which a sync was told; 0 before the first.
    pub(super) seq: u64,
    /// There will be no further one.
    pub(super) ended: bool,
}

impl Durability {
    /// Everything up to this record is in the files, as durably as `sync` makes it.
    pub(super) fn synced(&self, seq: u64) {
        self.lock().seq = seq;
        self.moved.notify_all();
    }

    /// The writer is done.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.moved.notify_all();
    }

    pub(super) fn reached(&self) -> Reached {
        *self.lock()
    }

    /// Waits until a record after `seq` is durable, the writer is done, or the time is up.
    pub(super) fn wait_beyond(&self, seq: u64, within: Duration) {
        self.wait(within, |reached| reached.seq <= seq && !reached.ended);
    }

    /// Waits until the writer is done or the time is up.
    pub(super) fn wait_for_end(&self, within: Duration) {
        self.wait(within, |reached| !reached.ended);
    }

    fn wait(&self, within: Duration, mut condition: impl FnMut(&Reached) -> bool) {
        let guard = self.lock();
        drop(
            self.moved
                .wait_timeout_while(guard, within, |reached| condition(reached)),
        );
    }

    fn lock(&self) -> MutexGuard<'_, Reached> {
        // Nothing panics under the lock.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
