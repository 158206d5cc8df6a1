//! The checkpoints' lines, kept beside the segments: when those are pruned, the keys can still be traced to the first.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::chain::Line;
use super::files;

/// The file of kept checkpoints. Each comes after its own line in the trail is durable.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// It ends in half a line.
    torn: bool,
}

impl Kept {
    /// Opens the file, and makes good what a crash between a checkpoint and its copy left out. `checkpoints` are the trail's
    /// latest.
    pub(super) fn open(directory: &Path, checkpoints: &[Vec<u8>]) -> io::Result<Self> {
        let text = read(directory)?;
        let mut kept = Self {
            path: directory.join(SEALS),
            torn: !text.is_empty() && !text.ends_with(b"\n"),
        };
        let last = lines(&text).last().map_or(0, |(_, line)| line.seq);
        for checkpoint in checkpoints {
            if Line::parse(checkpoint).is_ok_and(|line| line.seq > last) {
                kept.add(&[checkpoint.as_slice(), b"\n"].concat())?;
            }
        }
        Ok(kept)
    }

    /// Appends a line, which ends in a line feed. After a failure it can be repeated.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = files::append(&self.path)?;
        if self.torn {
            file.write_all(b"\n")?;
        }
        self.torn = true;
        file.write_all(line)?;
        self.torn = false;
        file.sync_data()
    }
}

/// The file's content, empty where there is none.
pub(super) fn read(directory: &Path) -> io::Result<Vec<u8>> {
    match fs::read(directory.join(SEALS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The whole lines, with their numbers. One that a crash tore, or that was changed, is left out: the next key doesn't follow.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, Line<'_>)> {
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter_map(|(number, bytes)| Some((number, Line::parse(bytes).ok()?)))
}

pub(super) const SEALS: &str = "seals.jsonl";
