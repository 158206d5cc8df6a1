//! The file by which somebody confirms that the clock is right: `audit clock --confirm` writes it
//! into the trail's directory, and the writer takes it.
//!
//! A file reaches a relay that runs, and one that starts later. It needs no port and no token: only
//! who may write in the directory can lay it there.

use std::fs::{self, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use callhome_trail::segments;

use super::files;

/// Confirms the jumps of a directory's trail up to the record `to`.
pub fn confirm_clock(directory: &Path, to: u64) -> io::Result<()> {
    // Readable by every user, because the relay's may be another than this one. A number is no
    // secret.
    let path = directory.join(FILE);
    files::replace(&path, to.to_string().as_bytes(), 0o644)?;
    // Not every umask leaves the mode as it is.
    fs::set_permissions(&path, Permissions::from_mode(0o644))
}

/// Reads the record up to which jumps are confirmed. A file that has no number confirms nothing.
pub(super) fn read(path: &Path) -> Option<u64> {
    let file = segments::open_file(path).ok()?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim().parse().unwrap_or(0))
}

/// The name of the file.
pub(super) const FILE: &str = "clock.confirm";
/// No number is longer.
const LONGEST: u64 = 64;
