//! Proving a trail: every record there, none changed, in order; or the first that isn't as it was written.
//!
//! Three verdicts: whole; whole but for gaps that the trail itself declares; broken. What each proof is worth against whom is in
//! `docs/audit.md`.

mod missing;
mod seals;
mod verification;
mod witness;

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use crate::chain::{Line, LineError};
use crate::data::AuditGap;
use crate::hash::Hash;
use crate::head::Head;
use crate::key::PublicKey;
use crate::reader::{Place, RawLine, Reader};
use missing::{Begin, Hole, Missing, declares};
use seals::Seals;
use witness::Witness;

pub use verification::{Broken, DeclaredGap, Verification, VerifyError};

/// Takes a trail's lines one by one.
#[derive(Debug, Default)]
pub struct Verifier {
    trail: Option<Box<str>>,
    first: Option<Begin>,
    /// It is a gap that says what is missing before it.
    first_declared: bool,
    next: u64,
    previous: Option<Hash>,
    last_place: Place,
    /// The hashes of the latest records, to know a line that stands twice.
    recent: VecDeque<(u64, Hash)>,
    missing: Missing,
    /// The last record that a directory says it had.
    head: Option<Head>,
    seals: Seals,
    witness: Option<Witness>,
    /// A last line without its line feed, which only a trail's very end may have.
    unfinished: Option<Place>,
    /// A copy may repeat lines anywhere; in a directory they stand twice only where a segment takes up what a failed one held.
    is_copy: bool,
    /// The record that stood again in the line before, and where the first such line is.
    repeated: Option<(u64, Place)>,
    report: Verification,
}

/// Verifies a directory, a file, or standard input for `-`. A file may be a copy that syslog kept, with what syslog puts before a
/// record and with records that came twice. `progress` is told the bytes read, now and then.
pub fn verify(
    path: &Path,
    key: Option<PublicKey>,
    witness: Option<&Path>,
    mut progress: impl FnMut(&Reader),
) -> Result<Verification, VerifyError> {
    let mut verifier = Verifier::of(path)?;
    verifier.witness = witness.map(Witness::load).transpose()?;
    if let Some(key) = key {
        verifier.seals.trust(key);
    }
    let mut reader = Reader::open(path)?;
    let mut lines = 0_u64;
    loop {
        match reader.next_line() {
            Ok(Some(raw)) => {
                verifier.take(&raw)?;
            }
            Ok(None) => break,
            Err(error) => return Err(unreadable(&reader, error)),
        }
        lines += 1;
        if lines.is_multiple_of(4096) {
            progress(&reader);
        }
    }
    progress(&reader);
    Ok(verifier.finish()?)
}

/// What an error says of the trail: a file that ends badly is damage, one that can't be opened is none.
pub(crate) fn unreadable(reader: &Reader, error: io::Error) -> VerifyError {
    match reader.place() {
        Some(place) => VerifyError::Broken(Broken {
            place,
            seq: None,
            what: format!("it can't be read on: {error}"),
        }),
        None => error.into(),
    }
}

