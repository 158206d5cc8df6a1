//! Reads the newest segments of a trail.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use callhome_trail::segments::{self, MAX_LINE};
use callhome_trail::{Checkpoint, Hash, Line, PublicKey, Range, Record, RelayStarted};
use jiff::{SignedDuration, Timestamp};

use super::end::TrailEnd;

/// What was read from the newest segments that are left.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) last: Option<TrailEnd>,
    /// The time of the last record.
    pub(super) last_time: Option<Timestamp>,
    /// What the machine's clocks said at the last record that has it.
    pub(super) clocks: Option<Clocks>,
    /// The last record of each tunnel without an end, by session.
    pub(super) open: BTreeMap<String, Record>,
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

/// Reads the newest segments, as far back as an open tunnel can have been silent.
///
/// An open tunnel leaves a record every hour, so older segments can't hold the last record of one.
/// `head` is the record that the head names.
pub(super) fn read_tail(directory: &Path, head: u64) -> io::Result<Tail> {
    let segments = segments::list(directory)?;
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
    let mut tail = Tail {
        head,
        ..Tail::default()
    };
    for segment in &segments[from.min(segments.len())..] {
        if let Err(error) = tail.read(&segment.path) {
            // A start must not fail because of old damage; `audit verify` reports it.
            tracing::warn!(path = %segment.path.display(), %error, "a segment of the trail can't be read to its end");
        }
    }
    Ok(tail)
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

    fn last_checkpoint_line(&self) -> Option<Line<'_>> {
        Line::parse(self.checkpoints.last()?).ok()
    }

    fn read(&mut self, segment: &Path) -> io::Result<()> {
        let mut input = segments::open(segment)?;
        let mut bytes = Vec::new();
        let mut damaged = 0;
        while damaged < segments::MAX_DAMAGED {
            bytes.clear();
            let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            if let Ok(line) = Line::parse(bytes.trim_ascii_end()) {
                self.take(&line);
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

    fn take(&mut self, line: &Line<'_>) {
        let end = TrailEnd::of(line);
        if !end.is_plausible() {
            return;
        }
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
            }
            if line.event == "checkpoint" {
                self.sealed = Some(seq);
            }
            self.last = Some(end);
            self.last_time = line.time.parse().ok();
        }
        match &*line.event {
            "tunnel_opened" | "tunnel_progress" => {
                if let Some((session, record)) = session_of(line) {
                    self.open.insert(session, record);
                }
            }
            "tunnel_closed" | "tunnel_lost" => {
                if let Some((session, _)) = session_of(line) {
                    self.open.remove(&session);
                }
            }
            "checkpoint" => {
                self.checkpoints.push(line.bytes.to_vec());
                self.unsealed_pruning = None;
                if let Some(it) = line.data::<Checkpoint>() {
                    self.note_clocks(line, it.boot.as_deref(), it.uptime_ms);
                }
            }
            "relay_started" => {
                if let Some(it) = line.data::<RelayStarted>() {
                    self.note_clocks(line, it.boot.as_deref(), it.uptime_ms);
                }
            }
            "trail_pruned" => self.unsealed_pruning = Some(line.seq),
            _ => {}
        }
    }

    fn note_clocks(&mut self, line: &Line<'_>, boot: Option<&str>, uptime_ms: u64) {
        if let Ok(time) = line.time.parse() {
            self.clocks = Some(Clocks {
                time,
                boot: boot.map(str::to_owned),
                uptime_ms,
            });
        }
    }
}

/// The session of a tunnel's record. Gives none for a record that is too long to be the relay's:
/// one made from it would break the trail.
fn session_of(line: &Line<'_>) -> Option<(String, Record)> {
    if line.bytes.len() > LONGEST {
        return None;
    }
    let record = Record::of(line)?;
    Some((record.session.as_deref()?.to_owned(), record))
}

/// An open tunnel leaves a record every hour. The rest is for clocks that were set meanwhile.
const SILENCE: SignedDuration = SignedDuration::from_hours(3);
/// No record of a session comes near this, because what a client sends is bounded.
const LONGEST: usize = 64 * 1024;
