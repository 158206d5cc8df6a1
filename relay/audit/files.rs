//! Small steps with files of the trail: making, replacing, overwriting, syncing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes a directory of the trail, which only its owner and group can enter.
///
/// Missing directories above it get the usual mode, because another user may have to pass through
/// them.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Replaces a file by one that only its owner can read, and makes that durable.
pub(super) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o600)?;
    sync_directory(path)
}

/// Replaces a file in one step: a reader, or a crash, finds either the old content or the new.
///
/// The directory entry isn't synced, so after a crash the old content may be back.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(temporary, path)
}

/// Makes the entry of `path` in its directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Overwrites a small file with the digit 0, so that the file of a key still reads as a key after a
/// crash.
pub(super) fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len())
        .unwrap_or(0)
        .min(4096);
    file.write_all(&vec![b'0'; length])?;
    file.sync_data()
}

/// Opens a file of the trail, empties it, and creates it if it is missing.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
}

/// Creates a file of the trail, and fails if there is one of that name.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(MODE)
        .open(path)
}

/// Opens a file of the trail to append to it, and creates it if it is missing.
pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(MODE)
        .open(path)
}

const MODE: u32 = 0o640;
