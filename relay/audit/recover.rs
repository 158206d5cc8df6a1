//! Puts a directory in order at the start.
//!
//! It finds where the trail ended, what a crash tore, which tunnels were cut off, and which records
//! are missing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;

use callhome_trail::segments::{self, ACTIVE, MAX_LINE};
use callhome_trail::{AuditGap, Chain, Event, Hash, Head, Line, Outcome, PublicKey, Record, seals};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::compress;
use super::files;
use super::kept::Kept;

/// The state of a directory that is ready to be written again, and the records that must come
/// first.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) chain: Chain,
    /// The records that are missing, or may be.
    pub(super) gaps: Vec<AuditGap>,
    /// For each tunnel that has no end in the trail, a closing record made from its last one.
    pub(super) lost: Vec<Record>,
    /// The key that the last checkpoint named.
    pub(super) successor: Option<PublicKey>,
    pub(super) kept: Kept,
}

/// The members of a record that the next one needs to follow it.
#[derive(Clone, Debug)]
struct TrailEnd {
    trail: Box<str>,
    seq: u64,
    hash: Hash,
}

/// What was read from the newest segments that are left.
#[derive(Default)]
struct Tail {
    last: Option<TrailEnd>,
    /// The last record of each tunnel without an end, by session.
    open: BTreeMap<String, Record>,
    /// The lines of the checkpoints in these segments.
    checkpoints: Vec<Vec<u8>>,
}

/// Bytes that were moved away from the end of the trail.
struct Torn {
    file: String,
    /// The last whole record among them.
    last: Option<TrailEnd>,
}

/// Puts a locked directory in order. No record is deleted: torn bytes move to a file of their own.
pub(super) fn recover(directory: &Path) -> io::Result<Recovered> {
    remove_temporaries(directory)?;
    let head = Head::load(directory).and_then(|head| {
        Some(TrailEnd {
            hash: Hash::parse(head.hash.as_bytes())?,
            trail: head.trail,
            seq: head.seq,
        })
    });
    let durable = head.as_ref().map_or(0, |head| head.seq);
    let torn = set_torn_bytes_aside(&directory.join(ACTIVE), durable)?;
    let left = read_tail(directory)?;
    let text = seals::read(directory)?;
    let seal = seals::lines(&text).last().map(|(_, line)| line);

    // Four places know how far the trail got: its segments, `head.json`, the kept checkpoints and
    // the torn bytes. Believe the one that got furthest. Otherwise a number could be given twice,
    // and a witness would see two records under it.
    let known = [
        head,
        seal.as_ref().map(TrailEnd::of),
        torn.as_ref().and_then(|torn| torn.last.clone()),
    ];
    let mut gaps = Vec::new();
    let mut end = left.last.clone();
    for known in known.into_iter().flatten().filter(TrailEnd::is_plausible) {
        match &end {
            Some(end) if end.trail != known.trail => gaps.push(AuditGap::unnumbered(
                "the directory held traces of another trail at the start",
            )),
            Some(end) if end.seq >= known.seq => {}
            _ => end = Some(known),
        }
    }
    let last = left.last.as_ref().map_or(0, |last| last.seq);
    if let Some(end) = end.as_ref().filter(|end| end.seq > last) {
        let cause = "missing at the start: the trail is shorter than it was";
        // This gap must be the first record after the hole, because readers accept a declaration
        // only there.
        gaps.insert(0, AuditGap::of_records(last + 1, end.seq, cause));
    }
    if let Some(torn) = &torn {
        let cause = format!("a torn end was set aside at the start: {}", torn.file);
        gaps.push(AuditGap::unnumbered(cause));
    }
    let last_kept = seal.filter(|seal| seal.seq >= left.last_checkpoint());
    let successor = match last_kept {
        Some(seal) => seal.successor(),
        None => left
            .checkpoints
            .last()
            .and_then(|line| Line::parse(line).ok()?.successor()),
    };
    let chain = match end {
        Some(end) => Chain::resume(end.trail, end.seq + 1, end.hash),
        None => Chain::new(Uuid::now_v7().to_string().into_boxed_str()),
    };
    Ok(Recovered {
        chain,
        gaps,
        lost: left.open.into_values().map(as_lost).collect(),
        successor,
        kept: Kept::open(directory, &left.checkpoints)?,
    })
}

impl TrailEnd {
    fn of(line: &Line<'_>) -> Self {
        Self {
            trail: line.trail.as_ref().into(),
            seq: line.seq,
            hash: line.hash,
        }
    }

    /// Whether a trail can have got so far. A forged number near the maximum would leave no numbers
    /// for later records.
    fn is_plausible(&self) -> bool {
        self.seq < MAX_SEQ
    }
}

