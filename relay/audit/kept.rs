//! The checkpoints' lines, kept beside the segments: when those are pruned, the keys can still be traced to the first.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use callhome_trail::Line;
use callhome_trail::seals::{self, SEALS};

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
        let text = seals::read(directory)?;
        let mut kept = Self {
            path: directory.join(SEALS),
            torn: !text.is_empty() && !text.ends_with(b"\n"),
        };
        let last = seals::lines(&text).last().map_or(0, |(_, line)| line.seq);
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
