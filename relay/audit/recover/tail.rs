//! Reads the end of a trail.

use std::io::{self, BufRead, Read as _};
use std::path::Path;

use callhome_trail::segments::{self, MAX_LINE, Segment};
use callhome_trail::{Checkpoint, ClockStepped, Hash, Jumps, Line, PublicKey, Range, RelayStarted};
use jiff::{SignedDuration, Timestamp};

use super::backwards;
use super::end::TrailEnd;

/// What was read from the newest segments that are left.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) last: Option<TrailEnd>,
    /// What the machine's clocks said at the last record that has it, and that the head covers.
    pub(super) clocks: Option<Clocks>,
    /// By how many seconds the clock was set since that record, by the trail's own account.
    pub(super) stepped: f64,
    /// The time of the last record that the head covers.
    pub(super) vouched_time: Option<Timestamp>,
    /// By how many seconds the clock was set since that record.
    pub(super) stepped_since: f64,
    /// The jumps of the clock that no age counts.
    pub(super) jumps: Jumps,
    /// The first record that was read.
    pub(super) first: Option<u64>,
    /// From this record on, each follows the one before.
    pub(super) linked_from: u64,
    /// The lines of the checkpoints in these segments.
    pub(super) checkpoints: Vec<Vec<u8>>,
    /// The hash of the record that the head names.
    pub(super) head_hash: Option<Hash>,
    /// The last checkpoint to which every record behind it leads back.
    pub(super) sealed: Option<u64>,
    /// The last pruning that no checkpoint covers.
    pub(super) unsealed_pruning: Option<u64>,
    /// The record that the head names.
    pub(super) head: u64,
}

/// What a machine's clocks said at the same moment.
pub(super) struct Clocks {
    pub(super) time: Timestamp,
    pub(super) boot: Option<String>,
    pub(super) uptime_ms: u64,
}

/// Reads the end of the trail, back to the record `until` or further.
///
/// `head` is the record that the head names. The last kept checkpoint is at most as old. So a start
/// reads little, however much was recorded in the last hours. Where `until` isn't known, or isn't
/// there, the records of the last hours are read.
pub(super) fn read_tail(directory: &Path, head: u64, until: u64) -> io::Result<Tail> {
    let segments = segments::list(directory)?;
    for window in WINDOWS {
        let Ok((parts, all)) = backwards::last_parts(&segments, window) else {
            // The segment is damaged, and what can be read of it is read below.
            break;
        };
        let mut tail = Tail::new(head);
        for part in parts.iter().rev() {
            tail.take_part(&part.path, &mut part.bytes.as_slice());
        }
        if all || tail.first.is_some_and(|first| first <= until) {
            return Ok(tail);
        }
    }
    let mut tail = Tail::new(head);
    for segment in &segments[recent(&segments)..] {
        match segments::open(&segment.path) {
            Ok(mut input) => tail.take_part(&segment.path, &mut input),
            Err(error) => warn_of(&segment.path, &error),
        }
    }
    Ok(tail)
}

/// The first of the newest segments, as far back as an open tunnel can have been silent by the
/// times of the records.
///
/// An open tunnel leaves a record every hour, so older segments can't hold the last record of one.
pub(super) fn recent(segments: &[Segment]) -> usize {
    let newest = segments
        .iter()
        .rfind(|segment| segment.readable)
        .map(|segment| segment.time)
        .unwrap_or_default();
    let recent = |time: Timestamp| newest.duration_since(time) <= SILENCE;
    // The segment that began last before that time holds the records from that time on.
    let from = segments
        .iter()
        .rposition(|segment| segment.readable && !recent(segment.time))
        .unwrap_or(0);
    from.min(segments.len())
}

/// Reads the lines of a segment that are records, until `take` returns false.
///
/// # Errors
///
/// The disk doesn't give the segment, or it is damaged.
pub(super) fn each_line(
    input: &mut impl BufRead,
    mut take: impl FnMut(&Line<'_>) -> bool,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut damaged = 0;
    while damaged < segments::MAX_DAMAGED {
        bytes.clear();
        let length = input.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        if let Ok(line) = Line::parse(bytes.trim_ascii_end()) {
            if !take(&line) {
                return Ok(());
            }
            damaged = 0;
        } else {
            damaged += 1;
        }
    }
    // The rest may have no end, and `verify` reads no further either.
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "too many lines in a row aren't records",
    ))
}

/// A start must not fail because of old damage; `audit verify` reports it.
pub(super) fn warn_of(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "a segment of the trail can't be read to its end");
}

impl Tail {
    /// Whether the trail goes on further than a head, and hasn't the record that the head names.
    pub(super) fn is_other(&self, head: &TrailEnd) -> bool {
        let last = self.last.as_ref().map_or(0, |last| last.seq);
        head.seq <= last && self.head_hash != Some(head.hash)
    }

