//! Decides which segments are deleted, and reads them before.
//!
//! Somebody who can write in the directory can lay files there that look like segments. The relay
//! signs what it deletes, so it must not take the numbers and times of such files on trust.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use callhome_trail::segments::{self, MAX_LINE, Segment};
use callhome_trail::{ClockStepped, Hash, Jumps, Line};
use jiff::{SignedDuration, Timestamp};

/// What `keep` and `max_size` ask for now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    pub(super) keep: Duration,
    pub(super) max_size: u64,
    pub(super) now: Timestamp,
    pub(super) jumps: &'a Jumps,
}

/// The oldest segments that have no place left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prunable {
    None,
    /// This number of them, and whether each of them is too old. Otherwise the trail is too large.
    Segments(usize, bool),
    /// The oldest segment isn't a part of the trail, or is damaged. It must stay for `verify`.
    Foreign,
}

/// When the youngest record of a segment was written, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Youngest(BTreeMap<PathBuf, Timestamp>);

/// Follows the chain through the oldest segments.
#[derive(Debug, Default)]
struct SegmentLink {
    /// The last record, none before the first.
    last: Option<(u64, Hash)>,
    /// The record before the segment that follows, and its hash, once it was read.
    border: Option<(u64, Hash)>,
}

impl Youngest {
    /// Looks at the closed segments, of which `size` bytes are in use with the active one.
    ///
    /// A segment goes only if its records follow one another up to the first record of the next
    /// segment. That one's place in the trail can be checked later, by anyone. So no forged file
    /// leads to it.
    pub(super) fn prunable(
        &mut self,
        closed: &[Segment],
        active: Option<&Segment>,
        mut size: u64,
        bounds: Bounds<'_>,
    ) -> Prunable {
        let is_old = |time, seq| age(time, seq, bounds.now, bounds.jumps) > bounds.keep;
        let mut link = SegmentLink::default();
        let (mut count, mut all_old, mut read) = (0, true, 0);
        let mut old_so_far = true;
        for (at, segment) in closed.iter().enumerate() {
            let Some(next) = closed.get(at + 1).or(active) else {
                break;
            };
            let is_too_large = size > bounds.max_size;
            let (last, known) = (next.first.saturating_sub(1), self.0.get(&segment.path));
            let begins_old = is_old(next.time, next.first);
            let may_be_old = begins_old && known.is_none_or(|time| is_old(*time, last));
            if !is_too_large && !may_be_old || read > AT_ONCE {
                break;
            }
            let youngest = match link.read(segment, next) {
                Ok(Some(youngest)) => youngest,
                Ok(None) | Err(_) if at == 0 => return Prunable::Foreign,
                Ok(None) | Err(_) => break,
            };
            self.0.insert(segment.path.clone(), youngest);
            let is_segment_old = is_old(youngest, last) && begins_old;
            if !is_too_large && !is_segment_old {
                break;
            }
            old_so_far &= is_segment_old;
            size = size.saturating_sub(segment.size);
            read += segment.size;
            if link.leads_to(next) {
                count = at + 1;
                all_old = old_so_far;
            }
        }
        if count == 0 {
            return Prunable::None;
        }
        for segment in &closed[..count] {
            self.0.remove(&segment.path);
        }
        Prunable::Segments(count, all_old)
    }
}

impl SegmentLink {
    /// Reads a segment. Returns the time of its youngest record, or none if its records don't
    /// follow one another.
    fn read(&mut self, segment: &Segment, next: &Segment) -> io::Result<Option<Timestamp>> {
        let (path, file) = segments::open_listed(&segment.current_path())?;
        let mut input = segments::decode(&path, file)?;
        let mut youngest = Timestamp::MIN;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                return Ok(Some(youngest));
            }
            let Some(whole) = bytes.strip_suffix(b"\n") else {
                // A failed write tore the last line, and the next segment has it whole.
                let is_last = (length as u64) < MAX_LINE;
                return Ok(is_last.then_some(youngest));
            };
            let Ok(line) = Line::parse(whole) else {
                return Ok(None);
            };
            if !self.take(&line) {
                return Ok(None);
            }
            if line.seq.checked_add(1) == Some(next.first) {
                self.border = Some((line.seq, line.hash));
            }
            // What came before is told by the clock as it is from here on.
            if let Some(step) = set_clock(&line) {
                youngest = youngest.saturating_add(step).unwrap_or(youngest);
            }
            youngest = youngest.max(line.time.parse().unwrap_or(Timestamp::MAX));
        }
    }

    /// Takes the next record. Returns false if it doesn't follow.
    fn take(&mut self, line: &Line<'_>) -> bool {
        let follows = match self.last {
            None => true,
            // The segment takes up what a failed one held.
            Some((seq, _)) if line.seq <= seq => return true,
            Some((seq, hash)) if line.seq == seq + 1 => line.prev == hash,
            Some((seq, _)) => line.declares_missing(seq + 1),
        };
        self.last = Some((line.seq, line.hash));
        follows
    }

    /// Whether the records that were read end where this segment begins.
    fn leads_to(&self, next: &Segment) -> bool {
        self.border == next.first.checked_sub(1).map(|seq| (seq, next.prev))
    }
}

/// How long ago the record `seq` was written, by its time. The jumps since don't count.
pub(super) fn age(time: Timestamp, seq: u64, now: Timestamp, jumps: &Jumps) -> Duration {
    let seconds = now.duration_since(time).as_secs_f64() - jumps.since(seq);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// By how much a record says that the clock was set.
fn set_clock(line: &Line<'_>) -> Option<SignedDuration> {
    if line.event != "clock_stepped" {
        return None;
    }
    let step = line.data::<ClockStepped>()?;
    SignedDuration::try_from_secs_f64(step.seconds).ok()
}

/// How many bytes of segments are read in one round, so that the writer doesn't keep sessions
/// waiting.
const AT_ONCE: u64 = 16 << 20;
