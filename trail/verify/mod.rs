//! Proves that a trail has every record, unchanged and in order, or finds the first that isn't as
//! it was written.
//!
//! There are three verdicts: whole, whole but for gaps that the trail itself declares, and broken.
//! `docs/audit.md` explains what each proof is worth, and against which attacker.

mod duplicates;
mod ends;
mod missing;
mod rounds;
mod seals;
mod times;
mod trails;
mod verification;
mod witness;

use crate::chain::{Line, LineError};
use crate::data::{AuditGap, ClockStepped, Range};
use crate::hash::Hash;
use crate::head::HeadFile;
use crate::jumps::Jumps;
use crate::reader::{Place, RawLine};
use duplicates::Duplicates;
use missing::{Begin, Hole, Missing};
use seals::Seals;
use times::Times;
use witness::Witness;

pub(crate) use rounds::unreadable;
pub use rounds::{Evidence, verify};
pub use verification::{Broken, DeclaredGap, Pin, PinError, TimeBack, Verification, VerifyError};

/// Takes a trail's lines one by one.
#[derive(Debug, Default)]
pub struct Verifier {
    trail: Option<Box<str>>,
    first: Option<Begin>,
    /// Whether the first record is a gap that declares the records before it as missing.
    first_declared: bool,
    /// Whether the first record of a copy follows the one that the pin names.
    first_pinned: bool,
    next: u64,
    previous: Option<Hash>,
    /// The last checkpoint that is a record of the trail, 0 before the first.
    last_checkpoint: u64,
    last_place: Place,
    duplicates: Duplicates,
    missing: Missing,
    /// The last record that the directory is known to have had.
    head: HeadFile,
    /// The last checkpoint that the directory keeps beside the trail.
    last_kept: Option<u64>,
    seals: Seals,
    times: Times,
    jumps: Jumps,
    witness: Option<Witness>,
    /// The record that the trail must have, and hasn't come to yet.
    pin: Option<Pin>,
    /// Records before this one were read in an earlier round.
    resumed_at: u64,
    /// A last line without its line feed, which only a trail's very end may have.
    unfinished: Option<Place>,
    /// Whether the lines come from a file, which may be a copy that syslog kept.
    is_copy: bool,
    report: Verification,
}

impl Verifier {
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
        if raw.place.line == 1 {
            self.missing.begin_segment(&line);
        }
        if line.seq < self.resumed_at {
            return Ok(None);
        }
        if self.duplicates.take(&line, raw, self.next)? {
            self.report.duplicates += 1;
            return Ok(None);
        }
        self.follow(&line, raw)
            .map_err(|what| broken(Some(line.seq), what))?;
        self.seals.pass(line.seq)?;
        self.compare(&line)
            .and_then(|()| self.note(&line))
            .map_err(|what| broken(Some(line.seq), what))?;

