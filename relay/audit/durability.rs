//! How far the trail is durable: the writer reports it, and the shipper waits for more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by the writer and the shipper. Its lock is held only to copy two words, so the writer
/// never waits for a server.
#[derive(Debug, Default)]
pub(super) struct Durability {
    reached: Mutex<Reached>,
    moved: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    /// The last record that was synced, 0 before the first.
    pub(super) seq: u64,
    /// Whether the writer has ended, so that no further record follows.
    pub(super) ended: bool,
}

impl Durability {
    /// Reports that every record up to `seq` is in the files, as durably as the option `sync` makes
    /// it.
    pub(super) fn synced(&self, seq: u64) {
        self.lock().seq = seq;
        self.moved.notify_all();
    }

    /// Reports that the writer has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.moved.notify_all();
    }

    pub(super) fn reached(&self) -> Reached {
        *self.lock()
    }

    /// Waits until a record after `seq` is durable, the writer has ended, or the time is up.
    pub(super) fn wait_beyond(&self, seq: u64, within: Duration) {
        self.wait(within, |reached| reached.seq <= seq && !reached.ended);
    }

    /// Waits until the writer has ended or the time is up.
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
        // A poisoned lock can be ignored, because nothing panics while it is held.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
