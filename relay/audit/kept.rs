//! Keeps the lines of checkpoints beside the segments.
//!
//! When segments are pruned, these lines still lead from the first public key to the present one.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use callhome_trail::Line;
use callhome_trail::seals::{LastSeal, SEALS};

use super::files;

/// The file of kept checkpoints. A checkpoint is added once its own line in the trail is durable.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// Whether the file ends in half a line.
    torn: bool,
}

impl Kept {
    /// Opens the file, of which `last` is the end, and adds those of the trail's latest
    /// `checkpoints` that it lacks.
    ///
    /// One is missing when a crash came between a checkpoint and its copy.
    pub(super) fn open(
        directory: &Path,
        last: &LastSeal,
        checkpoints: &[Vec<u8>],
    ) -> io::Result<Self> {
        let mut kept = Self {
            path: directory.join(SEALS),
            torn: last.torn,
        };
        let line = last.line.as_deref().and_then(|line| Line::parse(line).ok());
        let last = line.map_or(0, |line| line.seq);
        for checkpoint in checkpoints {
            if Line::parse(checkpoint).is_ok_and(|line| line.seq > last) {
                kept.add(&[checkpoint.as_slice(), b"\n"].concat())?;
            }
        }
        Ok(kept)
    }

    /// Appends a line that ends in a line feed. It can be called again after a failure.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = files::append(&self.path)?;
        if self.torn {
            file.write_all(b"\n")?;
        }
        // Set before the write: a failure may leave half a line, and the next one must not be
        // joined to it.
        self.torn = true;
        file.write_all(line)?;
        self.torn = false;
        file.sync_data()
    }
}
