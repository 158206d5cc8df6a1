//! Reads segments from the end of the trail, so that a start doesn't read what lies before.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use callhome_trail::segments::{self, Segment};

/// The end of a segment, from the beginning of a line on.
pub(super) struct SegmentPart {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// Reads the last `window` bytes of the trail, or a few more. Returns them with the newest first,
/// and whether they are all that there is.
pub(super) fn last_parts(
    segments: &[Segment],
    mut window: u64,
) -> io::Result<(Vec<SegmentPart>, bool)> {
    let mut parts = Vec::new();
    for segment in segments.iter().rev() {
        let (bytes, whole) = if segments::is_compressed(&segment.path) {
            end_of_compressed(segment, window)?
        } else {
            end_of_plain(&segments::open_file(&segment.path)?, window)?
        };
        window = window.saturating_sub(bytes.len() as u64);
        parts.push(SegmentPart {
            path: segment.path.clone(),
            bytes,
        });
        if !whole || window == 0 {
            let all = whole && parts.len() == segments.len();
            return Ok((parts, all));
        }
    }
    Ok((parts, true))
}

/// The last bytes of a file, from the beginning of a line on, and whether they are all of it.
pub(super) fn end_of_plain(mut file: &File, window: u64) -> io::Result<(Vec<u8>, bool)> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(window);
    // The byte before tells whether a line begins here.
    file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length - start).unwrap_or(0) + 1);
    file.take(length - start + 1).read_to_end(&mut bytes)?;
    if start > 0 {
        cut_to_line(&mut bytes, 0);
    }
    Ok((bytes, start == 0))
}

/// A compressed segment can only be read from its beginning, so its lines aren't parsed.
fn end_of_compressed(segment: &Segment, window: u64) -> io::Result<(Vec<u8>, bool)> {
    let window = usize::try_from(window).unwrap_or(usize::MAX);
    let mut input = segments::open(&segment.path)?;
    let mut bytes = Vec::new();
    let mut whole = true;
    loop {
        let block = input.fill_buf()?;
        let length = block.len();
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(block);
        input.consume(length);
        // Cut rarely, because each cut moves the rest.
        if bytes.len() / 2 > window {
            bytes.drain(..bytes.len() - window);
            whole = false;
        }
    }
    if bytes.len() > window {
        let from = bytes.len() - window;
        cut_to_line(&mut bytes, from - 1);
        whole = false;
    } else if !whole {
        cut_to_line(&mut bytes, 0);
    }
    Ok((bytes, whole))
}

/// Cuts off everything before the first line that begins behind the byte `from`.
fn cut_to_line(bytes: &mut Vec<u8>, from: usize) {
    let line = bytes[from..].iter().position(|byte| *byte == b'\n');
    bytes.drain(..line.map_or(bytes.len(), |at| from + at + 1));
}
