//! The lines of the trail on their way to the disk: they are written, and dropped from memory once
//! a sync has confirmed them.
//!
//! A failure at any step leaves the lines in memory. The segment that failed is cut back to its
//! last synced byte and closed. The lines then go into a new segment.
//!
//! Cutting back keeps a line from being in both segments. A new file is needed because the kernel
//! may drop written pages after an error. A later sync of the old file would then succeed without
//! them.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callhome_trail::segments::{ACTIVE, Segment};
use callhome_trail::{Chain, Hash, Head, Jumps, Oldest};
use jiff::Timestamp;

use super::compress;
use super::disk::{SyncFile, is_at};
use super::files;
use super::prunable::age;

/// The lines of a directory, which one process holds.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    _lock: File,
    active: Option<OpenSegment>,
    /// The segment before the active one. It is closed, and has lines that no sync has confirmed.
    retired: Option<OpenSegment>,
    /// Segments that failed and couldn't be closed yet. They may hold part of a line, so nothing is
    /// appended to them.
    failed: Vec<OpenSegment>,
    /// Segments that failed and are closed. The disk doesn't know of them yet.
    adopted: Vec<Segment>,
    /// Lines that no sync has confirmed.
    unsynced: Vec<u8>,
    /// How many bytes of them were written.
    written: usize,
    /// How many of the written bytes a sync is to confirm now.
    confirming: usize,
    /// The end of the trail before these lines, and with those that are being confirmed.
    head: Head,
    confirming_head: Option<Head>,
    /// The end of the trail before the next segment.
    begin: Head,
    oldest: Option<Oldest>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Arc<File>,
    /// Bytes that a sync has confirmed, that one is to confirm, and that were written.
    synced: u64,
    confirming: u64,
    written: u64,
    /// Whether no sync has confirmed its name in the directory.
    is_new: bool,
    /// The place of its first line in the trail, and its name.
    segment: Segment,
    /// How old it was when this run opened it.
    age: Duration,
    opened: Instant,
}

