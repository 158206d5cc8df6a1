//! Gives the trail to the account that the relay runs as.
//!
//! A relay that is started as root makes the trail for the account that it becomes. It also hands
//! over a trail that it made earlier while it ran as root.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};

use super::files;

/// Makes the directory if it is missing, and gives it to `owner`.
///
/// A directory that was there is given away only when it is root's and holds nothing but a trail.
/// Any other directory may be shared with another program.
pub(super) fn make_directory(path: &Path, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    let is_new = !path.try_exists()?;
    files::make_directory(path)?;
    let Some(owner) = owner else {
        return Ok(());
    };
    let directory = open_at(path, OFlags::DIRECTORY)?;
    if directory.metadata()?.uid() != 0 {
        return Ok(());
    }
    let names = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    let is_trail = !names.is_empty() && names.iter().all(|name| name.to_str().is_some_and(is_ours));
    if !is_new && !is_trail {
        return Ok(());
    }
    for name in names {
        let file = open_at(&path.join(name), OFlags::NOFOLLOW)?;
        let metadata = file.metadata()?;
        // A file with a second hard link is left alone: its other name may be outside the trail.
        if metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == 0 {
            give(&file, owner)?;
        }
    }
    give(&directory, owner)
}

/// Whether the relay makes files of this name in the directory.
fn is_ours(name: &str) -> bool {
    [
        "access",
        "seal",
        "torn-",
        "head.json",
        "ship.json",
        "lock",
        "reserve",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

fn open_at(path: &Path, flags: OFlags) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe or a device that lies there would hold up the start.
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = open(path, flags, Mode::empty());
    let opened = opened.map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })?;
    Ok(File::from(opened))
}

fn give(file: impl AsFd, (user, group): (Uid, Gid)) -> io::Result<()> {
    Ok(fchown(file, Some(user), Some(group))?)
}
