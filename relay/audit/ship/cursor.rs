//! A place in the trail's files, from which records are read one after the other, whatever becomes of the files meanwhile:
//! the segment being written grows, is closed under another name, is compressed, and in the end is pruned.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use super::super::chain::Line;
use super::super::segments::{self, MAX_LINE, Segment};

pub(super) struct Cursor {
    directory: PathBuf,
    /// The number of the record that is due.
    next: u64,
    /// The segment that is read, open: its name may change.
    current: Option<Box<dyn BufRead + Send>>,
    /// Those that come after it.
    ahead: VecDeque<Segment>,
    line: Vec<u8>,
    /// Records that were due and gone, until somebody asks.
    missed: Option<(u64, u64)>,
}

impl Cursor {
    pub(super) fn new(directory: &Path, next: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            next,
            current: None,
            ahead: VecDeque::new(),
            line: Vec::new(),
            missed: None,
        }
    }

    /// The number of the record that is due.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Goes to another record.
    pub(super) fn seek(&mut self, next: u64) {
        if next != self.next {
            *self = Self::new(&self.directory, next);
        }
    }

    /// The numbers of records that weren't there any more, told once.
    pub(super) fn take_missed(&mut self) -> Option<(u64, u64)> {
        self.missed.take()
    }

    /// The next record, if there is one up to number `last`, which must be durable.
    ///
    /// Fails also when such a record isn't in the files: they may be on their way from one name to another.
    pub(super) fn read(&mut self, last: u64) -> io::Result<Option<Line<'_>>> {
        if self.next > last {
            return Ok(None);
        }
        let mut looked = false;
        loop {
            if let Some(seq) = self.read_line()? {
                if seq > self.next {
                    self.missed = Some((self.next, seq - 1));
                }
                self.next = seq + 1;
                // It has just been parsed; only the borrow checker needs it twice.
                return Ok(Line::parse(&self.line).ok());
            }
            if let Some(segment) = self.ahead.pop_front() {
                self.current = Some(segments::open(&segment.current_path())?);
            } else if looked {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!(
                        "record {} is not in {}",
                        self.next,
                        self.directory.display()
                    ),
                ));
            } else {
                looked = true;
                self.ahead = self.segments()?;
            }
        }
    }

    /// Reads on to a record that is due, or to the end of the segment; gives the record's number.
    fn read_line(&mut self) -> io::Result<Option<u64>> {
        let Some(input) = &mut self.current else {
            return Ok(None);
        };
        loop {
            self.line.clear();
            input
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)?;
            if self.line.is_empty() {
                return Ok(None);
            }
            // What a failed write tore stands whole in the next segment, and what was changed proves nothing.
            if self.line.pop_if(|byte| *byte == b'\n').is_some()
                && let Ok(line) = Line::parse(&self.line)
                && line.seq >= self.next
            {
                return Ok(Some(line.seq));
            }
        }
    }

    /// The segment that has the record that is due, and those after it.
    fn segments(&self) -> io::Result<VecDeque<Segment>> {
        let mut segments = self.list()?;
        if segments.first().is_none_or(|first| first.first > self.next) {
            // One that was being renamed can be missed; one that was pruned is missed twice.
            segments = self.list()?;
        }
        let after = segments.partition_point(|segment| segment.first <= self.next);
        // Two can begin with the same record, when the first of them failed.
        let begin = after.checked_sub(1).map_or(0, |at| segments[at].first);
        segments.retain(|segment| segment.first >= begin);
        Ok(segments.into())
    }

    fn list(&self) -> io::Result<Vec<Segment>> {
        for _ in 0..3 {
            match segments::list(&self.directory) {
                // Compressed between the look at the directory and the look at the file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                listed => return listed,
            }
        }
        segments::list(&self.directory)
    }
}
