//! Reads the lines of a trail in their order, from a directory, a file or standard input.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::segments::{self, MAX_LINE, Segment};
use crate::span::TimeSpan;

/// Reads line after line, and ends where the trail ends now; it doesn't follow.
///
/// A relay may prune segments while they are read. So the next ones are held open, and a reader
/// that is slower than the pruning by more than these gets an error.
pub struct Reader {
    /// The files that come behind those that are held open.
    files: VecDeque<PathBuf>,
    /// The next files, open or with the error of opening them.
    held: VecDeque<(PathBuf, io::Result<File>)>,
    /// The segment being written. It is opened at the start, because a relay may rename it before
    /// its turn comes.
    active: Option<File>,
    current: Option<OpenFile>,
    line: Vec<u8>,
    size: u64,
    read: Arc<AtomicU64>,
    /// Whether the lines come from a file, which may be the copy of a syslog server.
    is_copy: bool,
}

/// The file of a line, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub file: PathBuf,
    /// The number, counted from 1.
    pub line: u64,
}

/// A line without its line feed and, in a copy, without the syslog header before the record.
#[derive(Debug)]
pub struct RawLine<'a> {
    pub place: Place,
    pub bytes: &'a [u8],
    /// False for a last line that has no line feed yet.
    pub whole: bool,
}

struct OpenFile {
    place: Place,
    input: Box<dyn BufRead + Send>,
}

/// Counts the bytes that are read from a file, before they are decompressed.
struct CountedRead<R>(R, Arc<AtomicU64>);

impl Reader {
    /// Opens a directory of segments, a file, or standard input for `-`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_part(path, |segments| segments)
    }

    /// Opens a directory at the segment that has a record, or at its beginning if none is known to.
    pub fn open_from(path: &Path, seq: u64) -> io::Result<Self> {
        Self::open_part(path, |mut segments| {
            let begin = segments.iter().rposition(|it| it.first <= seq);
            segments.drain(..begin.unwrap_or(0));
            segments
        })
    }

    /// Opens what may have records of a span. A directory's segments that have none are left out.
    pub fn open_within(path: &Path, span: &TimeSpan) -> io::Result<Self> {
        Self::open_part(path, |segments| span.split(segments).0)
    }

    /// Opens the segments that are chosen from those of a directory. Anything else is opened whole.
    fn open_part(path: &Path, choose: impl Fn(Vec<Segment>) -> Vec<Segment>) -> io::Result<Self> {
        let mut reader = Self {
            files: VecDeque::new(),
            held: VecDeque::new(),
            active: None,
            current: None,
            line: Vec::new(),
            size: 0,
            read: Arc::default(),
            is_copy: !path.is_dir(),
        };
        if path == Path::new("-") {
            reader.current = Some(OpenFile {
                place: Place {
                    file: "standard input".into(),
                    line: 0,
                },
                input: Box::new(BufReader::new(io::stdin())),
            });
        } else if path.is_dir() {
            reader.take_directory(path, choose)?;
        } else {
            reader.size = path.metadata().map_err(|error| at(path, &error))?.len();
            reader.files.push_back(path.to_owned());
        }
        Ok(reader)
    }

    /// Lists the segments and opens the one being written, so that both are of the same moment.
    fn take_directory(
        &mut self,
        directory: &Path,
        choose: impl Fn(Vec<Segment>) -> Vec<Segment>,
    ) -> io::Result<()> {
        for _ in 0..MAX_TRIES {
            let (segments, active) =
                segments::list_held(directory).map_err(|error| at(directory, &error))?;
            let segments = choose(segments);
            self.active = active;
            self.size = segments.iter().map(|segment| segment.size).sum();
            self.files = segments.into_iter().map(|segment| segment.path).collect();
            self.held.clear();
            self.hold();
            // One that was pruned between the list and now would be a hole.
            let mut errors = self.held.iter().filter_map(|(_, held)| held.as_ref().err());
            if !errors.any(|error| error.kind() == io::ErrorKind::NotFound) {
                break;
            }
        }
        Ok(())
    }

    /// Opens the next files, so that they can be read when they are pruned before their turn.
    fn hold(&mut self) {
        while self.held.len() < HELD {
            let Some(path) = self.files.pop_front() else {
                return;
            };
            let active = self.active.take_if(|_| segments::is_active(&path));
            let held = match active {
                Some(file) => (path, Ok(file)),
                None => match segments::open_listed(&path) {
                    Ok((path, file)) => (path, Ok(file)),
                    Err(error) => (path, Err(error)),
                },
            };
            self.held.push_back(held);
        }
    }

    /// Leaves out the rest of the present file, for example because it is damaged.
    pub fn skip_file(&mut self) {
        self.current = None;
    }

    /// The place of the next line in the present file, or none if no file is open.
    pub fn place(&self) -> Option<Place> {
        let place = &self.current.as_ref()?.place;
        Some(Place {
            file: place.file.clone(),
            line: place.line + 1,
        })
    }

    /// The bytes of all files on the disk, 0 for standard input.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many of these bytes have been read.
    pub fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Reads the next line. Returns none at the end.
    ///
    /// A line longer than [`MAX_LINE`] comes in pieces, none of which is a record. Otherwise a file
    /// could fill the memory.
    pub fn next_line(&mut self) -> io::Result<Option<RawLine<'_>>> {
        loop {
            if self.current.is_none() {
                self.hold();
                let Some((path, file)) = self.held.pop_front() else {
                    return Ok(None);
                };
                let input = file
                    .and_then(|file| segments::decode(&path, CountedRead(file, self.read.clone())))
                    .map_err(|error| at(&path, &error))?;
                self.current = Some(OpenFile {
                    place: Place {
                        file: path,
                        line: 0,
                    },
                    input,
                });
            }
            let Some(current) = &mut self.current else {
                return Ok(None);
            };
            self.line.clear();
            let length = (&mut current.input)
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)
                .map_err(|error| at(&current.place.file, &error))?;
            if length == 0 {
                self.current = None;
                continue;
            }
            current.place.line += 1;
            let whole = self.line.pop_if(|byte| *byte == b'\n').is_some();
            return Ok(Some(RawLine {
                place: current.place.clone(),
                bytes: if self.is_copy {
                    record_in(&self.line)
                } else {
                    &self.line
                },
                whole,
            }));
        }
    }
}

impl<R: Read> Read for CountedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("files", &self.files)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Finds the record in a line of a copy: behind the header that syslog writes, and before a
/// carriage return that a program of Windows has put at the line's end.
pub(crate) fn record_in(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let start = bytes
        .windows(START.len())
        .position(|window| window == START);
    &bytes[start.unwrap_or(0)..]
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// How many segments are held open at a time. A process may have 1,024 open files.
const HELD: usize = 64;
/// How often a directory is listed again that is pruned before its oldest segments are open.
const MAX_TRIES: usize = 100;
const START: &[u8] = b"{\"v\":1,\"trail\":";
