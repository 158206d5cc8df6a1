//! A place in the trail's files, from which records are read one after the other.
//!
//! It copes with all that happens to a segment meanwhile: it grows, is closed under another name,
//! is compressed, and is pruned.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use callhome_trail::Line;
use callhome_trail::segments::{self, MAX_LINE, Segment};

/// The place of the next record to be shipped.
pub(super) struct Cursor {
    directory: PathBuf,
    /// The trail whose records count, because the directory may hold traces of another.
    trail: Box<str>,
    /// The number of the record that is due.
    next: u64,
    /// The segment that is being read. It is held open, because its name may change.
    current: Option<Box<dyn BufRead + Send>>,
    /// The segments after it.
    ahead: VecDeque<Segment>,
    line: Vec<u8>,
    /// Records that were due and aren't in the files, until they are asked for.
    missed: Option<(u64, u64)>,
}

impl Cursor {
    pub(super) fn new(directory: &Path, trail: &str, next: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            trail: trail.into(),
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

    /// Moves to the record `next`.
    pub(super) fn seek(&mut self, next: u64) {
        if next != self.next {
            *self = Self::new(&self.directory, &self.trail, next);
        }
    }

    /// Returns the records that weren't in the files any more, only once.
    pub(super) fn take_missed(&mut self) -> Option<(u64, u64)> {
        self.missed.take()
    }

    /// Reads the next record, if its number is at most `last`, which must be durable.
    ///
    /// Fails also when the files don't have that record.
    pub(super) fn read(&mut self, last: u64) -> io::Result<Option<Line<'_>>> {
        if self.next > last {
            return Ok(None);
        }
        let mut looks = 0;
        loop {
            match self.read_line() {
                // Listing a directory can miss a file that is being renamed, so a hole is believed
                // only after `LOOKS` tries.
                Some(seq) if seq == self.next || looks == LOOKS => {
                    if seq > self.next {
                        self.missed = Some((self.next, seq - 1));
                    }
                    // A forged number may be the greatest there is.
                    self.next = seq.saturating_add(1);
                    // The line was parsed just now. It is parsed again only because of the borrow
                    // checker.
                    return Ok(Line::parse(&self.line).ok());
                }
                None if self.open_next()? => continue,
                None if looks == LOOKS => {
                    let message = format!("record {} is not in the trail's files", self.next);
                    return Err(io::Error::new(io::ErrorKind::NotFound, message));
                }
                Some(_) | None => {}
            }
            if looks > 0 {
                thread::sleep(PAUSE);
            }
            looks += 1;
            self.current = None;
            self.ahead = self.segments(looks == LOOKS)?;
        }
    }

    /// Opens the next segment, and returns whether there was one in the list.
    fn open_next(&mut self) -> io::Result<bool> {
        self.current = None;
        let Some(segment) = self.ahead.pop_front() else {
            return Ok(false);
        };
        match segments::open(&segment.current_path()) {
            Ok(input) => self.current = Some(input),
            // The segment was compressed or pruned after it was listed. The next segment shows the
            // hole.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Reads on to a record that is due, or to the end of the segment, and returns the record's
    /// number.
    fn read_line(&mut self) -> Option<u64> {
        let input = self.current.as_mut()?;
        loop {
            self.line.clear();
            let read = input
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line);
            // A damaged segment ends at the damage. The next segment shows the hole.
            if !read.is_ok_and(|length| length > 0) {
                return None;
            }
            // A line that a failed write tore is whole in the next segment. A line that was changed
            // proves nothing.
            if self.line.pop_if(|byte| *byte == b'\n').is_some()
                && let Ok(line) = Line::parse(&self.line)
                && line.seq >= self.next
                && line.trail == *self.trail
            {
                return Some(line.seq);
            }
        }
    }

    /// Lists the segment that should have the record that is due and those after it, or `all` for a
    /// last try.
    fn segments(&self, all: bool) -> io::Result<VecDeque<Segment>> {
        let mut segments = segments::list(&self.directory)?;
        let after = segments.partition_point(|segment| segment.first <= self.next);
        if let Some(at) = after.checked_sub(1).filter(|_| !all) {
            // Two segments begin with the same record when the first of them failed.
            let begin = segments[at].first;
            segments.retain(|segment| segment.first >= begin);
        }
        Ok(segments.into())
    }
}

/// How often the directory is listed for a record, and how long after the time before.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);
