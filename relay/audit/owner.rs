//! Whose the trail is. A relay that is started as root makes it for the account that it becomes, and gives a trail away that it
//! once made as root.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};

use super::files;

/// Makes the directory, unless it is there. With an owner, one that is made just now is theirs; so is one of root's in which
/// nothing lies but a trail: nobody else made that.
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
        // Another name of it may lie where it is nobody's trail.
        if metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == 0 {
            give(&file, owner)?;
        }
    }
    give(&directory, owner)
}

/// The names of all files that the relay makes in the directory.
fn is_ours(name: &str) -> bool {
    ["access", "seal", "torn-", "head.json", "ship.json", "lock"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn open_at(path: &Path, flags: OFlags) -> io::Result<File> {
    // Neither a pipe nor a device holds the start up.
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
