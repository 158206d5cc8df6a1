//! Follows a trail that is being written, over rotation and compression.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::chain::Line;
use crate::reader::record_in;
use crate::segments::{self, Inode, MAX_LINE, inode};

/// Reads the lines of a trail from a record on. At the end it can be asked again later.
///
/// It finds segments by the records in them. So a segment that is renamed, compressed or cut back
/// while it is read neither loses nor repeats a record.
pub struct Follower {
    path: PathBuf,
    current: Option<OpenSegment>,
    /// The number of the next record to be returned.
    next: u64,
    /// The bytes of a line that were read so far.
    line: Vec<u8>,
    /// Closed segments that held no record to return, such as damaged ones. They are not opened
    /// again.
    spent: HashSet<PathBuf>,
    is_copy: bool,
}

struct OpenSegment {
    input: Box<dyn BufRead>,
    /// The path and identity of the file, none for standard input.
    file: Option<(PathBuf, Inode)>,
    /// Whether it was read to its final end.
    done: bool,
    /// Whether lines may still be added to it.
    growing: bool,
    /// Whether it held a record to return.
    gave: bool,
}

/// The result of reading on.
enum Look {
    /// `line` holds a whole line.
    Line,
    /// The rest of a segment can't be read, with the reason.
    Damage(String),
    /// There is nothing more to read now.
    End,
}

impl Follower {
    /// Follows a directory, a file, or standard input for `-`, from the record `first` on.
    pub fn open(path: &Path, first: u64) -> io::Result<Self> {
        let mut follower = Self {
            path: path.to_owned(),
            current: None,
            next: first,
            line: Vec::new(),
            spent: HashSet::new(),
            is_copy: !path.is_dir(),
        };
        if path == Path::new("-") {
            follower.current = Some(OpenSegment {
                input: Box::new(BufReader::new(io::stdin())),
                file: None,
                done: false,
                growing: false,
                gave: false,
            });
        } else {
            // A path that is missing at the start is an error. Later it may be missing for a
            // moment.
            path.metadata().map_err(|error| at(path, &error))?;
        }
        Ok(follower)
    }

    /// The numbers and times of the records with which segments begin, the oldest first.
    pub fn beginnings(&self) -> io::Result<Vec<(u64, Timestamp)>> {
        if !self.path.is_dir() {
            return Ok(Vec::new());
        }
        let segments = segments::list(&self.path)?;
        Ok(segments
            .iter()
            .filter(|segment| segment.readable)
            .map(|segment| (segment.first, segment.time))
            .collect())
    }

    /// Passes every line that is there now to `take`: a record, or the reason why it is none.
    pub fn drain(
        &mut self,
        mut take: impl FnMut(Result<Line<'_>, String>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match self.fill()? {
                Look::Line => {}
                Look::Damage(what) => {
                    take(Err(what))?;
                    continue;
                }
                Look::End => return Ok(()),
            }
            // The line is taken out, so that an early return leaves nothing of it behind.
            let bytes = std::mem::take(&mut self.line);
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            // A file may be a copy, with a syslog header before the record.
            let line = Line::parse(if self.is_copy { record_in(text) } else { text });
            if let Ok(line) = &line {
                if line.seq < self.next {
                    continue;
                }
                self.next = line.seq.saturating_add(1);
                if let Some(current) = &mut self.current {
                    current.gave = true;
                }
            }
            take(line.map_err(|error| error.to_string()))?;
        }
    }

    /// Reads on until `line` holds a whole line.
    fn fill(&mut self) -> io::Result<Look> {
        loop {
            let Some(current) = self.current.as_mut().filter(|current| !current.done) else {
                if !self.advance()? {
                    return Ok(Look::End);
                }
                continue;
            };
            let room = MAX_LINE.saturating_sub(self.line.len() as u64);
            let read = (&mut current.input)
                .take(room)
                .read_until(b'\n', &mut self.line);
            let count = match (read, &current.file) {
                (Ok(count), _) => count,
                (Err(error), None) => return Err(at(&self.path, &error)),
                (Err(error), Some((path, _))) => {
                    current.done = true;
                    self.line.clear();
                    return Ok(Look::Damage(at(path, &error).to_string()));
                }
            };
            if self.line.ends_with(b"\n") || self.line.len() as u64 >= MAX_LINE {
                return Ok(Look::Line);
            }
            if count > 0 {
                continue;
            }
            if current.growing && current.is_in_place() {
                return Ok(Look::End);
            }
            // The segment was renamed. Read once more, for lines that were written between the last
            // read and the renaming.
            if current.growing {
                current.growing = false;
                continue;
            }
            current.done = true;
            if current.file.is_none() && !self.line.is_empty() {
                return Ok(Look::Line);
            }
            // A failed write left the beginning of a line. The next segment has it whole.
            self.line.clear();
        }
    }

    /// Opens the segment that has, or will have, the next record. Returns whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let mut read = None;
        if let Some(current) = &self.current {
            let Some((path, inode)) = &current.file else {
                return Ok(false);
            };
            read = Some(*inode);
            // The active segment isn't marked as spent, because its name will soon belong to
            // another.
            if !current.gave && !segments::is_active(path) {
                self.spent.insert(path.clone());
            }
        }
        let fresh = |path: &Path| fs::metadata(path).is_ok_and(|file| Some(inode(&file)) != read);
        let (path, file) = if self.path.is_dir() {
            let Some(found) = self.find(fresh).map_err(|error| at(&self.path, &error))? else {
                return Ok(false);
            };
            found
        } else if fresh(&self.path) {
            let file = File::open(&self.path).map_err(|error| at(&self.path, &error))?;
            (self.path.clone(), file)
        } else {
            return Ok(false);
        };
        let inode = inode(&file.metadata()?);
        self.current = Some(OpenSegment {
            growing: segments::is_active(&path) || path == self.path,
            input: segments::decode(&path, file)?,
            file: Some((path, inode)),
            done: false,
            gave: false,
        });
        Ok(true)
    }

    fn find(&self, fresh: impl Fn(&Path) -> bool) -> io::Result<Option<(PathBuf, File)>> {
        loop {
            let (mut segments, active) = segments::list_held(&self.path)?;
            segments.retain(|segment| !self.spent.contains(&segment.path));
            let holds = segments
                .iter()
                .rev()
                .find(|segment| segment.first <= self.next)
                .filter(|segment| fresh(&segment.path));
            let later = || segments.iter().find(|segment| segment.first > self.next);
            let Some(segment) = holds.or_else(later) else {
                return Ok(None);
            };
            // Use the open file: the name may lead to another segment by now.
            if let Some(active) = active.filter(|_| segments::is_active(&segment.path)) {
                return Ok(Some((segment.path.clone(), active)));
            }
            match segments::open_listed(&segment.path) {
                // The segment was pruned after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(Some),
            }
        }
    }
}

impl OpenSegment {
    /// Whether its path still leads to this file.
    fn is_in_place(&self) -> bool {
        self.file.as_ref().is_some_and(|(path, known)| {
            fs::metadata(path).is_ok_and(|file| inode(&file) == *known)
        })
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("path", &self.path)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
