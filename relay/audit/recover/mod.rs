//! Puts a directory in order at the start.
//!
//! It finds where the trail ended, what a crash tore, which records are missing, and whether what
//! lies beside the trail is what the relay left there. Which tunnels were cut off is searched for
//! later, while the relay serves.

mod backwards;
mod clocks;
mod end;
mod search;
mod tail;
mod torn;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use callhome_trail::segments::{self, ACTIVE};
use callhome_trail::{
    AuditGap, Chain, Checkpoint, ClockStepped, HEAD, Head, HeadFile, Jumps, Line, PublicKey, Range,
    seals,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::clock::WallClock;
use super::kept::Kept;
use super::seal;
use crate::os;
use clocks::Now;
use end::TrailEnd;
pub(super) use search::LostSearch;
use tail::{Tail, read_tail};
use torn::set_torn_bytes_aside;

/// The state of a directory that is ready to be written again, and the records that must come
/// first.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) chain: Chain,
    /// The records that are missing, or may be.
    pub(super) gaps: Vec<AuditGap>,
    /// Where there may be tunnels that have no end in the trail.
    pub(super) search: Option<LostSearch>,
    /// The key that the last checkpoint named.
    pub(super) successor: Option<PublicKey>,
    pub(super) kept: Kept,
    /// Records that an earlier run left behind its last checkpoint.
    pub(super) unsealed: Option<Range>,
    /// Whether the head may be signed anew before the keys are exchanged. It may not where another
    /// program changed it, because a gap must declare that first.
    pub(super) sign_head: bool,
    /// The clock as it was read for this.
    pub(super) clock: WallClock,
    /// How the clock was set since.
    pub(super) clock_step: Option<ClockStepped>,
    /// The jumps of the clock that no age counts.
    pub(super) jumps: Jumps,
    /// Whether the head shows that the relay has written the last checkpoint.
    pub(super) is_vouched: bool,
}

/// Puts a locked directory in order. No record is deleted: torn bytes move to a file of their own.
pub(super) fn recover(directory: &Path) -> io::Result<Recovered> {
    remove_temporaries(directory)?;
    set_others_aside(directory)?;
    let last = seals::last(directory)?;
    let kept = last.line.as_deref().and_then(|line| Line::parse(line).ok());
    let mut head = KnownHead::read(directory, kept.as_ref())?;
    let known = head.known.as_ref();
    let durable = known.map_or(0, |head| head.seq);
    let torn = set_torn_bytes_aside(&directory.join(ACTIVE), durable)?;
    let sealed = kept.as_ref().map_or(0, |seal| seal.seq);
    let left = read_tail(directory, durable, durable.min(sealed))?;

    let first_head = head.ask(&left);
    let vouched = head.signed().and_then(|head| left.vouched(head));
    let is_vouched = vouched.is_some();
    let search = lost_search(directory, &left, vouched)?;
    let (now, clock) = now();
    let clock_step = clocks::step(&left, &now);
    let known = head.known.as_ref();
    let mut gaps: Vec<AuditGap> = head.gap().into_iter().collect();
    if let Some(head) = known.filter(|head| left.is_other(head)) {
        let cause = format!("record {} isn't the one that {HEAD} names", head.seq);
        gaps.push(AuditGap::unnumbered(cause));
    }
    // Four places know how far the trail got: its segments, `head.json`, the kept checkpoints and
    // the torn bytes. Believe the one that got furthest. Otherwise a number could be given twice,
    // and a witness would see two records under it.
    let known = [
        known.cloned(),
        kept.as_ref().map(TrailEnd::of),
        torn.as_ref().and_then(|torn| torn.last.clone()),
    ];
    let mut end = left.last.clone();
    for known in known.into_iter().flatten().filter(TrailEnd::leaves_room) {
        match &end {
            Some(end) if end.trail != known.trail => gaps.push(AuditGap::unnumbered(
                "the directory held traces of another trail at the start",
            )),
            Some(end) if end.seq >= known.seq => {}
            _ => end = Some(known),
        }
    }
    let last_left = left.last.as_ref().map_or(0, |last| last.seq);
    if let Some(end) = end.as_ref().filter(|end| end.seq > last_left) {
        let cause = "missing at the start: the trail is shorter than it was";
        // This gap must be the first record after the hole, because readers accept a declaration
        // only there.
        gaps.insert(0, AuditGap::of_records(last_left + 1, end.seq, cause));
    }
    // What a crash tore was in no head. Any other gap must be on the disk before a new head is.
    let is_as_left = gaps.is_empty();
    if let Some(torn) = &torn {
        let cause = format!("a torn end was set aside at the start: {}", torn.file);
        gaps.push(AuditGap::unnumbered(cause));
    }
    if let Some(seq) = left.unsealed_pruning {
        tracing::warn!(
            record = seq,
            "the trail ends in a pruning that no checkpoint covers: nothing vouches for it"
        );
    }
    let successor = if sealed >= left.last_checkpoint() {
        kept.as_ref().and_then(Line::successor)
    } else {
        left.successor()
    };
    let end_is_left = end.as_ref().is_some_and(|end| end.seq == last_left);
    let chain = match end {
        Some(end) => Chain::resume(end.trail, end.seq + 1, end.hash),
        None => Chain::new(Uuid::now_v7().to_string().into_boxed_str()),
    };
    Ok(Recovered {
        chain,
        gaps,
        successor,
        unsealed: left.unsealed(),
        sign_head: is_as_left && end_is_left && (first_head || head.wrong.is_none()),
        clock,
        clock_step,
        kept: Kept::open(directory, &last, &left.checkpoints)?,
        search,
        jumps: left.jumps,
        is_vouched,
    })
}

