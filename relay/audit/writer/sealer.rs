//! When a checkpoint is due, and its line.

use std::time::{Duration, Instant};

use callhome_trail::seals::EVERY;
use callhome_trail::{Chain, Checkpoint, Data, Jumps, Oldest, PublicKey, Range};
use jiff::Timestamp;

use super::super::disk::{OnItsWay, Signer};
use super::super::inbox::{RelayRecord, members};
use crate::os;

/// Makes the checkpoints of a trail, one at a time.
pub(super) struct Sealer {
    every: Duration,
    /// The key for the next checkpoint. None while the last one isn't durable.
    signer: Option<Signer>,
    /// The public half of the key that signs the next checkpoint.
    next_key: PublicKey,
    /// Records since the last checkpoint.
    records: u64,
    /// When the last checkpoint was made.
    last: Instant,
    /// What an earlier run left behind its last checkpoint, for the first one of this run.
    unsealed: Option<Range>,
    /// The record of a pruning for which the next checkpoint is to vouch.
    pruning: Option<u64>,
    /// A checkpoint that was chained, for the next sync.
    made: Option<OnItsWay>,
    /// Whether the first checkpoint of this run is durable, and the head that it promises is saved.
    has_begun: bool,
}

/// What the next start needs to know, whatever the clock says then.
pub(super) struct SealedState {
    /// The oldest record that is kept.
    pub(super) oldest: Oldest,
    /// The first record that may be of a tunnel without an end.
    pub(super) open_from: u64,
    pub(super) jumps: Jumps,
}

impl Sealer {
    pub(super) fn new(signer: Signer, every: Duration, unsealed: Option<Range>) -> Self {
        Self {
            every,
            next_key: signer.key(),
            signer: Some(signer),
            records: 0,
            last: Instant::now(),
            unsealed,
            pruning: None,
            made: None,
            has_begun: false,
        }
    }

    /// Whether the first checkpoint of this run is on the disk, with a signed head that names it.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// When the next checkpoint is due, however few records there are. A trail at rest is sealed
    /// once an hour, because each checkpoint stays for ever.
    pub(super) fn due(&self) -> Option<Instant> {
        let every = if self.records > 0 {
            self.every
        } else {
            self.every.max(AT_REST)
        };
        self.is_ready().then(|| self.last + every)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now) || self.is_ready() && self.records >= EVERY / 2
    }

    /// Whether the next record must be a checkpoint, because `verify` believes no more without one.
    pub(super) fn is_full(&self) -> bool {
        self.records >= EVERY
    }

    /// Whether there are records that no checkpoint covers.
    pub(super) fn has_unsealed(&self) -> bool {
        self.records > 0
    }

    /// Whether a checkpoint can be made now. Each needs a key of its own, and that of the next is
    /// there once the last one is durable.
    pub(super) fn is_ready(&self) -> bool {
        self.signer.is_some()
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
        self.next_key.clone()
    }

    /// Makes the line of a checkpoint, unless one isn't durable yet.
    pub(super) fn checkpoint(
        &mut self,
        relay: &str,
        chain: &mut Chain,
        state: SealedState,
    ) -> Option<&[u8]> {
        let signer = self.signer.take()?;
        let checkpoint = Data::Checkpoint(Checkpoint {
            records: self.records,
            boot: os::boot_id().map(Into::into),
            uptime_ms: os::uptime_ms(),
            key: signer.key().to_string().into(),
            next: signer.successor().to_string().into(),
            heads: true,
            first: Some(state.oldest),
            pruning: self.pruning.take(),
            unsealed: self.unsealed.take(),
            open_from: Some(state.open_from),
            jumps: state.jumps,
        });
        let mut json = Vec::new();
        let members = members(&RelayRecord::of(relay, &checkpoint), &mut json);
        let mut line = Vec::with_capacity(1024);
        let seq = chain.next();
        self.next_key = signer.successor().clone();
        chain.append_signed(Timestamp::now(), members, &mut line, |bytes| {
            Some(signer.sign(bytes))
        });
        self.records = 0;
        self.last = Instant::now();
        Some(&self.made.insert(OnItsWay { seq, line }).line)
    }

    /// The checkpoint that the next sync is to make durable.
    pub(super) fn take_made(&mut self) -> Option<OnItsWay> {
        self.made.take()
    }

    /// Takes the key for the next checkpoint: the last one is durable.
    pub(super) fn succeeded(&mut self, signer: Signer) {
        self.signer = Some(signer);
        self.has_begun = true;
    }
}

/// How often a trail is sealed in which nothing happens.
const AT_REST: Duration = Duration::from_hours(1);