        self.report.records += 1;
        self.next = line.seq.saturating_add(1);
        self.previous = Some(line.hash);
        self.duplicates.note(&line);
        self.last_place = raw.place.clone();
        self.times.take(&line, &mut self.report);
        Ok(Some(line))
    }

    /// Checks that the line follows the one before it.
    fn follow(&mut self, line: &Line<'_>, raw: &RawLine<'_>) -> Result<(), String> {
        let Some(previous) = self.previous else {
            self.trail = Some(line.trail.as_ref().into());
            self.report.trail = line.trail.clone().into_owned();
            self.report.from = line.seq;
            self.first = Some(Begin::of(line, raw));
            self.first_declared = line.declares_missing(1);
            return match line.seq {
                0 => Err("records are numbered from 1".into()),
                1 if line.prev != Hash::GENESIS => {
                    Err("the first record names one before it".into())
                }
                _ => Ok(()),
            };
        };
        if self.trail.as_deref() != Some(&*line.trail) {
            return Err(self.another_trail(line, raw));
        }
        if line.seq < self.next {
            return Err(format!(
                "record {} stands here, after record {}: inserted or out of order",
                line.seq,
                self.next - 1
            ));
        }
        if line.seq > self.next {
            if line.declares_missing(self.next) {
                // A seal behind the hole doesn't lead back to what comes before it.
                self.note_unsealed(Range {
                    from: self.last_checkpoint + 1,
                    to: self.next - 1,
                });
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

    /// Checks that the witness, the kept seals and the pin have the same record.
    fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.seals.compare(line)?;
        if let Some(pin) = self.pin.take_if(|pin| pin.seq == line.seq)
            && pin.hash != Some(line.hash)
        {
            return Err("the pin names another record under this number".into());
        }
        match &mut self.witness {
            Some(witness) => witness.compare(line),
            None => Ok(()),
        }
    }

    /// Takes what the record declares about the trail itself.
    fn note(&mut self, line: &Line<'_>) -> Result<(), String> {
        line.tell(&mut self.jumps);
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
                    vouched: false,
                    seq: line.seq,
                });
            }
            "trail_pruned" => self.missing.prune(line, self.first.as_ref())?,
            "clock_stepped" => {
                let step = line.data::<ClockStepped>();
                let is_step = step.is_none_or(|step| !step.maybe_off);
                self.report.clock_steps += u64::from(is_step);
            }
            "checkpoint" => {
                self.report.checkpoints += 1;
                self.seals.take(line)?;
                if let Some(seal) = self.seals.newest() {
                    self.missing.seal(seal);
                    if let Some(range) = seal.unsealed {
                        // A start that found no checkpoint says more than is true.
                        let from = range.from.max(self.last_checkpoint + 1);
                        self.note_unsealed(Range { from, ..range });
                    }
                }
                self.last_checkpoint = line.seq;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes records that no seal covered when they were written. A hole and the start behind it
    /// may tell of the same ones.
    fn note_unsealed(&mut self, range: Range) {
        let is_known = self.report.unsealed.last() == Some(&range);
        if range.from <= range.to && !is_known {
            self.report.unsealed.push(range);
        }
    }

    /// Checks both ends of the trail, and returns the verdict.
    pub(crate) fn finish(mut self) -> Result<Verification, Broken> {
        let Some(begin) = self.first.take() else {
            return Err(self.empty());
        };
        self.duplicates.end_run(self.next)?;
        let first = begin.seq;
        self.check_pin(&begin)?;
        self.mark_gaps();
        self.check_beginning(begin)?;
        if let Some(broken) = self.missing.unexplained() {
            return Err(broken);
        }
        self.report.gaps.extend(self.missing.gaps());
        self.report.torn += u64::from(self.unfinished.is_some());
        self.check_length()
            .and_then(|()| self.check_kept(first))
            .and_then(|()| self.check_head())
            .and_then(|()| self.check_seals())
            .map_err(|what| self.broken_at_end(what))?;
        self.report.to = self.next - 1;
        self.report.unconfirmed = self.jumps.unconfirmed().cloned().collect();
        self.report.pin = Pin {
            seq: self.next - 1,
            hash: self.previous,
            next: self.seals.next_key().cloned(),
        };
        Ok(self.report)
    }

    /// Checks what was kept of the trail, here and elsewhere: the checkpoints, the pin, the
    /// witness.
    fn check_kept(&mut self, first: u64) -> Result<(), String> {
        if let Some(seq) = self.seals.left() {
            return Err(format!(
                "the end is cut off: a seal of record {seq} was kept"
            ));
        }
        // A pin of records that were pruned since still says which key signs what comes behind it.
        if let Some(pin) = self.pin.as_ref().filter(|pin| pin.seq >= first) {
            let seq = pin.seq;
            return Err(if seq >= self.next {
                format!("the end is cut off: the pin names record {seq}")
            } else {
                format!("record {seq} is missing, and the pin names it")
            });
        }
        if let Some(compared) = &mut self.report.pin_compared {
            *compared = self.pin.is_none();
        }
        let Some(witness) = &mut self.witness else {
            return Ok(());
        };
        if let Some(what) = witness.contradicts() {
            return Err(what);
        }
        self.report.witnessed = Some(witness.compared());
        self.report.witness_before = witness.before().map(|(from, to)| Range { from, to });
        Ok(())
    }
}