/// Locks the directory for this process.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    files::make_directory(directory)?;
    let path = directory.join("lock");
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        // Opening a pipe would hold up the start.
        let message = format!("{} isn't a file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let file = files::create(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "{} is another relay's trail: it is locked",
                directory.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Store {
    /// Goes on in a directory that has been locked and recovered, in its active segment if it has
    /// one.
    pub(super) fn open(
        directory: &Path,
        lock: File,
        chain: &Chain,
        active: Option<Segment>,
        oldest: Option<Oldest>,
        jumps: &Jumps,
    ) -> io::Result<Self> {
        let active = active.map(|it| OpenSegment::reopen(it, jumps));
        let active = active.transpose()?;
        let head = Head::of(chain);
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
            oldest: oldest.or_else(|| active.as_ref().map(OpenSegment::oldest)),
            active,
            retired: None,
            failed: Vec::new(),
            adopted: Vec::new(),
            unsynced: Vec::new(),
            written: 0,
            confirming: 0,
            begin: head.clone(),
            head,
            confirming_head: None,
        })
    }

    /// Takes lines, which stay in memory until a sync has confirmed them.
    pub(super) fn push(&mut self, lines: &[u8]) {
        self.unsynced.extend_from_slice(lines);
    }

    /// Bytes that no sync has confirmed.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Whether there is something that a sync would confirm.
    pub(super) fn has_written(&self) -> bool {
        self.written > 0
    }

    /// Writes the lines that aren't written yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.written == self.unsynced.len() {
            return Ok(());
        }
        self.close_failed()?;
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(OpenSegment::create(&self.directory, &self.begin)?),
        };
        self.oldest.get_or_insert_with(|| active.oldest());
        while self.written < self.unsynced.len() {
            match (&*active.file).write(&self.unsynced[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    active.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The files that a sync must reach to confirm what was written. `chain` is the chain after the
    /// last line.
    pub(super) fn begin_sync(&mut self, chain: &Chain) -> Vec<SyncFile> {
        self.confirming = self.written;
        self.confirming_head = Some(Head::of(chain));
        let mut files = Vec::new();
        if let Some(retired) = &mut self.retired {
            files.push(retired.sync_file(true));
        }
        if let Some(active) = &mut self.active {
            files.push(active.sync_file(false));
        }
        files
    }

    /// Drops the lines from memory that a sync has confirmed.
    pub(super) fn confirm(&mut self) {
        self.retired = None;
        if let Some(active) = &mut self.active {
            active.synced = active.confirming;
            active.is_new = false;
        }
        // Keep room for the next round under the same load, but not for ever after a burst.
        let keep = (2 * self.confirming).max(KEEP_BUFFER);
        self.unsynced.drain(..self.confirming);
        self.unsynced.shrink_to(keep);
        self.written -= self.confirming;
        self.confirming = 0;
        if let Some(head) = self.confirming_head.take() {
            self.head = head;
        }
    }

    /// Segments that were closed after a failure, for the next job.
    pub(super) fn take_adopted(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.adopted)
    }

    /// The oldest record that is kept, and the hash that it follows.
    pub(super) fn oldest(&self) -> Oldest {
        self.oldest.clone().unwrap_or_else(|| Oldest {
            seq: self.begin.seq + 1,
            prev: self.begin.hash.to_string().into(),
        })
    }

    /// Notes that the records before this one are pruned, or aren't the trail's.
    pub(super) fn begins_with(&mut self, oldest: Oldest) {
        self.oldest = Some(oldest);
    }

    /// Bytes of the active segment.
    pub(super) fn length(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.written)
    }

    /// The segment being written, with its size now.
    pub(super) fn active(&self) -> Option<Segment> {
        let active = self.active.as_ref()?;
        Some(Segment {
            size: active.written,
            ..active.segment.clone()
        })
    }

    /// The first records of the segments that aren't closed for good, and of the next one.
    pub(super) fn begins(&self) -> impl Iterator<Item = u64> {
        let open = self.retired.iter().chain(&self.active);
        let first = open.map(|open| open.segment.first);
        first.chain(self.active.is_none().then_some(self.begin.seq + 1))
    }

    /// Gives up the segments that a sync hasn't confirmed, after a failure. No sync may be running.
    pub(super) fn abandon(&mut self) {
        self.written = 0;
        self.confirming = 0;
        self.confirming_head = None;
        self.begin = self.head.clone();
        let given_up = self.retired.take().into_iter().chain(self.active.take());
        self.failed.extend(given_up);
        let _ = self.close_failed();
    }

    /// Cuts each segment that failed back to its last synced byte, and closes it.
    fn close_failed(&mut self) -> io::Result<()> {
        while !self.failed.is_empty() {
            let mut failed = self.failed.remove(0);
            match self.close(&mut failed) {
                // Only the file is gone, so its records are lost and readers will notice. If the
                // directory is gone, it may come back with a mount.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && self.directory.exists() => {}
                Err(error) => {
                    self.failed.insert(0, failed);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, failed: &mut OpenSegment) -> io::Result<()> {
        // If even this fails, readers skip a torn end and lines that come a second time.
        let _ = failed.file.set_len(failed.synced);
        let path = &failed.segment.path;
        if failed.synced == 0 {
            if is_at(path, &failed.file.metadata()?) {
                fs::remove_file(path)?;
            }
            return Ok(());
        }
        failed.name_closed(&self.directory)?;
        files::sync_directory(&failed.segment.path)?;
        self.adopted.push(Segment {
            size: failed.synced,
            ..failed.segment.clone()
        });
        Ok(())
    }

    /// Closes the active segment if it is full or old, and returns whether it did. Every line must
    /// be written, and no sync be running. The next sync makes the rest of it durable.
    pub(super) fn rotate(&mut self, size: u64, every: Duration, chain: &Chain) -> io::Result<bool> {
        let is_due = |active: &mut OpenSegment| {
            // The wall clock may be set, and must neither close segments nor keep one open.
            let age = active.age.saturating_add(active.opened.elapsed());
            active.written >= size || age >= every
        };
        if self.retired.is_some() {
            return Ok(false);
        }
        let Some(mut active) = self.active.take_if(is_due) else {
            return Ok(false);
        };
        let named = active.name_closed(&self.directory);
        // The segment is taken out even where it keeps its name. Otherwise the next line would be
        // appended to it, while the store takes it for a new segment.
        self.retired = Some(active);
        self.begin = Head::of(chain);
        named.map(|()| true)
    }
}

impl OpenSegment {
    /// Begins a segment whose first record follows `head`.
    fn create(directory: &Path, head: &Head) -> io::Result<Self> {
        let path = directory.join(ACTIVE);
        // A file of that name isn't the writer's, so it is kept under another name and nothing is
        // appended to it.
        if path.metadata().is_ok_and(|there| there.len() > 0) {
            fs::rename(&path, compress::free_name(directory, head.seq + 1))?;
        }
        Ok(Self {
            file: Arc::new(files::append(&path)?),
            synced: 0,
            confirming: 0,
            written: 0,
            is_new: true,
            segment: Segment {
                path,
                first: head.seq + 1,
                prev: Hash::parse(head.hash.as_bytes()).unwrap_or(Hash::GENESIS),
                time: Timestamp::now(),
                size: 0,
                readable: true,
            },
            age: Duration::ZERO,
            opened: Instant::now(),
        })
    }

    /// Its age in this run goes on from what its first record says, less what the clock jumped
    /// since.
    fn reopen(segment: Segment, jumps: &Jumps) -> io::Result<Self> {
        let file = files::append(&segment.path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            synced: length,
            confirming: length,
            written: length,
            is_new: false,
            age: age(segment.time, segment.first, Timestamp::now(), jumps),
            opened: Instant::now(),
            segment,
        })
    }

    fn oldest(&self) -> Oldest {
        Oldest {
            seq: self.segment.first,
            prev: self.segment.prev.to_string().into(),
        }
    }

    /// Gives the file the name of a closed segment, if it still has that of the active one.
    fn name_closed(&mut self, directory: &Path) -> io::Result<()> {
        let active = directory.join(ACTIVE);
        if self.segment.path == active {
            let path = compress::free_name(directory, self.segment.first);
            fs::rename(active, &path)?;
            self.segment.path = path;
        }
        Ok(())
    }

    fn sync_file(&mut self, is_closed: bool) -> SyncFile {
        self.confirming = self.written;
        let closed = is_closed.then(|| Segment {
            size: self.written,
            ..self.segment.clone()
        });
        SyncFile {
            file: self.file.clone(),
            is_new: self.is_new,
            closed,
        }
    }
}

const KEEP_BUFFER: usize = 64 * 1024;
