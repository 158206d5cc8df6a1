//! The witness: records of the trail that were kept elsewhere.
//!
//! A witness may be as long as the trail, hold several trails and repeat what was sent again, so it
//! is never in memory as a whole. It is read once to note where which numbers are, and then a
//! stretch of numbers at a time, when the trail comes to them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::chain::Line;
use crate::hash::Hash;
use crate::reader::{Reader, record_in};
use crate::segments::{self, MAX_LINE};

/// A file of records, perhaps of several trails, and the stretch of it that is in memory.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    /// The trail that is being compared. None before its first record.
    trail: Option<Box<str>>,
    /// What the witness has of this trail, by stretch.
    stretches: BTreeMap<u64, Stretch>,
    /// The stretch in memory.
    at: Option<u64>,
    records: HashMap<u64, Kept>,
    /// The first record of the trail that was compared, or could have been.
    first: u64,
    compared: u64,
    /// The first record that the witness has and the trail lacks.
    lacking: Option<u64>,
}

/// The numbers of one stretch that the witness has, and the bytes of the file among which they are.
#[derive(Clone, Debug)]
struct Stretch {
    first: u64,
    last: u64,
    bytes: Range<u64>,
}

/// What the witness has under one number.
#[derive(Clone, Copy, Debug)]
enum Kept {
    One(Hash),
    /// Two different records.
    Two,
}

impl Witness {
    /// Opens a file of records, which may have other lines between them.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let is_stream = |it: Metadata| !it.is_file() && !it.is_dir();
        if path == Path::new("-") || path.metadata().is_ok_and(is_stream) {
            let message =
                "a witness is read more than once: name a file, not standard input or a pipe";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut has_any = false;
        scan(path, 0..u64::MAX, |_, line| {
            has_any = Line::parse(line).is_ok();
            !has_any
        })?;
        if !has_any {
            let message = format!("{}: there is no record in the witness", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self {
            path: path.to_owned(),
            trail: None,
            stretches: BTreeMap::new(),
            at: None,
            records: HashMap::new(),
            first: 0,
            compared: 0,
            lacking: None,
        })
    }

    /// Checks that the witness has no other record under the number of this one.
    pub(super) fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        if self.trail.is_none() {
            self.index(&line.trail).map_err(|error| error.to_string())?;
            self.first = line.seq;
        }
        let stretch = line.seq / STRETCH;
        if self.at != Some(stretch) {
            self.go_to(stretch).map_err(|error| error.to_string())?;
        }
        match self.records.remove(&line.seq) {
            Some(Kept::One(hash)) if hash == line.hash => self.compared += 1,
            Some(Kept::One(_)) => {
                return Err("the witness kept another record under this number".into());
            }
            Some(Kept::Two) => return Err("the witness kept two records under this number".into()),
            None => {}
        }
        Ok(())
    }

    /// How many records of the trail the witness has too.
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    /// The first and the last record that the witness has from before the trail's first one.
    pub(super) fn before(&self) -> Option<(u64, u64)> {
        let first = self.stretches.values().next()?.first;
        (first < self.first).then(|| (first, self.first - 1))
    }

    /// How the witness contradicts a trail that was read to its end, if it does.
    pub(super) fn contradicts(&mut self) -> Option<String> {
        self.leave(u64::MAX);
        if let Some(seq) = self.lacking {
            return Some(format!(
                "the witness has record {seq}, and the trail doesn't"
            ));
        }
        // The witness is of another trail, or of records that were pruned since.
        (self.compared == 0).then(|| "the witness has none of the trail's records".into())
    }

    /// Notes where the witness has which numbers of this trail.
    fn index(&mut self, trail: &str) -> io::Result<()> {
        self.trail = Some(trail.into());
        let stretches = &mut self.stretches;
        scan(&self.path, 0..u64::MAX, |bytes, line| {
            if let Some(seq) = number_of(line, trail) {
                let stretch = stretches.entry(seq / STRETCH).or_insert(Stretch {
                    first: seq,
                    last: seq,
                    bytes: bytes.clone(),
                });
                stretch.first = stretch.first.min(seq);
                stretch.last = stretch.last.max(seq);
                stretch.bytes.end = bytes.end;
            }
            true
        })
    }

    /// Reads a stretch into memory. The trail is done with those before it.
    fn go_to(&mut self, stretch: u64) -> io::Result<()> {
        self.leave(stretch);
        self.at = Some(stretch);
        let Some(known) = self.stretches.get(&stretch) else {
            return Ok(());
        };
        let (records, trail) = (&mut self.records, self.trail.as_deref());
        scan(&self.path, known.bytes.clone(), |_, bytes| {
            // A shuffled witness is read once a stretch, so look at the number before the hash.
            let seq = trail.and_then(|trail| number_of(bytes, trail));
            if seq.is_some_and(|seq| seq / STRETCH == stretch)
                && let Ok(line) = Line::parse(bytes)
                && trail == Some(&*line.trail)
                && seq == Some(line.seq)
            {
                records
                    .entry(line.seq)
                    .and_modify(|kept| {
                        if !matches!(kept, Kept::One(hash) if *hash == line.hash) {
                            *kept = Kept::Two;
                        }
                    })
                    .or_insert(Kept::One(line.hash));
            }
            true
        })
    }

    /// Notes which records before stretch `next` the trail didn't have.
    fn leave(&mut self, next: u64) {
        let first = self.first;
        let left = self.records.drain().map(|(seq, _)| seq);
        let left = left.filter(|seq| *seq >= first).min();
        let from = self.at.map_or(first / STRETCH, |at| at.saturating_add(1));
        let passed = self
            .stretches
            .range(from..next.max(from))
            .map(|(_, stretch)| stretch)
            .find(|stretch| stretch.last >= first)
            .map(|stretch| stretch.first.max(first));
        let lacking = [self.lacking, left, passed];
        self.lacking = lacking.into_iter().flatten().min();
    }
}

/// Calls `take` with each line of the file and its bytes' place, as far as the line begins within
/// `range`, until it returns false. A compressed file or a directory has no places, so there the
/// range means nothing.
fn scan(
    path: &Path,
    range: Range<u64>,
    mut take: impl FnMut(Range<u64>, &[u8]) -> bool,
) -> io::Result<()> {
    if path.is_dir() || segments::is_compressed(path) {
        let mut reader = Reader::open(path)?;
        while let Some(line) = reader.next_line()? {
            if !take(0..u64::MAX, record_in(line.bytes)) {
                break;
            }
        }
        return Ok(());
    }
    let at =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(at)?;
    file.seek(SeekFrom::Start(range.start)).map_err(at)?;
    let mut input = BufReader::with_capacity(BUFFER, file);
    let mut line = Vec::new();
    let mut begin = range.start;
    while begin < range.end {
        line.clear();
        let mut bounded = (&mut input).take(MAX_LINE);
        let length = bounded.read_until(b'\n', &mut line).map_err(at)? as u64;
        if length == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if !take(begin..begin + length, record_in(text)) {
            break;
        }
        begin += length;
    }
    Ok(())
}

/// The number in a line that a relay wrote for this trail, without a look at the rest of it.
fn number_of(line: &[u8], trail: &str) -> Option<u64> {
    let rest = line
        .strip_prefix(b"{\"v\":1,\"trail\":\"")?
        .strip_prefix(trail.as_bytes())?
        .strip_prefix(b"\",\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// How many numbers are in memory at a time.
const STRETCH: u64 = 64 * 1024;
const BUFFER: usize = 256 * 1024;