/// The end of the trail by `head.json`.
struct KnownHead {
    known: Option<TrailEnd>,
    keys: Vec<PublicKey>,
    /// What is wrong with the file, if a relay that signs it has been at work.
    wrong: Option<&'static str>,
    is_due: bool,
}

impl KnownHead {
    /// Reads the file. Where the relay signs heads, only one of its own is believed. Otherwise a
    /// forger's number there could move the number of the next record.
    fn read(directory: &Path, kept: Option<&Line<'_>>) -> io::Result<Self> {
        let keys = seal::public_keys(directory);
        let is_ours = |head: &Head| keys.iter().any(|key| head.is_signed_by(key));
        let head = Head::load(directory)?;
        let wrong = match &head {
            HeadFile::Read(head) if is_ours(head) => None,
            HeadFile::Read(_) => Some("isn't signed by a key that lies here"),
            HeadFile::Missing => Some("is gone"),
            HeadFile::Spoilt => Some(SPOILT),
        };
        let is_due = kept.is_some_and(promises_heads);
        let known = match &head {
            HeadFile::Read(head) if wrong.is_none() || !is_due => TrailEnd::of_head(head),
            _ => None,
        };
        Ok(Self {
            known,
            keys,
            wrong,
            is_due,
        })
    }

    /// Asks the trail itself whether its relay has signed a head. The kept checkpoints may have
    /// been removed together with the head.
    ///
    /// Returns whether there is no signed head yet, because a crash came between the first
    /// checkpoint that promises it and that head. The checkpoint is then the last record, and its
    /// key has not been exchanged.
    fn ask(&mut self, left: &Tail) -> bool {
        let Some(promise) = left.promise() else {
            return false;
        };
        let is_last = left
            .last
            .as_ref()
            .is_some_and(|last| last.seq == promise.seq);
        let is_exchanged = self.keys.first() == promise.successor().as_ref();
        if !self.is_due && is_last && !is_exchanged {
            return self.wrong.is_some();
        }
        self.is_due = true;
        if self.wrong.is_some() {
            self.known = None;
        }
        false
    }

    /// The end by a head that the relay itself has signed.
    fn signed(&self) -> Option<&TrailEnd> {
        self.known.as_ref().filter(|_| self.wrong.is_none())
    }

    fn gap(&self) -> Option<AuditGap> {
        // A file that is no head was never the relay's.
        let is_gap = self.is_due || self.wrong == Some(SPOILT);
        let what = self.wrong.filter(|_| is_gap)?;
        Some(AuditGap::unnumbered(format!("{HEAD} {what}")))
    }
}

/// Where tunnels without an end are to be searched for.
///
/// The last checkpoint has the number of the first record, if a head vouches for it. Otherwise the
/// times of the records must tell, as those of a relay before `open_from` do.
fn lost_search(
    directory: &Path,
    left: &Tail,
    vouched: Option<Line<'_>>,
) -> io::Result<Option<LostSearch>> {
    let Some(last) = &left.last else {
        return Ok(None);
    };
    let checkpoint = vouched.and_then(|line| line.data::<Checkpoint>());
    let from = if let Some(from) = checkpoint.and_then(|checkpoint| checkpoint.open_from) {
        from
    } else {
        let segments = segments::list(directory)?;
        let recent = segments.get(tail::recent(&segments));
        recent.map_or(0, |segment| segment.first)
    };
    Ok((from <= last.seq).then(|| LostSearch {
        directory: directory.to_owned(),
        from,
        to: last.seq,
    }))
}

/// Whether the relay that made this checkpoint signs `head.json`.
fn promises_heads(checkpoint: &Line<'_>) -> bool {
    let data = checkpoint.data::<Checkpoint>();
    data.is_some_and(|data| data.heads)
}

/// Reads the clocks, and begins to compare them.
fn now() -> (Now, WallClock) {
    let now = Now {
        time: Timestamp::now(),
        boot: os::boot_id(),
        uptime_ms: os::uptime_ms(),
    };
    let clock = WallClock::start(now.time, Instant::now());
    (now, clock)
}

fn remove_temporaries(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Only the relay makes these names. It renames the file when it is complete, so the source
        // is still there.
        if path.extension() == Some("tmp".as_ref()) && !path.is_dir() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Renames what has the name of one of the relay's files and isn't a file. The relay could neither
/// read nor replace it.
fn set_others_aside(directory: &Path) -> io::Result<()> {
    let temporary = format!("{HEAD}.tmp");
    for name in [ACTIVE, HEAD, seals::SEALS, &temporary] {
        let path = directory.join(name);
        let is_other = path.metadata().is_ok_and(|there| !there.is_file());
        if is_other {
            let kept = format!("torn-{}-{name}", Timestamp::now().as_microsecond());
            tracing::warn!(path = %path.display(), kept, "what lies here isn't a file: it is set aside");
            fs::rename(&path, directory.join(kept))?;
        }
    }
    Ok(())
}

const SPOILT: &str = "is spoilt";
