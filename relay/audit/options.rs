//! The trail's options: where it is kept, when it is synced, and what a failure means.

use std::path::PathBuf;
use std::time::Duration;

use super::ship::Syslog;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// Where the segments are kept. Without a directory there is no recovery and no seal.
    pub directory: Option<PathBuf>,
    /// Whether the records go to standard output, beside the directory or instead of it.
    pub stdout: bool,
    /// Bytes after which a segment is closed.
    pub rotate_size: u64,
    /// Age at which a segment is closed.
    pub rotate_every: Duration,
    /// How long closed segments are kept.
    pub keep: Duration,
    /// Bytes that all segments together may take.
    pub max_size: u64,
    pub sync: Sync,
    pub on_failure: OnFailure,
    /// The longest time without a checkpoint.
    pub seal_every: Duration,
    /// Where the records in the directory are shipped to.
    pub syslog: Option<Syslog>,
}

impl AuditOptions {
    /// How many bytes of a segment refusals may take, so that a flood of them leaves the rest to
    /// the tunnels.
    pub(super) fn refusal_room(&self) -> u64 {
        self.rotate_size / 2
    }
}

/// When records are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before a client gets the answer that its tunnel is open.
    Always,
    /// At the latest this long after a record.
    Every(Duration),
    /// When the kernel writes its cache back.
    Never,
}

/// What happens to requests while the trail can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Refuse,
    /// Requests are served, and counted instead of recorded.
    Count,
}
