//! Opening the trail: taking its directory, recovering it, finding or making its key.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use callhome_trail::verify::Pin;
use callhome_trail::{AuditGap, Chain, ClockStepped, Head, Jumps, PublicKey, Range, Text};
use jiff::Timestamp;

use super::super::clock::WallClock;
use super::super::disk::{ClosedSegments, Reserve, Signer, Vault, is_no_room, save_head};
use super::super::options::AuditOptions;
use super::super::recover::{self, LostSearch, Recovered};
use super::super::seal::Seal;
use super::super::store::{self, Store};

/// A trail that is ready to be written, and the records that must come first.
pub(in crate::audit) struct OpenedTrail {
    pub(in crate::audit) chain: Chain,
    pub(super) kept: Option<OpenedDirectory>,
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

/// A directory that was taken, and what works on it.
pub(in crate::audit) struct OpenedDirectory {
    pub(super) path: PathBuf,
    pub(super) store: Store,
    pub(super) closed: ClosedSegments,
    pub(super) vault: Vault,
    /// The key for the first checkpoint.
    pub(super) signer: Signer,
    pub(super) reserve: Reserve,
}

impl OpenedTrail {
    /// The end of the trail as it was found, for a note elsewhere.
    pub(in crate::audit) fn pin(&self) -> Pin {
        Pin {
            seq: self.chain.next() - 1,
            hash: Some(*self.chain.previous()),
            next: self.kept.as_ref().map(|kept| kept.signer.key()),
        }
    }
}

/// Takes the directory of the trail, recovers it, and finds or makes its key.
///
/// On a full disk it uses the reserve, because a relay that starts can prune and serve.
pub(in crate::audit) fn open(options: &AuditOptions) -> io::Result<OpenedTrail> {
    let opened = open_once(options);
    let is_full = opened.as_ref().is_err_and(is_no_room);
    if let Some(directory) = options.directory.as_ref().filter(|_| is_full)
        && Reserve::new(directory, options.max_size).release()
    {
        tracing::warn!("the disk is full: the start uses the trail's reserve");
        return open_once(options);
    }
    opened
}

fn open_once(options: &AuditOptions) -> io::Result<OpenedTrail> {
    let Some(directory) = &options.directory else {
        // Each run is a trail of its own, because there is no place to keep a state.
        return Ok(OpenedTrail {
            chain: Chain::new(uuid::Uuid::now_v7().to_string().into_boxed_str()),
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
    let (seal, new) = Seal::open(directory, successor.as_ref(), |key| {
        if sign_head {
            save_head(directory, &Head::of(&chain), key)
        } else {
            Ok(())
        }
    })?;
    if successor.is_some_and(|named| named != seal.public()) {
        gaps.push(AuditGap::unnumbered(
            "the key isn't the one that the last checkpoint names: the end of the trail was cut off, or the key replaced",
        ));
    }
    let new_key = new.then(|| seal.public());
    let reserve = Reserve::new(directory, options.max_size);
    let (closed, active) = ClosedSegments::open(directory, reserve.clone())?;
    let store = Store::open(directory, lock, &chain, active, closed.oldest(), &since)?;
    let (vault, signer) = Vault::open(directory, seal, kept)?;
    Ok(OpenedTrail {
        chain,
        kept: Some(OpenedDirectory {
            path: directory.clone(),
            store,
            closed,
            vault,
            signer,
            reserve,
        }),
        new_key,
        gaps,
        search,
        unsealed,
        clock,
        clock_step,
        jumps,
        is_vouched,
    })
}
