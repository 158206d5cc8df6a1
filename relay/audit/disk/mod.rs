//! The slow work on the trail's directory, on a thread of its own and one job at a time: syncs,
//! heads, keys, pruning.
//!
//! A disk may take its time over a sync. The writer must not wait for it, because sessions wait for
//! the writer. So the writer only writes, hands a [`Job`] over, and finds the [`Done`] of it in the
//! inbox later.
//!
//! - `sync` makes lines durable, `vault` has the keys, the head and the kept checkpoints.
//! - `closed` has the closed segments, and prunes them. `reserve` keeps room for that.

mod closed;
mod reserve;
mod sync;
mod vault;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

pub(super) use closed::{ClosedSegments, Look, Looked, Pruned};
pub(super) use reserve::{Reserve, is_no_room};
pub(super) use sync::{SyncFile, SyncJob, Synced, is_at};
pub(super) use vault::{OnItsWay, Signer, Vault, save_head};

/// What the writer asks of the disk.
#[derive(Debug)]
pub(super) enum Job {
    Sync(SyncJob),
    /// Looks for segments that have no place left.
    Look(Look),
    /// Deletes the oldest segments, up to this record. The record of their pruning is sealed.
    Delete(u64),
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    Sync(Synced),
    Look(Looked),
    Delete,
}

/// The thread. Its drop waits for the job that it does.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
struct DiskWorker {
    directory: PathBuf,
    vault: Vault,
    closed: ClosedSegments,
}

impl Disk {
    /// Starts the thread, which passes to `report` what came of each job.
    pub(super) fn start(
        directory: &Path,
        vault: Vault,
        closed: ClosedSegments,
        report: impl Fn(Done) + Send + 'static,
    ) -> io::Result<Self> {
        let mut worker = DiskWorker {
            directory: directory.to_owned(),
            vault,
            closed,
        };
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("audit-disk".into())
            .spawn(move || {
                for job in queue {
                    report(worker.run(job));
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Hands a job over. The one before must be done.
    pub(super) fn begin(&self, job: Job) -> io::Result<()> {
        let gone = || io::Error::other("the thread of the trail's disk ended by a defect");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())
    }
}

impl DiskWorker {
    fn run(&mut self, job: Job) -> Done {
        #[cfg(test)]
        if self.directory.join(SLOW).exists() {
            thread::sleep(std::time::Duration::from_millis(400));
        }
        match job {
            Job::Sync(job) => Done::Sync(self.sync(job)),
            Job::Look(look) => Done::Look(self.closed.look(&look)),
            Job::Delete(to) => {
                self.closed.delete(to);
                Done::Delete
            }
        }
    }
}

/// While a file of this name lies in the directory, each job of a test's disk takes its time.
#[cfg(test)]
pub(super) const SLOW: &str = "slow";

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, and the panic hook has reported that.
            let _ = thread.join();
        }
    }
}
