//! The lines of checkpoints that a directory keeps beside its segments.
//!
//! When segments are pruned, these lines still lead from the first key to the present one.

use std::fs;
use std::io;
use std::path::Path;

use crate::chain::Line;

/// Reads the file. Returns an empty text if there is none.
pub fn read(directory: &Path) -> io::Result<Vec<u8>> {
    match fs::read(directory.join(SEALS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The whole lines, with their numbers.
///
/// A line that a crash tore, or that was changed, is left out. The keys then don't follow one
/// another, so a proof finds it.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (u64, Line<'_>)> {
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter_map(|(number, bytes)| Some((number, Line::parse(bytes).ok()?)))
}

/// The name of the file.
pub const SEALS: &str = "seals.jsonl";
