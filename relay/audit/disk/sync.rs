//! Makes written lines durable, and then what follows from them: the head, and the exchange of a
//! checkpoint's key.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callhome_trail::Head;
use callhome_trail::segments::{ACTIVE, Segment};

use super::super::files;
use super::DiskWorker;
use super::vault::{OnItsWay, Signer};

/// What is to be made durable.
#[derive(Debug)]
pub(in crate::audit) struct SyncJob {
    /// The files that hold the lines, the older one first.
    pub(in crate::audit) files: Vec<SyncFile>,
    /// False where the option `sync` leaves it to the kernel.
    pub(in crate::audit) durable: bool,
    /// Segments that were closed after a failure. Their lines are durable.
    pub(in crate::audit) adopted: Vec<Segment>,
    /// The end of the trail with these lines.
    pub(in crate::audit) head: Head,
    /// Whether the head is to be saved, also where no checkpoint asks for it.
    pub(in crate::audit) save_head: bool,
    /// The checkpoint among the lines.
    pub(in crate::audit) checkpoint: Option<OnItsWay>,
}

/// A file of a [`SyncJob`].
#[derive(Debug)]
pub(in crate::audit) struct SyncFile {
    pub(in crate::audit) file: Arc<File>,
    /// Whether its name in the directory isn't durable yet.
    pub(in crate::audit) is_new: bool,
    /// The segment, if it is closed and nothing more is written to it.
    pub(in crate::audit) closed: Option<Segment>,
}

/// What came of a [`SyncJob`].
#[derive(Debug)]
pub(in crate::audit) struct Synced {
    /// Whether the lines are durable.
    pub(in crate::audit) lines: io::Result<()>,
    /// What followed from them. It isn't tried where they aren't durable.
    pub(in crate::audit) rest: io::Result<Followed>,
}

/// What was done after the lines were durable.
#[derive(Debug, Default)]
pub(in crate::audit) struct Followed {
    /// The key for the next checkpoint, once the last one is durable.
    pub(in crate::audit) signer: Option<Signer>,
    pub(in crate::audit) is_head_saved: bool,
}

impl DiskWorker {
    pub(super) fn sync(&mut self, job: SyncJob) -> Synced {
        self.closed.adopt(job.adopted);
        if let Some(checkpoint) = job.checkpoint {
            self.vault.expect(checkpoint);
        }
        let lines = sync_files(&self.directory, &job.files, job.durable);
        let rest = match lines {
            Ok(()) => {
                let closed = job.files.into_iter().filter_map(|file| file.closed);
                self.closed.adopt(closed.collect());
                self.follow(&job.head, job.save_head)
            }
            Err(_) => Ok(Followed::default()),
        };
        Synced { lines, rest }
    }

    fn follow(&mut self, head: &Head, save_head: bool) -> io::Result<Followed> {
        if let Some(signer) = self.vault.exchange(head)? {
            return Ok(Followed {
                signer: Some(signer),
                is_head_saved: true,
            });
        }
        if save_head {
            self.vault.save_head(head)?;
        }
        Ok(Followed {
            signer: None,
            is_head_saved: save_head,
        })
    }
}

fn sync_files(directory: &Path, files: &[SyncFile], durable: bool) -> io::Result<()> {
    for file in files {
        let path = file.path(directory);
        let metadata = file.file.metadata()?;
        // Writes and syncs of an unlinked file succeed, and its bytes are lost when it is closed.
        if metadata.nlink() == 0 || !is_at(&path, &metadata) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed or replaced",
            ));
        }
        if durable {
            file.file.sync_data()?;
        }
        if file.is_new || file.closed.is_some() {
            files::sync_directory(&path)?;
        }
    }
    Ok(())
}

impl SyncFile {
    fn path(&self, directory: &Path) -> PathBuf {
        match &self.closed {
            Some(segment) => segment.path.clone(),
            None => directory.join(ACTIVE),
        }
    }
}

/// Whether a path leads to the file of which this is the metadata.
pub(in crate::audit) fn is_at(path: &Path, metadata: &Metadata) -> bool {
    path.metadata()
        .is_ok_and(|there| there.ino() == metadata.ino() && there.dev() == metadata.dev())
}
