//! Sets the bytes aside that a crash tore off the end of the trail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use callhome_trail::Line;
use callhome_trail::segments::{self, MAX_LINE};
use jiff::Timestamp;

use super::super::{compress, files};
use super::end::TrailEnd;

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
pub(super) fn set_torn_bytes_aside(active: &Path, durable: u64) -> io::Result<Option<Torn>> {
    let mut file = match segments::open_file(active) {
        Ok(file) => file,
        Err(error) if segments::is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let Lines {
        first,
        whole,
        changed,
    } = Lines::read(&file, durable)?;
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
        let first = first.unwrap_or(durable.saturating_add(1));
        fs::rename(active, compress::free_name(directory, first))?;
        files::sync_directory(active)?;
        tracing::warn!(path = %active.display(), "the last segment of the trail was changed");
    }
    Ok(torn)
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
    /// The number of the first record.
    first: Option<u64>,
    /// Up to this byte the lines stay.
    whole: u64,
    /// Whether lines were changed that had been on the disk.
    changed: bool,
}

impl Lines {
    fn read(file: &File, durable: u64) -> io::Result<Self> {
        let mut input = BufReader::new(file);
        let mut lines = Self {
            first: None,
            whole: 0,
            changed: false,
        };
        let mut last = None;
        let mut end = 0;
        let mut line = Vec::new();
        while end - lines.whole <= MOST_TORN {
            line.clear();
            let length = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                break;
            }
            end += length;
            let record = line.strip_suffix(b"\n").map(Line::parse);
            let Some(Ok(record)) = record else {
                continue;
            };
            lines.first.get_or_insert(record.seq);
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

/// No more bytes than this are torn off by a crash, as a trail is synced after a few MiB.
const MOST_TORN: u64 = 64 << 20;
