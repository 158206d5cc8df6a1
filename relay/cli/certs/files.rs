//! Files that appear whole or not at all, and never in another's place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Refused;

/// One to be written.
pub(super) struct NewFile {
    pub(super) name: String,
    /// For a person, in a few words.
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

/// Writes all of them in this order; or none, where one is there already or can't be written.
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
    let mut written = Written(Vec::new());
    for file in files {
        let path = directory.join(&file.name);
        match create(&path, file) {
            Ok(()) => written.0.push(path),
            // Another run came in between.
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

/// What this run has written, removed again unless all of it was.
struct Written(Vec<PathBuf>);

impl Drop for Written {
    fn drop(&mut self) {
        for path in &self.0 {
            // What led here is the better thing to tell.
            let _ = fs::remove_file(path);
        }
    }
}

/// Gives the content its name when it is whole. Linking, unlike renaming, fails where the name is taken.
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
