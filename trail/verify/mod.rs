//! Proves that a trail has every record, unchanged and in order, or finds the first that isn't as
//! it was written.
//!
//! There are three verdicts: whole, whole but for gaps that the trail itself declares, and broken.
//! `docs/audit.md` explains what each proof is worth, and against which attacker.

mod duplicates;
mod missing;
mod seals;
mod verification;
mod witness;

use std::io;
use std::path::Path;

use crate::chain::{Line, LineError};
use crate::data::AuditGap;
use crate::hash::Hash;
use crate::head::Head;
use crate::key::PublicKey;
use crate::reader::{Place, RawLine, Reader};
use duplicates::Duplicates;
use missing::{Begin, Hole, Missing, declares};
use seals::Seals;
use witness::Witness;

pub use verification::{Broken, DeclaredGap, Verification, VerifyError};

/// Takes a trail's lines one by one.
#[derive(Debug, Default)]
pub struct Verifier {
    trail: Option<Box<str>>,
    first: Option<Begin>,
    /// Whether the first record is a gap that declares the records before it as missing.
    first_declared: bool,
    next: u64,
    previous: Option<Hash>,
    last_place: Place,
    duplicates: Duplicates,
    missing: Missing,
    /// The last record that the directory is known to have had.
    head: Option<Head>,
    seals: Seals,
    witness: Option<Witness>,
    /// A last line without its line feed, which only a trail's very end may have.
    unfinished: Option<Place>,
    /// Whether the lines come from a file, which may be a copy that syslog kept.
    is_copy: bool,
    report: Verification,
}

/// Verifies a directory, a file, or standard input for `-`.
///
/// A file may be a copy that syslog kept. There, records have a header before them, and may come
/// twice. `progress` is called now and then with the reader, which counts the bytes.
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

/// Turns an error of the reader into a verdict. A file that can't be read to its end is damage, one
/// that can't be opened isn't.
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
    /// Makes a verifier for a directory, a file, or standard input for `-`.
    ///
    /// It must be made before the trail is opened. The files beside a trail may be behind it and
    /// are never ahead of it. Read later, they could name records that a relay wrote after the
    /// trail was listed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let is_copy = !path.is_dir();
        let mut verifier = Self {
            is_copy,
            duplicates: Duplicates::of(is_copy),
            ..Self::default()
        };
        if !is_copy {
            verifier.seals.load(path)?;
            verifier.head = Head::load(path);
        }
        Ok(verifier)
    }

    /// Takes the next line of the trail, and returns it if it is a new record.
    pub(crate) fn take<'a>(&mut self, raw: &RawLine<'a>) -> Result<Option<Line<'a>>, Broken> {
        // A hole comes before this line, so it is the first thing that is wrong.
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
            // A failed write tore the line, and the next segment has it whole. It is damage only
            // within a file.
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
        if self.duplicates.take(&line, raw, self.next)? {
            self.report.duplicates += 1;
            return Ok(None);
        }
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
        self.duplicates.note(&line);
        self.last_place = raw.place.clone();
        if self.report.first_time.is_empty() {
            self.report.first_time = line.time.clone().into_owned();
        }
        self.report.last_time = line.time.clone().into_owned();
        Ok(Some(line))
    }

    /// Checks that the line follows the one before it.
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

    /// Checks that the witness and the kept seals have the same record.
    fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.seals.compare(line)?;
        match &mut self.witness {
            Some(witness) => witness.compare(line),
            None => Ok(()),
        }
    }

    /// Takes what the record declares about the trail itself.
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

    /// Checks both ends of the trail for missing records, and returns the verdict.
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
        self.duplicates.end_run(self.next)?;
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
