//! Sets the bytes aside that a crash tore off the end of the trail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use callhome_trail::Line;
use callhome_trail::segments::{self, MAX_LINE};
use jiff::Timestamp;

use super::super::{compress, files};
use super::backwards::end_of_plain;
use super::end::TrailEnd;
use super::tail::{WINDOWS, each_line};

/// Bytes that were moved away from the end of the trail.
pub(super) struct Torn {
    pub(super) file: String,
    /// The last whole record among them.
    pub(super) last: Option<TrailEnd>,
}

/// Moves the bytes after the last good record of the active segment into a `torn-…` file.
///
/// `durable` is the last record that is known to have been on the disk. A crash can't tear what was
/// there before it, so bad bytes before `durable` were changed by other means. They stay where they
/// are, for `verify` to find, and the segment is closed, so that nothing is appended to it.
///
/// Only the end from `durable` on is read. `verify` finds what was changed before it.
pub(super) fn set_torn_bytes_aside(active: &Path, durable: u64) -> io::Result<Option<Torn>> {
    let mut file = match segments::open_file(active) {
        Ok(file) => file,
        Err(error) if segments::is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let Lines { whole, changed } = Lines::of_end(&file, durable)?;
    let is_torn = length > whole;
    // A crash tears off at most `MOST_TORN` bytes. More aren't copied, because they could fill the
    // disk.
    let too_long = length - whole.min(length) > MOST_TORN;
    let torn = (is_torn && !too_long).then(|| {
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(whole))?;
        file.take(MOST_TORN).read_to_end(&mut rest)?;
        move_torn(active, whole, &rest)
    });
    let torn = torn.transpose()?;
    if changed || too_long {
        let directory = active.parent().unwrap_or(Path::new("."));
        let first = first_record(active)?.unwrap_or(durable.saturating_add(1));
        fs::rename(active, compress::free_name(directory, first))?;
        files::sync_directory(active)?;
        tracing::warn!(path = %active.display(), "the last segment of the trail was changed");
    }
    Ok(torn)
}

/// The number of the first record of a segment.
fn first_record(active: &Path) -> io::Result<Option<u64>> {
    let mut first = None;
    let mut input = segments::open(active)?;
    each_line(&mut input, |line| {
        first = Some(line.seq);
        false
    })?;
    Ok(first)
}

fn move_torn(active: &Path, whole: u64, rest: &[u8]) -> io::Result<Torn> {
    let name = format!("torn-{}.bin", Timestamp::now().as_microsecond());
    let path = active.with_file_name(&name);
    let mut file = files::create_new(&path)?;
    file.write_all(rest)?;
    file.sync_all()?;
    files::sync_directory(&path)?;
    let active = OpenOptions::new().write(true).open(active)?;
    active.set_len(whole)?;
    active.sync_all()?;
    tracing::warn!(bytes = rest.len(), kept = %path.display(), "a torn end of the trail was set aside");
    let ends = rest
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Line::parse(line).ok().map(|line| TrailEnd::of(&line)));
    Ok(Torn {
        file: name,
        last: ends
            .filter(TrailEnd::is_plausible)
            .max_by_key(|end| end.seq),
    })
}

/// The lines of the active segment.
struct Lines {
    /// Up to this byte the lines stay.
    whole: u64,
    /// Whether lines were changed that had been on the disk.
    changed: bool,
}

impl Lines {
    /// Reads the lines from the record `durable` on, or all if it isn't found.
    fn of_end(file: &File, durable: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        for window in WINDOWS {
            let (bytes, all) = end_of_plain(file, window)?;
            if all || begins_by(&bytes, durable) {
                let skipped = length - bytes.len() as u64;
                let lines = Self::read(&mut bytes.as_slice(), durable)?;
                return Ok(Self {
                    whole: skipped + lines.whole,
                    ..lines
                });
            }
        }
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        Self::read(&mut BufReader::new(file), durable)
    }

    fn read(input: &mut impl BufRead, durable: u64) -> io::Result<Self> {
        let mut lines = Self {
            whole: 0,
            changed: false,
        };
        let mut last = None;
        let mut end = 0;
        let mut line = Vec::new();
        while end - lines.whole <= MOST_TORN {
            line.clear();
            let length = input.take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                break;
            }
            end += length;
            let record = line.strip_suffix(b"\n").map(Line::parse);
            let Some(Ok(record)) = record else {
                continue;
            };
            let is_next = lines.whole + length == end;
            // This is a good record behind bad bytes. Were these bytes on the disk before record
            // `durable` was there? Then no crash tore them.
            let was_durable = last.map_or(record.seq <= durable.saturating_add(1), |last| {
                last < durable
            });
            if is_next || was_durable || lines.changed {
                lines.changed |= !is_next;
                lines.whole = end;
                last = Some(record.seq);
            }
        }
        Ok(lines)
    }
}

/// Whether the first line is a record that was on the disk at the latest with the record `durable`.
fn begins_by(bytes: &[u8], durable: u64) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.is_some_and(|line| Line::parse(line).is_ok_and(|line| line.seq <= durable))
}

/// No more bytes than this are torn off by a crash, as a trail is synced after a few MiB.
const MOST_TORN: u64 = 64 << 20;
