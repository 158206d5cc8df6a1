//! The lines of checkpoints that a directory keeps beside its segments.
//!
//! When segments are pruned, these lines still lead from the first key to the present one.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use crate::chain::Line;
use crate::segments::{MAX_DAMAGED, MAX_LINE, is_absent, open_file};

/// Reads the file line by line, as far as it reaches when it is opened. It grows for years, so it
/// is never in memory as a whole.
#[derive(Debug)]
pub struct SealReader {
    input: BufReader<io::Take<File>>,
    number: u64,
    line: Vec<u8>,
}

impl SealReader {
    /// Opens the file of a directory. Returns none if it is missing.
    ///
    /// # Errors
    ///
    /// The file is there and can't be opened.
    pub fn open(directory: &Path) -> io::Result<Option<Self>> {
        let Some((file, length)) = open(directory)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            input: BufReader::new(file.take(length)),
            number: 0,
            line: Vec::new(),
        }))
    }

    /// The next checkpoint, with the number of its line. Returns none at the end.
    ///
    /// A line that a crash tore, or that was changed, is left out. The keys then don't follow one
    /// another, so a proof finds it. The file ends where too many of them are in a row.
    ///
    /// # Errors
    ///
    /// The disk doesn't give the file.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        for _ in 0..MAX_DAMAGED {
            self.line.clear();
            let length = (&mut self.input)
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)?;
            self.number += 1;
            if length == 0 || Line::parse(trimmed(&self.line)).is_ok() {
                break;
            }
        }
        // Parsed again, because a borrow can't leave the loop on one of its ways only.
        let line = Line::parse(trimmed(&self.line));
        Ok(line.ok().map(|line| (self.number, line)))
    }
}

/// The end of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastSeal {
    /// The last line that is a record, without its line feed.
    pub line: Option<Vec<u8>>,
    /// Whether the file ends in half a line.
    pub torn: bool,
}

/// Reads the file of a directory from its end, back to the last line that is a record.
///
/// # Errors
///
/// The disk doesn't give the file.
pub fn last(directory: &Path) -> io::Result<LastSeal> {
    let Some((mut file, length)) = open(directory)? else {
        return Ok(LastSeal::default());
    };
    let mut tail = Vec::new();
    let mut start = length;
    loop {
        let step = start.min(STEP);
        start -= step;
        let mut block = vec![0; usize::try_from(step).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        tail = block;
        // The first piece may be half a line, unless the file begins with it.
        let whole = if start == 0 {
            Some(0)
        } else {
            tail.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
        };
        let lines = whole.map_or(&[][..], |at| &tail[at..]);
        let line = lines
            .split(|byte| *byte == b'\n')
            .rfind(|line| Line::parse(line).is_ok());
        if line.is_some() || start == 0 || length - start >= FARTHEST {
            return Ok(LastSeal {
                line: line.map(<[u8]>::to_vec),
                torn: tail.last().is_some_and(|byte| *byte != b'\n'),
            });
        }
    }
}

fn open(directory: &Path) -> io::Result<Option<(File, u64)>> {
    match open_file(&directory.join(SEALS)) {
        Ok(file) => {
            let length = file.metadata()?.len();
            Ok(Some((file, length)))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// The name of the file.
pub const SEALS: &str = "seals.jsonl";
/// A relay puts a checkpoint at the latest behind this number of records.
pub const EVERY: u64 = 10_000;
const STEP: u64 = 64 * 1024;
/// How far back from the end a record is looked for. A crash leaves no more than a line there, so
/// more than this is somebody's doing, and must not hold up a start.
const FARTHEST: u64 = 16 * MAX_LINE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;

    #[test]
    fn the_last_line_is_found_behind_torn_and_long_ones() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(last(directory.path()).unwrap(), LastSeal::default());
        let mut chain = Chain::new("t".into());
        let mut text = Vec::new();
        for _ in 0..300 {
            let members = format!("\"event\":\"checkpoint\",\"data\":\"{}\"", "x".repeat(700));
            chain.append(jiff::Timestamp::UNIX_EPOCH, members.as_bytes(), &mut text);
        }
        let path = directory.path().join(SEALS);
        for (more, torn) in [(&b""[..], false), (&b"{\"v\":1,\"trail"[..], true)] {
            let mut text = text.clone();
            text.extend_from_slice(more);
            std::fs::write(&path, &text).unwrap();
            let found = last(directory.path()).unwrap();
            assert_eq!(found.torn, torn);
            assert_eq!(Line::parse(&found.line.unwrap()).unwrap().seq, 300);
        }
        text.extend(vec![b'y'; 200_000]);
        std::fs::write(&path, &text).unwrap();
        let found = last(directory.path()).unwrap();
        assert_eq!(Line::parse(&found.line.unwrap()).unwrap().seq, 300);
        let mut reader = SealReader::open(directory.path()).unwrap().unwrap();
        let mut count = 0;
        while reader.next_line().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 300);
    }
}
