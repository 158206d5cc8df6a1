//! When a checkpoint is due, and what has to happen before and after it reaches the disk.

use std::io;
use std::time::Instant;

use callhome_trail::{Chain, Checkpoint, Data};
use jiff::Timestamp;

use super::super::inbox::{RelayRecord, members};
use super::super::kept::Kept;
use super::super::seal::Seal;
use crate::os;

/// Makes the checkpoints of a trail, one at a time.
pub(super) struct Sealer {
    seal: Seal,
    kept: Kept,
    /// Records since the last checkpoint.
    records: u64,
    due: Instant,
    /// The line of a checkpoint that isn't durable yet.
    on_its_way: Option<Vec<u8>>,
}

impl Sealer {
    pub(super) fn new(seal: Seal, kept: Kept, due: Instant) -> Self {
        Self {
            seal,
            kept,
            records: 0,
            due,
            on_its_way: None,
        }
    }

    /// When the next checkpoint is due, however few records there are.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now || self.records >= SEAL_RECORDS
    }

    /// Whether there are records that no checkpoint covers.
    pub(super) fn has_unsealed(&self) -> bool {
        self.records > 0
    }

    /// Counts a record that the next checkpoint will cover.
    pub(super) fn count(&mut self) {
        self.records += 1;
    }

    /// Makes the line of a checkpoint, unless one isn't durable yet. The one after is due at `due`.
    pub(super) fn checkpoint(
        &mut self,
        relay: &str,
        chain: &mut Chain,
        due: Instant,
    ) -> io::Result<Option<Vec<u8>>> {
        // The key signs once, so a second checkpoint must wait until its successor has taken over.
        if self.on_its_way.is_some() {
            return Ok(None);
        }
        self.seal.prepare()?;
        let checkpoint = Data::Checkpoint(Checkpoint {
            records: self.records,
            boot: os::boot_id().map(Into::into),
            uptime_ms: os::uptime_ms(),
            key: self.seal.public().to_string().into(),
            next: self.seal.successor().to_string().into(),
        });
        let mut json = Vec::new();
        let members = members(&RelayRecord::of(relay, &checkpoint), &mut json);
        let mut line = Vec::with_capacity(1024);
        chain.append_signed(Timestamp::now(), members, &mut line, |bytes| {
            Some(self.seal.sign(bytes))
        });
        self.records = 0;
        self.due = due;
        self.on_its_way = Some(line.clone());
        Ok(Some(line))
    }

    /// Erases the key of a checkpoint that a sync has just made durable, and puts its successor in
    /// place.
    ///
    /// This must come after the sync. If the key were erased first, a crash could lose the
    /// checkpoint: the trail would then end with an older one, and no key that is left would be the
    /// one that it names.
    ///
    /// A failure leaves the checkpoint on its way, so the next sync repeats both steps.
    pub(super) fn synced(&mut self) -> io::Result<()> {
        if let Some(line) = &self.on_its_way {
            self.kept.add(line)?;
            self.seal.exchange()?;
            self.on_its_way = None;
        }
        Ok(())
    }
}

/// A checkpoint is due at the latest after this number of records.
const SEAL_RECORDS: u64 = 10_000;
