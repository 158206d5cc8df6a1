//! What the trail is told: where it is kept, when it is synced, and what a failure means.

use std::path::PathBuf;
use std::time::Duration;

use super::ship::Syslog;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// Where the segments are kept. Without it there is no recovery and no seal.
    pub directory: Option<PathBuf>,
    /// Whether the records go to standard output, beside or instead of the directory.
    pub stdout: bool,
    /// Bytes after which a segment is closed.
    pub rotate_size: u64,
    /// Age at which a segment is closed.
    pub rotate_every: Duration,
    /// How long closed segments are kept.
    pub keep: Duration,
    /// Bytes that all segments may take.
    pub max_size: u64,
    pub sync: Sync,
    pub on_failure: OnFailure,
    /// The longest time without a checkpoint.
    pub seal_every: Duration,
    /// Where the records in the directory are shipped to.
    pub syslog: Option<Syslog>,
}

impl AuditOptions {
    /// How many bytes of a segment refusals may take. A flood of them leaves the rest to the tunnels.
    pub(super) fn refusal_room(&self) -> u64 {
        self.rotate_size / 2
    }
}

/// When records are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before a client is told that its tunnel is open.
    Always,
    /// This long after a record at the latest.
    Every(Duration),
    /// When the kernel likes.
    Never,
}

/// What becomes of requests while the trail can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Refuse,
    /// They are served, and counted instead of recorded.
    Count,
}
