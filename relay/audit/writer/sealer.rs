//! When a checkpoint is due, and what has to happen before and after it reaches the disk.

use std::io;
use std::time::{Duration, Instant};

use callhome_trail::seals::EVERY;
use callhome_trail::{Chain, Checkpoint, Data, Jumps, PublicKey, Range};
use jiff::Timestamp;

use super::super::inbox::{RelayRecord, members};
use super::super::kept::Kept;
use super::super::seal::Seal;
use super::super::store::Store;
use crate::os;

/// Makes the checkpoints of a trail, one at a time.
pub(super) struct Sealer {
    seal: Seal,
    kept: Kept,
    every: Duration,
    /// Records since the last checkpoint.
    records: u64,
    /// When the last checkpoint was made.
    last: Instant,
    /// What an earlier run left behind its last checkpoint, for the first one of this run.
    unsealed: Option<Range>,
    /// The record of a pruning for which the next checkpoint is to vouch.
    pruning: Option<u64>,
    /// A checkpoint that isn't durable yet.
    on_its_way: Option<OnItsWay>,
    /// Whether the first checkpoint of this run is durable, and the head that it promises is saved.
    has_begun: bool,
}

/// What the next start needs to know, whatever the clock says then.
pub(super) struct SealedState {
    /// The first record that may be of a tunnel without an end.
    pub(super) open_from: u64,
    pub(super) jumps: Jumps,
}

struct OnItsWay {
    seq: u64,
    line: Vec<u8>,
}

impl Sealer {
    pub(super) fn new(seal: Seal, kept: Kept, every: Duration, unsealed: Option<Range>) -> Self {
        Self {
            seal,
            kept,
            every,
            records: 0,
            last: Instant::now(),
            unsealed,
            pruning: None,
            on_its_way: None,
            has_begun: false,
        }
    }

    /// Whether the first checkpoint of this run is on the disk, with a signed head that names it.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// When the next checkpoint is due, however few records there are. A trail at rest is sealed
    /// once an hour, because each checkpoint stays for ever.
    pub(super) fn due(&self) -> Instant {
        let every = if self.records > 0 {
            self.every
        } else {
            self.every.max(AT_REST)
        };
        self.last + every
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due() <= now || self.is_full()
    }

    /// Whether the next record must be a checkpoint, because `verify` believes no more without one.
    pub(super) fn is_full(&self) -> bool {
        self.records >= EVERY
    }

    /// Whether there are records that no checkpoint covers.
    pub(super) fn has_unsealed(&self) -> bool {
        self.records > 0
    }

    pub(super) fn is_on_its_way(&self) -> bool {
        self.on_its_way.is_some()
    }

    /// Counts a record that the next checkpoint will cover.
    pub(super) fn count(&mut self) {
        self.records += 1;
    }

    /// Lets the next checkpoint vouch for this record of a pruning.
    pub(super) fn vouch(&mut self, pruning: u64) {
        self.pruning = Some(pruning);
    }

    /// The key that signs the next checkpoint.
    pub(super) fn next_key(&self) -> PublicKey {
        self.seal.signer(self.is_on_its_way()).public()
    }

    /// Makes the line of a checkpoint, unless one isn't durable yet.
    pub(super) fn checkpoint(
        &mut self,
        relay: &str,
        chain: &mut Chain,
        store: &Store,
        state: SealedState,
    ) -> io::Result<Option<&[u8]>> {
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
            heads: true,
            first: Some(store.oldest()),
            pruning: self.pruning.take(),
            unsealed: self.unsealed.take(),
            open_from: Some(state.open_from),
            jumps: state.jumps,
        });
        let mut json = Vec::new();
        let members = members(&RelayRecord::of(relay, &checkpoint), &mut json);
        let mut line = Vec::with_capacity(1024);
        let seq = chain.next();
        chain.append_signed(Timestamp::now(), members, &mut line, |bytes| {
            Some(self.seal.sign(bytes))
        });
        self.records = 0;
        self.last = Instant::now();
        Ok(Some(&self.on_its_way.insert(OnItsWay { seq, line }).line))
    }

    /// Erases the key of a checkpoint that a sync has just made durable, and puts its successor in
    /// place. The head is saved before, signed by the successor.
    ///
    /// This must come after the sync. If the key were erased first, a crash could lose the
    /// checkpoint: the trail would then end with an older one, and no key that is left would be the
    /// one that it names.
    ///
    /// A failure leaves the checkpoint on its way, so the next sync repeats every step.
    pub(super) fn synced(&mut self, store: &mut Store) -> io::Result<()> {
        if let Some(checkpoint) = &self.on_its_way {
            self.save_head(store)?;
            self.kept.add(&checkpoint.line)?;
            self.seal.exchange()?;
            self.on_its_way = None;
            self.has_begun = true;
        }
        Ok(())
    }

    /// Saves the head, signed by the key that the last checkpoint at or before it names.
    pub(super) fn save_head(&self, store: &mut Store) -> io::Result<()> {
        let covered = store.head().seq;
        let has_succeeded = self.on_its_way.as_ref().is_some_and(|it| it.seq <= covered);
        store.save_head(self.seal.signer(has_succeeded))
    }
}

/// How often a trail is sealed in which nothing happens.
const AT_REST: Duration = Duration::from_hours(1);