fn remove_temporaries(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Only the relay makes these names. It renames the file when it is complete, so the source
        // is still there.
        if path.extension() == Some("tmp".as_ref()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Moves the bytes after the last good record of the active segment into a `torn-…` file.
///
/// `durable` is the last record that is known to have been on the disk. A crash can't tear what was
/// there before it, so bad bytes before `durable` were changed by other means. They stay where they
/// are, for `verify` to find, and the segment is closed, so that nothing is appended to it.
fn set_torn_bytes_aside(active: &Path, durable: u64) -> io::Result<Option<Torn>> {
    let bytes = match fs::read(active) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (whole, changed) = whole_length(&bytes, durable);
    let rest = &bytes[whole..];
    let torn = (!rest.is_empty()).then(|| move_torn(active, whole, rest));
    let torn = torn.transpose()?;
    if let Some(first) = changed {
        let directory = active.parent().unwrap_or(Path::new("."));
        fs::rename(active, compress::free_name(directory, first))?;
        files::sync_directory(active)?;
        tracing::warn!(path = %active.display(), "the last segment of the trail was changed");
    }
    Ok(torn)
}

fn move_torn(active: &Path, whole: usize, rest: &[u8]) -> io::Result<Torn> {
    let name = format!("torn-{}.bin", Timestamp::now().as_microsecond());
    let path = active.with_file_name(&name);
    let mut file = files::create_new(&path)?;
    file.write_all(rest)?;
    file.sync_all()?;
    files::sync_directory(&path)?;
    let active = OpenOptions::new().write(true).open(active)?;
    active.set_len(whole as u64)?;
    active.sync_all()?;
    tracing::warn!(bytes = rest.len(), kept = %path.display(), "a torn end of the trail was set aside");
    let ends = rest
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Line::parse(line).ok().map(|line| TrailEnd::of(&line)));
    Ok(Torn {
        file: name,
        last: ends
            .filter(TrailEnd::is_plausible)
            .max_by_key(|end| end.seq),
    })
}

/// Returns up to which byte the lines stay, and the number of the first record if some of them were
/// changed.
fn whole_length(bytes: &[u8], durable: u64) -> (usize, Option<u64>) {
    let mut good = 0;
    let mut last = None;
    let mut first = None;
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        let record = line.strip_suffix(b"\n").map(Line::parse);
        let Some(Ok(record)) = record else {
            continue;
        };
        first.get_or_insert(record.seq);
        let is_next = good + line.len() == end;
        // A good record behind bad bytes: were these bytes on the disk already when record
        // `durable` was?
        let was_durable = last.map_or(record.seq <= durable.saturating_add(1), |last| {
            last < durable
        });
        if is_next || was_durable {
            good = end;
            last = Some(record.seq);
            if !is_next {
                return (end_of_good(bytes), first);
            }
        }
    }
    (good, None)
}

/// The end of the last good line.
fn end_of_good(bytes: &[u8]) -> usize {
    let mut at = 0;
    let ends = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        at += line.len();
        (at, line)
    });
    let good = ends.filter(|(_, line)| {
        let line = line.strip_suffix(b"\n").map(Line::parse);
        matches!(line, Some(Ok(_)))
    });
    good.last().map_or(0, |(end, _)| end)
}

/// Reads the newest segments, as far back as an open tunnel can have been silent.
///
/// An open tunnel leaves a record every hour, so older segments can't hold the last record of one.
fn read_tail(directory: &Path) -> io::Result<Tail> {
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
    let mut tail = Tail::default();
    for segment in &segments[from.min(segments.len())..] {
        if let Err(error) = tail.read(&segment.path) {
            // A start must not fail because of old damage; `audit verify` reports it.
            tracing::warn!(path = %segment.path.display(), %error, "a segment of the trail can't be read to its end");
        }
    }
    Ok(tail)
}

impl Tail {
    fn read(&mut self, segment: &Path) -> io::Result<()> {
        let mut input = segments::open(segment)?;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            if let Ok(line) = Line::parse(bytes.trim_ascii_end()) {
                self.take(&line);
            }
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        let end = TrailEnd::of(line);
        if !end.is_plausible() {
            return;
        }
        if self.last.as_ref().is_none_or(|last| end.seq > last.seq) {
            self.last = Some(end);
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
            "checkpoint" => self.checkpoints.push(line.bytes.to_vec()),
            _ => {}
        }
    }

    /// The number of the last checkpoint, 0 if there is none.
    fn last_checkpoint(&self) -> u64 {
        let last = self.checkpoints.last().map(|line| Line::parse(line));
        last.and_then(Result::ok).map_or(0, |line| line.seq)
    }
}

fn session_of(line: &Line<'_>) -> Option<(String, Record)> {
    let record = Record::of(line)?;
    Some((record.session.as_deref()?.to_owned(), record))
}

/// Turns the last record of a tunnel into a closing one, because the relay didn't see its end.
fn as_lost(record: Record) -> Record {
    Record {
        event: Event::TunnelLost,
        outcome: Some(Outcome::Lost),
        error: Some("the relay ended without a word of this tunnel's end".into()),
        ..record
    }
}

/// An open tunnel leaves a record every hour. The rest is for clocks that were set meanwhile.
const SILENCE: SignedDuration = SignedDuration::from_hours(3);
/// Far beyond any trail, and the limit up to which every JSON reader is exact (2^53).
const MAX_SEQ: u64 = 1 << 53;
