//! Keeps room on the disk, so that a full disk can still be pruned.
//!
//! A pruning is recorded and sealed before a segment is deleted. On a full disk there is no room
//! for that record. So a file of this room lies in the directory, and is deleted first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::super::files;

/// The file that keeps the room.
#[derive(Clone, Debug)]
pub(in crate::audit) struct Reserve {
    path: PathBuf,
    size: u64,
}

impl Reserve {
    /// The reserve of a directory whose trail may take `max_size` bytes. Nothing is written yet.
    pub(in crate::audit) fn new(directory: &Path, max_size: u64) -> Self {
        Self {
            path: directory.join(NAME),
            size: SIZE.min(max_size / SHARE),
        }
    }

    /// The bytes that it takes on the disk now.
    pub(super) fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }

    /// Makes the file where it is missing and the disk has room for more than that.
    pub(super) fn restore(&self) {
        if self.length() == self.size || !self.has_room() {
            return;
        }
        if let Err(error) = self.make() {
            tracing::debug!(%error, "no room can be kept for pruning the audit trail");
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Gives the room back. Returns whether there was any.
    pub(in crate::audit) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    fn has_room(&self) -> bool {
        let free = |it: rustix::fs::StatVfs| it.f_bavail.saturating_mul(it.f_frsize);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        statvfs(directory).is_ok_and(|it| free(it) / ROOM >= self.size)
    }

    fn make(&self) -> io::Result<()> {
        let file = files::create(&self.path)?;
        // A file system without `fallocate` keeps no room. The trail works there as it would
        // without a reserve.
        Ok(fallocate(&file, FallocateFlags::empty(), 0, self.size)?)
    }
}

/// Whether an error says that the disk has no room.
pub(in crate::audit) fn is_no_room(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded
}

const NAME: &str = "reserve";
const SIZE: u64 = 16 << 20;
/// A small trail gets a small reserve: this part of `max_size`.
const SHARE: u64 = 16;
/// The file is made only where this many of it have room, so that it isn't what fills the disk.
const ROOM: u64 = 4;
