//! Recognises lines that come a second time.
//!
//! In a directory a duplicate comes from a failed segment: the next segment begins with lines that
//! the failed one also holds, and goes on without a break. Anywhere else it was inserted.
//!
//! A copy that syslog kept may repeat lines anywhere, because each record is sent at least once.

use std::collections::VecDeque;

use super::verification::Broken;
use crate::chain::Line;
use crate::hash::Hash;
use crate::reader::{Place, RawLine};

/// The latest records, and the duplicates in a row that are being read.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    is_copy: bool,
    recent: VecDeque<(u64, Hash)>,
    run: Option<DuplicateRun>,
}

/// Duplicates in a row.
#[derive(Debug)]
struct DuplicateRun {
    /// The number of the last one.
    last: u64,
    /// Where the first one is.
    place: Place,
}

impl Duplicates {
    pub(super) fn of(is_copy: bool) -> Self {
        Self {
            is_copy,
            ..Self::default()
        }
    }

    /// Returns whether the line is a duplicate. `next` is the number of the next new record.
    ///
    /// Fails when the line isn't a duplicate, and the duplicates before it didn't lead up to it.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        raw: &RawLine<'_>,
        next: u64,
    ) -> Result<bool, Broken> {
        if !self.is_duplicate(line, raw, next) {
            self.end_run(next)?;
            return Ok(false);
        }
        let place = match self.run.take() {
            Some(run) => run.place,
            None => raw.place.clone(),
        };
        self.run = Some(DuplicateRun {
            last: line.seq,
            place,
        });
        Ok(true)
    }

    /// The hash of a record, if it is one of the latest.
    pub(super) fn hash_of(&self, seq: u64) -> Option<Hash> {
        let mut latest = self.recent.iter().rev();
        latest.find(|seen| seen.0 == seq).map(|seen| seen.1)
    }

    /// Remembers a new record.
    pub(super) fn note(&mut self, line: &Line<'_>) {
        self.recent.push_back((line.seq, line.hash));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Ends the duplicates in a row. Fails in a directory when they stop before the next new
    /// record.
    pub(super) fn end_run(&mut self, next: u64) -> Result<(), Broken> {
        match self.run.take() {
            Some(run) if !self.is_copy && run.last.saturating_add(1) != next => Err(Broken {
                place: run.place,
                seq: Some(run.last),
                what: "it stands here again: inserted or out of order".into(),
            }),
            _ => Ok(()),
        }
    }

    fn is_duplicate(&self, line: &Line<'_>, raw: &RawLine<'_>, next: u64) -> bool {
        let may_repeat = || {
            let run = self.run.as_ref();
            raw.place.line == 1 || run.is_some_and(|run| line.seq == run.last.saturating_add(1))
        };
        // The search is slow, so it comes last: a record with a new number can't be a duplicate.
        line.seq < next
            && (self.is_copy || may_repeat())
            && self
                .recent
                .iter()
                .rev()
                .any(|seen| *seen == (line.seq, line.hash))
    }
}

/// At most this number of records of a failed segment come again in the next.
const RECENT: usize = 16 * 1024;
