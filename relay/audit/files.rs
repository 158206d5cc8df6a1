//! Small things done to files, each durable before it counts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes a directory of the trail. Those above it that are missing are nobody's secret: another user may have to pass.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Replaces a file by one that only its owner can read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o600)?;
    sync_directory(path)
}

/// Replaces a file at once: a reader, or a crash, finds the old content or the new. The directory entry isn't synced.
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

/// Writes zeros over a small file's content.
pub(super) fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len())
        .unwrap_or(0)
        .min(4096);
    file.write_all(&vec![b'0'; length])?;
    file.sync_data()
}

/// Opens a file of the trail to be written from its start.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
}

/// Makes a file of the trail that must not be there.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(MODE)
        .open(path)
}

/// Opens a file of the trail to be written at its end.
pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(MODE)
        .open(path)
}

const MODE: u32 = 0o640;