impl Verifier {
    /// For a directory, a file, or standard input for `-`. To be made before the trail is opened: what a directory keeps beside
    /// its trail may lag behind it and never leads, even while a relay writes.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut verifier = Self {
            is_copy: !path.is_dir(),
            ..Self::default()
        };
        if path.is_dir() {
            verifier.seals.load(path)?;
            verifier.head = Head::load(path);
        }
        Ok(verifier)
    }

    /// Takes the next line of the trail. Gives it back when it is a record that wasn't there yet.
    pub(crate) fn take<'a>(&mut self, raw: &RawLine<'a>) -> Result<Option<Line<'a>>, Broken> {
        // What is missing comes before what is wrong.
        self.take_line(raw)
            .map_err(|broken| self.missing.unexplained().unwrap_or(broken))
    }

    fn take_line<'a>(&mut self, raw: &RawLine<'a>) -> Result<Option<Line<'a>>, Broken> {
        let broken = |seq, what: String| Broken {
            place: raw.place.clone(),
            seq,
            what,
        };
        if let Some(place) = self.unfinished.take() {
            // A write that failed tore a line, and a new segment has it whole; what it tore is passed over.
            if place.file == raw.place.file {
                return Err(Broken {
                    place,
                    seq: None,
                    what: LineError::NotARecord.to_string(),
                });
            }
            self.report.torn += 1;
        }
        let line = match Line::parse(raw.bytes) {
            Ok(line) => line,
            Err(LineError::NotARecord) if !raw.whole => {
                self.unfinished = Some(raw.place.clone());
                return Ok(None);
            }
            Err(error) => return Err(broken(None, error.to_string())),
        };
        let repeated = self.repeated.take();
        if self.is_duplicate(&line, raw, repeated.as_ref()) {
            let place = repeated.map_or_else(|| raw.place.clone(), |(_, place)| place);
            self.repeated = Some((line.seq, place));
            self.report.duplicates += 1;
            return Ok(None);
        }
        self.has_caught_up(repeated)?;
        self.follow(&line, raw)
            .map_err(|what| broken(Some(line.seq), what))?;
        self.seals.pass(line.seq)?;
        self.compare(&line)
            .map_err(|what| broken(Some(line.seq), what))?;
        self.note(&line)
            .map_err(|what| broken(Some(line.seq), what))?;

        self.report.records += 1;
        self.next = line.seq.saturating_add(1);
        self.previous = Some(line.hash);
        self.recent.push_back((line.seq, line.hash));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.last_place = raw.place.clone();
        if self.report.first_time.is_empty() {
            self.report.first_time = line.time.clone().into_owned();
        }
        self.report.last_time = line.time.clone().into_owned();
        Ok(Some(line))
    }

    /// A segment that takes up what a failed one held begins with records that were read, and goes on without a break.
    fn is_duplicate(
        &self,
        line: &Line<'_>,
        raw: &RawLine<'_>,
        repeated: Option<&(u64, Place)>,
    ) -> bool {
        let takes_up = || {
            raw.place.line == 1
                || repeated.is_some_and(|(seq, _)| line.seq == seq.saturating_add(1))
        };
        // Looked for only where a record can't be new.
        line.seq < self.next
            && (self.is_copy || takes_up())
            && self
                .recent
                .iter()
                .rev()
                .any(|seen| *seen == (line.seq, line.hash))
    }

    /// Whether lines that stand again went on up to what is new.
    fn has_caught_up(&self, repeated: Option<(u64, Place)>) -> Result<(), Broken> {
        match repeated {
            Some((seq, place)) if !self.is_copy && seq.saturating_add(1) != self.next => {
                Err(Broken {
                    place,
                    seq: Some(seq),
                    what: "it stands here again: inserted or out of order".into(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether the line comes after the one before it.
    fn follow(&mut self, line: &Line<'_>, raw: &RawLine<'_>) -> Result<(), String> {
        let Some(previous) = self.previous else {
            self.trail = Some(line.trail.as_ref().into());
            self.report.trail = line.trail.clone().into_owned();
            self.report.from = line.seq;
            self.first = Some(Begin::of(line, raw));
            self.first_declared = declares(line, (1, line.seq.saturating_sub(1)));
            return match line.seq {
                0 => Err("records are numbered from 1".into()),
                1 if line.prev != Hash::GENESIS => {
                    Err("the first record names one before it".into())
                }
                _ => Ok(()),
            };
        };
        if self.trail.as_deref() != Some(&*line.trail) {
            return Err("it is of another trail".into());
        }
        if line.seq < self.next {
            return Err(format!(
                "record {} stands here, after record {}: inserted or out of order",
                line.seq,
                self.next - 1
            ));
        }
        if line.seq > self.next {
            let missing = (self.next, line.seq - 1);
            if declares(line, missing) {
                return Ok(());
            }
            let hole = Hole {
                from: self.next,
                end: Begin::of(line, raw),
            };
            if !self.is_copy {
                return Err(hole.to_string());
            }
            self.missing.pass(hole);
            self.seals.skip();
            return Ok(());
        }
        if line.prev != previous {
            return Err(
                "it doesn't follow the record before it: one of the two was replaced".into(),
            );
        }
        Ok(())
    }

    /// Whether the witness, and the kept seals, have the same record.
    fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.seals.compare(line)?;
        match &mut self.witness {
            Some(witness) => witness.compare(line),
            None => Ok(()),
        }
    }

    /// What the record says of the trail itself.
    fn note(&mut self, line: &Line<'_>) -> Result<(), String> {
        match &*line.event {
            "audit_gap" => {
                let gap = line
                    .data::<AuditGap>()
                    .ok_or("a gap that doesn't say which")?;
                self.report.gaps.push(DeclaredGap {
                    from: gap.from,
                    to: gap.to,
                    count: gap.count,
                    cause: gap.cause.to_string(),
                    time: line.time.clone().into_owned(),
                });
            }
            "trail_pruned" => self.missing.prune(line)?,
            "clock_stepped" => self.report.clock_steps += 1,
            "checkpoint" => {
                self.report.checkpoints += 1;
                if self.seals.take(line)? {
                    self.report.sealed_to = Some(line.seq);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the trail: what is missing at its ends.
    pub(crate) fn finish(mut self) -> Result<Verification, Broken> {
        let at_end = |place: Place, what: String| Broken {
            place,
            seq: None,
            what,
        };
        let Some(begin) = self.first.take() else {
            let what = match &self.head {
                Some(head) => format!("there is no record, and there were {}", head.seq),
                None => "there is no record".into(),
            };
            return Err(at_end(Place::default(), what));
        };
        let repeated = self.repeated.take();
        self.has_caught_up(repeated)?;
        let declared = self.first_declared || self.missing.is_explained(&begin);
        if begin.seq > 1 && !declared {
            let what = format!(
                "records 1 to {} are missing, and no pruning says so",
                begin.seq - 1
            );
            return Err(at_end(begin.place, what));
        }
        if let Some(broken) = self.missing.unexplained() {
            return Err(broken);
        }
        self.report.gaps.extend(self.missing.gaps());
        self.report.torn += u64::from(self.unfinished.is_some());
        if let Some(head) = self.head.filter(|head| head.seq >= self.next) {
            let what = format!(
                "the end is cut off: records {} to {} were there",
                self.next, head.seq
            );
            return Err(at_end(self.last_place, what));
        }
        if let Some(seq) = self.seals.left() {
            let what = format!("the end is cut off: a seal of record {seq} was kept");
            return Err(at_end(self.last_place, what));
        }
        let witness = self.witness.as_ref();
        if let Some(what) = witness.and_then(|it| it.contradicts(&self.report.trail, begin.seq)) {
            return Err(at_end(self.last_place, what));
        }
        self.report.to = self.next - 1;
        self.report.witnessed = self.witness.map(|witness| witness.compared());
        Ok(self.report)
    }
}

/// A segment that failed holds at most so many records that stand again in the next.
const RECENT: usize = 16 * 1024;
