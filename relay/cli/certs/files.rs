//! Writes files that appear whole or not at all, and never overwrites one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::exit::Refused;

/// A file to be written.
pub(super) struct NewFile {
    pub(super) name: String,
    /// Describes the file to a person, in a few words.
    pub(super) what: String,
    content: String,
    mode: u32,
}

impl NewFile {
    pub(super) fn key(name: String, what: String, pem: String) -> Self {
        Self {
            name,
            what,
            content: pem,
            mode: 0o600,
        }
    }

    pub(super) fn certificate(name: String, what: String, pem: String) -> Self {
        Self {
            name,
            what,
            content: pem,
            mode: 0o644,
        }
    }
}

/// Writes all files, in this order. Writes none if one is there already or can't be written.
pub(super) fn write(directory: &Path, files: &[NewFile]) -> anyhow::Result<()> {
    let there = files.iter().map(|file| directory.join(&file.name));
    if let Some(path) = there
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        return Err(is_there(&path).into());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| directory.display().to_string())?;
    let mut written = Rollback(Vec::new());
    for file in files {
        let path = directory.join(&file.name);
        match create(&path, file) {
            Ok(()) => written.0.push(path),
            // Another run has made the file since the check above.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(is_there(&path).into());
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| directory.display().to_string())?;
    written.0.clear();
    Ok(())
}

/// Lists the files that this run has written. Dropping the value removes them, so that a failed run
/// leaves nothing behind.
struct Rollback(Vec<PathBuf>);

impl Drop for Rollback {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes under a temporary name, then links the file to its own name. A link fails where the name
/// is taken; a rename would overwrite.
fn create(path: &Path, file: &NewFile) -> io::Result<()> {
    let temporary = path.with_file_name(format!(".{}.{}", file.name, std::process::id()));
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(file.mode);
    let mut open = options.open(&temporary)?;
    let created = open
        .write_all(file.content.as_bytes())
        .and_then(|()| open.sync_all())
        .and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary)?;
    created
}

fn is_there(path: &Path) -> Refused {
    Refused(format!(
        "{} is there already, and nothing is overwritten: move it away, or choose another directory",
        path.display()
    ))
}
