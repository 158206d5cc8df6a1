//! Follows a trail that is being written, over rotation and compression.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::chain::Line;
use crate::reader::record_in;
use crate::seen::Seen;
use crate::segments::{self, Inode, MAX_LINE, Segment, inode};

/// Reads the lines of a trail from a record on. At the end it can be asked again later.
///
/// It reads each segment once, and knows a record that it has returned. So a segment that is
/// renamed, compressed or cut back while it is read neither loses nor repeats a record. A file may
/// have several trails, and a directory may be replaced by that of another trail.
pub struct Follower {
    path: PathBuf,
    current: Option<OpenSegment>,
    /// Records with a lower number aren't returned.
    first: u64,
    seen: Seen,
    /// The bytes of a line that were read so far.
    line: Vec<u8>,
    /// The segments that were listed and weren't opened so far.
    listed: VecDeque<PathBuf>,
    /// The segment that was the active one when they were listed.
    active: Option<File>,
    /// Whether they may be listed again.
    may_list: bool,
    /// The names of closed segments that aren't opened again, as they are before compression.
    done: HashSet<PathBuf>,
    is_copy: bool,
}

struct OpenSegment {
    input: Box<dyn BufRead>,
    /// The file and its path, none for standard input.
    file: Option<(PathBuf, File)>,
    /// Where the line begins that is read next, in a file that isn't compressed.
    line_begin: u64,
    /// Whether it was read to its final end.
    done: bool,
    /// Whether lines may still be added to it.
    growing: bool,
    /// Whether it was read to its end for now.
    at_end: bool,
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
            first,
            seen: Seen::default(),
            line: Vec::new(),
            listed: VecDeque::new(),
            active: None,
            may_list: false,
            done: HashSet::new(),
            is_copy: !path.is_dir(),
        };
        if path == Path::new("-") {
            follower.current = Some(OpenSegment {
                input: Box::new(BufReader::new(io::stdin())),
                file: None,
                line_begin: 0,
                done: false,
                growing: false,
                at_end: false,
            });
        } else {
            // A path that is missing at the start is an error. Later it may be missing for a
            // moment.
            path.metadata().map_err(|error| at(path, &error))?;
        }
        Ok(follower)
    }

    /// Leaves these segments of the directory unread. The one being written is never left out,
    /// because its name will soon belong to another.
    pub fn leave_out(&mut self, segments: &[Segment]) {
        let closed = segments.iter().filter(|it| !segments::is_active(&it.path));
        self.done
            .extend(closed.map(|it| segments::uncompressed(&it.path)));
    }

    /// Passes every line that is there now to `take`: a record, or the reason why it is none.
    ///
    /// It lists a directory once, so it ends also where records come faster than they are read.
    pub fn drain(
        &mut self,
        mut take: impl FnMut(Result<Line<'_>, String>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.may_list = true;
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
            match Line::parse(self.record(text)) {
                Ok(line) if line.seq < self.first || !self.seen.insert(&line) => {}
                line => take(line.map_err(|error| error.to_string()))?,
            }
        }
    }

    /// Passes a last record that has no line feed to `take`. An editor, or a copy that was cut, may
    /// leave one.
    pub fn finish(
        &mut self,
        mut take: impl FnMut(Result<Line<'_>, String>) -> io::Result<()>,
    ) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.line);
        match Line::parse(self.record(&bytes)) {
            Ok(line) if line.seq >= self.first && self.seen.insert(&line) => take(Ok(line)),
            // The rest is being written now.
            _ => Ok(()),
        }
    }

    /// The record in a line. A file may be a copy, with a syslog header before the record.
    fn record<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        if self.is_copy { record_in(text) } else { text }
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
            if std::mem::take(&mut current.at_end) {
                current.begin_line_again()?;
                self.line.clear();
            }
            match current.read(&mut self.line) {
                Ok(()) => {}
                Err(error) if current.file.is_none() => return Err(at(&self.path, &error)),
                Err(error) => {
                    current.done = true;
                    self.line.clear();
                    let path = current.path().unwrap_or(&self.path);
                    return Ok(Look::Damage(at(path, &error).to_string()));
                }
            }
            if self.line.ends_with(b"\n") || self.line.len() as u64 >= MAX_LINE {
                current.line_begin += self.line.len() as u64;
                return Ok(Look::Line);
            }
            if current.growing {
                current.at_end = true;
                if current.is_in_place() {
                    return Ok(Look::End);
                }
                // The segment was renamed. Read once more, for lines that were written between the
                // last read and the renaming.
                current.growing = false;
                continue;
            }
            current.done = true;
            if self.is_copy && !self.line.is_empty() {
                return Ok(Look::Line);
            }
            // A failed write left the beginning of a line. The next segment has it whole.
            self.line.clear();
        }
    }

    /// Opens the next segment that wasn't read. Returns whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let read = match &self.current {
            None => None,
            Some(OpenSegment { file: None, .. }) => return Ok(false),
            Some(OpenSegment {
                file: Some((path, file)),
                ..
            }) => {
                if !segments::is_active(path) {
                    self.done.insert(segments::uncompressed(path));
                }
                // The file is still open, so no other has its identity.
                Some(inode(&file.metadata()?))
            }
        };
        let found = if self.path.is_dir() {
            self.find(read)
        } else {
            self.open_anew(read)
        };
        let found = match found {
            // The directory was put away, or a file is about to be replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => None,
            found => found.map_err(|error| at(&self.path, &error))?,
        };
        let Some((path, file)) = found else {
            return Ok(false);
        };
        let is_plain = !segments::is_compressed(&path);
        self.current = Some(OpenSegment {
            growing: segments::is_active(&path) || (path == self.path && is_plain),
            input: segments::decode(&path, file.try_clone()?)?,
            file: Some((path, file)),
            line_begin: 0,
            done: false,
            at_end: false,
        });
        Ok(true)
    }

    /// Opens the oldest segment that isn't done and isn't the one that was `read` last.
    fn find(&mut self, read: Option<Inode>) -> io::Result<Option<(PathBuf, File)>> {
        loop {
            let Some(path) = self.listed.pop_front() else {
                if !std::mem::take(&mut self.may_list) {
                    return Ok(None);
                }
                self.list()?;
                continue;
            };
            let is_active = segments::is_active(&path);
            // Use the open file: the name may lead to another segment by now.
            let opened = match self.active.take_if(|_| is_active) {
                Some(file) => Ok((path, file)),
                None => segments::open_listed(&path),
            };
            let (path, file) = match opened {
                // The segment was pruned after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if Some(inode(&file.metadata()?)) != read {
                return Ok(Some((path, file)));
            }
            // It was the active one when it was read, and has its own name now.
            if !is_active {
                self.done.insert(segments::uncompressed(&path));
            }
        }
    }

    /// Lists the segments that aren't done.
    fn list(&mut self) -> io::Result<()> {
        let (segments, active) = segments::list_held(&self.path)?;
        let paths = || segments.iter().map(|segment| &segment.path);
        let names: HashSet<_> = paths().map(|path| segments::uncompressed(path)).collect();
        self.done.retain(|name| names.contains(name));
        let fresh = paths().filter(|path| !self.done.contains(&segments::uncompressed(path)));
        self.listed = fresh.cloned().collect();
        self.active = active;
        Ok(())
    }

    /// Opens the file of this path, if it isn't the one that was `read` last.
    fn open_anew(&self, read: Option<Inode>) -> io::Result<Option<(PathBuf, File)>> {
        if fs::metadata(&self.path).is_ok_and(|file| Some(inode(&file)) != read) {
            return Ok(Some((self.path.clone(), File::open(&self.path)?)));
        }
        Ok(None)
    }
}

impl OpenSegment {
    /// Reads on to the end of a line, or of the file.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let room = MAX_LINE.saturating_sub(line.len() as u64);
        let mut input = (&mut self.input).take(room);
        while input.read_until(b'\n', line)? > 0 && !line.ends_with(b"\n") {}
        Ok(())
    }

    /// Goes back to the beginning of a line that was incomplete, because a relay that starts cuts
    /// such a line off and writes on in its place. A file that was cut further is read from its
    /// beginning.
    fn begin_line_again(&mut self) -> io::Result<()> {
        if let Some((_, file)) = &mut self.file {
            if file.metadata()?.len() < self.line_begin {
                self.line_begin = 0;
            }
            // The buffer was read to its end, so the next read begins here.
            file.seek(SeekFrom::Start(self.line_begin))?;
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Whether its path still leads to this file.
    fn is_in_place(&self) -> bool {
        let Some((path, file)) = &self.file else {
            return false;
        };
        match (fs::metadata(path), file.metadata()) {
            (Ok(named), Ok(open)) => inode(&named) == inode(&open),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