    /// The number of the last checkpoint, 0 if there is none.
    pub(super) fn last_checkpoint(&self) -> u64 {
        self.last_checkpoint_line().map_or(0, |line| line.seq)
    }

    /// The key that the last checkpoint names.
    pub(super) fn successor(&self) -> Option<PublicKey> {
        self.last_checkpoint_line()?.successor()
    }

    /// The last checkpoint, if its relay signs `head.json`.
    pub(super) fn promise(&self) -> Option<Line<'_>> {
        self.last_checkpoint_line().filter(super::promises_heads)
    }

    /// The records behind the last checkpoint.
    ///
    /// Only one that the end of the trail leads back to counts. Another one may lie in a file that
    /// is taken away later, and would hide what was put behind the true one.
    pub(super) fn unsealed(&self) -> Option<Range> {
        let from = self.sealed.unwrap_or(0) + 1;
        let to = self.last.as_ref()?.seq;
        (from <= to).then_some(Range { from, to })
    }

    /// The last checkpoint that the signed head covers. Nobody without the key has made it.
    ///
    /// `head` is a head of the relay's own.
    pub(super) fn vouched(&self, head: &TrailEnd) -> Option<Line<'_>> {
        let lines = self.checkpoints.iter().rev();
        let mut lines = lines.filter_map(|line| Line::parse(line).ok());
        let line = lines.find(|line| line.seq <= head.seq)?;
        let is_linked = line.seq >= self.linked_from && self.head_hash == Some(head.hash);
        is_linked.then_some(line)
    }

    fn last_checkpoint_line(&self) -> Option<Line<'_>> {
        Line::parse(self.checkpoints.last()?).ok()
    }

    fn new(head: u64) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    fn take_part(&mut self, path: &Path, input: &mut impl BufRead) {
        let result = each_line(input, |line| {
            self.take(line);
            true
        });
        if let Err(error) = result {
            warn_of(path, &error);
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        let end = TrailEnd::of(line);
        if !end.is_plausible() {
            return;
        }
        self.first.get_or_insert(line.seq);
        if line.seq == self.head {
            self.head_hash = Some(line.hash);
        }
        let seq = end.seq;
        if self.last.as_ref().is_none_or(|last| seq > last.seq) {
            let leads_back = self
                .last
                .as_ref()
                .is_some_and(|last| last.seq + 1 == seq && last.hash == line.prev);
            if !leads_back {
                self.sealed = None;
                self.linked_from = seq;
            }
            if line.event == "checkpoint" {
                self.sealed = Some(seq);
            }
            self.take_clock(line);
            self.last = Some(end);
        }
        match &*line.event {
            "checkpoint" => {
                self.checkpoints.push(line.bytes.to_vec());
                self.unsealed_pruning = None;
            }
            "trail_pruned" => self.unsealed_pruning = Some(line.seq),
            _ => {}
        }
    }

    /// Takes what a record says about the clock.
    ///
    /// Somebody may have written the records behind the head. Of these, only what makes the trail
    /// younger is believed.
    fn take_clock(&mut self, line: &Line<'_>) {
        let is_vouched = self.head == 0 || line.seq <= self.head;
        if is_vouched {
            self.vouched_time = line.time.parse().ok();
        }
        match &*line.event {
            "checkpoint" if is_vouched => {
                line.tell(&mut self.jumps);
                if let Some(it) = line.data::<Checkpoint>() {
                    self.note_clocks(line, it.boot.as_deref(), it.uptime_ms);
                }
            }
            "relay_started" if is_vouched => {
                if let Some(it) = line.data::<RelayStarted>() {
                    self.note_clocks(line, it.boot.as_deref(), it.uptime_ms);
                }
            }
            "clock_confirmed" if is_vouched => line.tell(&mut self.jumps),
            "clock_stepped" => {
                let step = line.data::<ClockStepped>();
                let seconds = step.map_or(0.0, |step| step.seconds);
                if is_vouched || seconds > 0.0 {
                    line.tell(&mut self.jumps);
                    self.stepped += seconds;
                    self.stepped_since += if is_vouched { 0.0 } else { seconds };
                }
            }
            _ => {}
        }
    }

    fn note_clocks(&mut self, line: &Line<'_>, boot: Option<&str>, uptime_ms: u64) {
        self.stepped = 0.0;
        if let Ok(time) = line.time.parse() {
            self.clocks = Some(Clocks {
                time,
                boot: boot.map(str::to_owned),
                uptime_ms,
            });
        }
    }
}

/// An open tunnel leaves a record every hour. The rest is for clocks that were set meanwhile.
const SILENCE: SignedDuration = SignedDuration::from_hours(3);
/// How many bytes from the end are read. As a rule the first are enough.
pub(super) const WINDOWS: [u64; 3] = [1 << 20, 8 << 20, 64 << 20];
