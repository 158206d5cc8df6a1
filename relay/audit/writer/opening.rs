//! Opening the trail: taking its directory, recovering it, finding or making its key.

use std::io;
use std::time::Instant;

use callhome_trail::verify::Pin;
use callhome_trail::{AuditGap, Chain, ClockStepped, Jumps, PublicKey, Range, Text};
use jiff::Timestamp;

use super::super::clock::WallClock;
use super::super::kept::Kept;
use super::super::options::AuditOptions;
use super::super::recover::{self, LostSearch, Recovered};
use super::super::seal::Seal;
use super::super::store::{self, Store};

/// A trail that is ready to be written, and the records that must come first.
pub(in crate::audit) struct OpenedTrail {
    pub(in crate::audit) chain: Chain,
    pub(super) store: Option<Store>,
    pub(super) seal: Option<Seal>,
    pub(super) kept: Option<Kept>,
    pub(super) gaps: Vec<AuditGap>,
    /// Where there may be tunnels of earlier runs without an end.
    pub(in crate::audit) search: Option<LostSearch>,
    /// Records that an earlier run left behind its last checkpoint.
    pub(in crate::audit) unsealed: Option<Range>,
    pub(super) clock: WallClock,
    /// How the clock was set before this start.
    pub(super) clock_step: Option<ClockStepped>,
    /// The jumps of the clock that no age counts.
    pub(super) jumps: Jumps,
    /// Whether the relay itself has written the last checkpoint, which has these jumps.
    pub(super) is_vouched: bool,
    /// The public half of a key that was made just now.
    pub(in crate::audit) new_key: Option<PublicKey>,
}

impl OpenedTrail {
    /// The end of the trail as it was found, for a note elsewhere.
    pub(in crate::audit) fn pin(&self) -> Pin {
        Pin {
            seq: self.chain.next() - 1,
            hash: Some(*self.chain.previous()),
            next: self.seal.as_ref().map(Seal::public),
        }
    }
}

/// Takes the directory of the trail, recovers it, and finds or makes its key.
pub(in crate::audit) fn open(options: &AuditOptions) -> io::Result<OpenedTrail> {
    let Some(directory) = &options.directory else {
        // Each run is a trail of its own, because there is no place to keep a state.
        return Ok(OpenedTrail {
            chain: Chain::new(uuid::Uuid::now_v7().to_string().into_boxed_str()),
            store: None,
            seal: None,
            kept: None,
            gaps: Vec::new(),
            search: None,
            unsealed: None,
            clock: WallClock::start(Timestamp::now(), Instant::now()),
            clock_step: None,
            jumps: Jumps::default(),
            is_vouched: true,
            new_key: None,
        });
    };
    // Lock first: recovery moves files that another relay might be writing.
    let lock = store::lock(directory)?;
    let Recovered {
        chain,
        mut gaps,
        search,
        successor,
        kept,
        unsealed,
        sign_head,
        clock,
        clock_step,
        jumps,
        is_vouched,
    } = recover::recover(directory)?;
    let mut since = jumps.clone();
    if let Some(step) = &clock_step {
        since.step(chain.next(), Text::default(), step.seconds);
    }
    let mut store = Store::open(directory, lock, &chain, &since)?;
    let (seal, new) = Seal::open(directory, successor.as_ref(), |key| {
        if sign_head {
            store.save_head(key)
        } else {
            Ok(())
        }
    })?;
    if successor.is_some_and(|named| named != seal.public()) {
        gaps.push(AuditGap::unnumbered(
            "the key isn't the one that the last checkpoint names: the end of the trail was cut off, or the key replaced",
        ));
    }
    Ok(OpenedTrail {
        chain,
        store: Some(store),
        new_key: new.then(|| seal.public()),
        seal: Some(seal),
        kept: Some(kept),
        gaps,
        search,
        unsealed,
        clock,
        clock_step,
        jumps,
        is_vouched,
    })
}
