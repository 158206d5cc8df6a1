//! The trail on the disk: lines are written, synced, and only then dropped from memory.
//!
//! A failure at any step leaves the lines in memory. The segment that failed is cut back to its
//! last synced byte and closed. The lines then go into a new segment.
//!
//! Cutting back keeps a line from being in both segments. A new file is needed because the kernel
//! may drop written pages after an error. A later sync of the old file would then succeed without
//! them.

mod ages;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callhome_trail::segments::{self, ACTIVE, Segment};
use callhome_trail::{Chain, HEAD, Hash, Head, Jumps, Oldest, SigningKey};
use jiff::Timestamp;

use super::compress::{self, Compressor};
use super::files;
use super::prunable::{Bounds, Prunable, Youngest, age};

/// The trail's directory, held by one process.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    _lock: File,
    active: Option<ActiveSegment>,
    /// A segment that failed and couldn't be closed yet. It may hold part of a line, so nothing is
    /// appended to it.
    failed: Option<ActiveSegment>,
    closed: Vec<Segment>,
    youngest: Youngest,
    compressor: Compressor,
    /// Lines that no sync has confirmed.
    unsynced: Vec<u8>,
    /// How many bytes of them were written to the active segment.
    written: usize,
    /// The end of the trail before these lines.
    head: Head,
    head_saved: Option<Instant>,
    head_at: Option<Instant>,
}

#[derive(Debug)]
struct ActiveSegment {
    file: File,
    /// Bytes that a sync has confirmed.
    synced: u64,
    /// The place of its first line in the trail.
    begin: Segment,
    /// How old it was when this run opened it.
    age: Duration,
    opened: Instant,
}

/// Segments that are to be deleted, and the records in them.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) segments: Vec<Segment>,
    pub(super) from: u64,
    pub(super) to: u64,
    /// The hash of the last record that goes, which is the `prev` of the first that stays.
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    /// Whether every one of them is too old. Otherwise the trail was too large.
    pub(super) is_old: bool,
    /// The time of the first record that stays.
    pub(super) kept_from: Timestamp,
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
    /// Opens a directory that has been locked and recovered.
    pub(super) fn open(
        directory: &Path,
        lock: File,
        chain: &Chain,
        jumps: &Jumps,
    ) -> io::Result<Self> {
        let mut closed = segments::list(directory)?;
        // A segment that can't be read has no time, so it is never pruned.
        closed.retain(|segment| segment.readable);
        let compressor = Compressor::start()?;
        let active = closed
            .pop_if(|segment| segment.path.ends_with(ACTIVE))
            .map(|begin| ActiveSegment::reopen(directory, begin, jumps))
            .transpose()?;
        for segment in &closed {
            if segment.path.extension() != Some("zst".as_ref()) {
                compressor.compress(segment.path.clone());
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
            active,
            failed: None,
            closed,
            youngest: Youngest::default(),
            compressor,
            unsynced: Vec::new(),
            written: 0,
            head: Head::of(chain),
            head_saved: None,
            head_at: None,
        })
    }

    /// Takes lines, which stay in memory until [`Self::sync`] has succeeded.
    pub(super) fn push(&mut self, lines: &[u8]) {
        self.unsynced.extend_from_slice(lines);
    }

    /// Bytes that no sync has confirmed.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Bytes of the active segment, including those that aren't synced.
    pub(super) fn length(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.synced) + self.unsynced.len() as u64
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Writes the lines that aren't written yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.written == self.unsynced.len() {
            return Ok(());
        }
        self.close_failed()?;
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(ActiveSegment::create(&self.directory, &self.head)?),
        };
        while self.written < self.unsynced.len() {
            match active.file.write(&self.unsynced[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the written lines durable and drops them from memory. `chain` is the chain after the
    /// last line.
    pub(super) fn sync(&mut self, chain: &Chain, durable: bool) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            let metadata = active.file.metadata()?;
            // Writes and syncs of an unlinked file succeed, and its bytes are lost when it is
            // closed.
            if metadata.nlink() == 0 || !is_at(&self.directory.join(ACTIVE), &metadata) {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the file was removed or replaced",
                ));
            }
            if durable {
                active.file.sync_data()?;
            }
            active.synced += self.written as u64;
        }
        // Keep room for the next round under the same load, but not for ever after a burst.
        let keep = (2 * self.written).max(KEEP_BUFFER);
        self.unsynced.drain(..self.written);
        self.unsynced.shrink_to(keep);
        self.written = 0;
        self.head = Head::of(chain);
        self.head_at.get_or_insert(
            self.head_saved
                .map_or_else(Instant::now, |at| at + HEAD_EVERY),
        );
        Ok(())
    }

    /// The last record that a sync has confirmed.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// When the head is to be saved. None if the file has it.
    pub(super) fn head_at(&self) -> Option<Instant> {
        self.head_at
    }

    /// Saves the end of the trail, so that a restart notices records that were cut off.
    pub(super) fn save_head(&mut self, key: &SigningKey) -> io::Result<()> {
        let head = self.head.clone().signed(key);
        let text = serde_json::to_vec(&head).map_err(io::Error::from)?;
        files::replace(&self.directory.join(HEAD), &text, 0o640)?;
        self.head_saved = Some(Instant::now());
        self.head_at = None;
        Ok(())
    }

    /// The oldest record that is kept, and the hash that it follows.
    pub(super) fn oldest(&self) -> Oldest {
        let begin = self.closed.first();
        match begin.or(self.active.as_ref().map(|active| &active.begin)) {
            Some(begin) => Oldest {
                seq: begin.first,
                prev: begin.prev.to_string().into(),
            },
            None => Oldest {
                seq: self.head.seq + 1,
                prev: self.head.hash.to_string().into(),
            },
        }
    }

    /// Gives up the active segment after a failure. If it can't be closed now, the next write tries
    /// again.
    pub(super) fn abandon(&mut self) {
        self.written = 0;
        if let Some(active) = self.active.take() {
            self.failed = Some(active);
        }
        let _ = self.close_failed();
    }

    /// Cuts a segment that failed back to its last synced byte, and closes it.
    fn close_failed(&mut self) -> io::Result<()> {
        let Some(failed) = &self.failed else {
            return Ok(());
        };
        // If even this fails, readers skip a torn end and lines that come a second time.
        let _ = failed.file.set_len(failed.synced);
        if failed.synced > 0 {
            match self.close(failed.begin.clone(), failed.synced) {
                // Only the file is gone, so its records are lost and readers will notice. If the
                // directory is gone, it may come back with a mount.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && self.directory.exists() => {}
                result => result?,
            }
        } else if is_at(&self.directory.join(ACTIVE), &failed.file.metadata()?) {
            fs::remove_file(self.directory.join(ACTIVE))?;
        }
        self.failed = None;
        Ok(())
    }

    /// Closes the active segment if it is full or old, and returns whether it did. Every line must
    /// be synced.
    pub(super) fn rotate(&mut self, size: u64, every: Duration) -> io::Result<bool> {
        let is_due = |active: &mut ActiveSegment| {
            // The wall clock may be set, and must neither close segments nor keep one open.
            let age = active.age.saturating_add(active.opened.elapsed());
            active.synced >= size || age >= every
        };
        let Some(active) = self.active.take_if(is_due) else {
            return Ok(false);
        };
        // The file keeps its name, so it must be closed later. Otherwise the next line would be
        // appended to it, while the store takes it for a new segment.
        if let Err(error) = self.close(active.begin.clone(), active.synced) {
            self.failed = Some(active);
            return Err(error);
        }
        Ok(true)
    }

    fn close(&mut self, mut segment: Segment, size: u64) -> io::Result<()> {
        let path = compress::free_name(&self.directory, segment.first);
        fs::rename(self.directory.join(ACTIVE), &path)?;
        segment.size = size;
        segment.path.clone_from(&path);
        self.closed.push(segment);
        files::sync_directory(&path)?;
        self.compressor.compress(path);
        Ok(())
    }

    /// Takes the oldest closed segments that `keep` and `max_size` leave no place for.
    pub(super) fn take_prunable(
        &mut self,
        keep: Duration,
        max_size: u64,
        now: Timestamp,
        jumps: &Jumps,
    ) -> Option<Pruned> {
        for segment in &mut self.closed {
            let metadata = segment.current_path().metadata();
            segment.size = metadata.map_or(segment.size, |metadata| metadata.len());
        }
        let active = self.active.as_ref();
        let mut total: u64 = self.closed.iter().map(|segment| segment.size).sum();
        total += active.map_or(0, |active| active.synced);
        let bounds = Bounds {
            keep,
            max_size,
            now,
            jumps,
        };
        let active = active.map(|active| &active.begin);
        let (count, is_old) = match self.youngest.prunable(&self.closed, active, total, bounds) {
            Prunable::None => return None,
            Prunable::Segments(count, is_old) => (count, is_old),
            Prunable::Foreign => {
                let segment = self.closed.remove(0);
                tracing::warn!(path = %segment.path.display(), "the oldest segment is not the trail's or is damaged: it is not deleted");
                return None;
            }
        };
        let stays = self.begin_after(count.checked_sub(1)?)?.clone();
        let segments: Vec<_> = self.closed.drain(..count).collect();
        Some(Pruned {
            from: segments.first()?.first,
            to: stays.first - 1,
            hash: stays.prev,
            bytes: segments.iter().map(|segment| segment.size).sum(),
            is_old,
            kept_from: stays.time,
            segments,
        })
    }
}

impl ActiveSegment {
    /// Begins a segment whose first record follows `head`.
    fn create(directory: &Path, head: &Head) -> io::Result<Self> {
        let path = directory.join(ACTIVE);
        // A file of that name isn't the writer's, so it is kept under another name and nothing is
        // appended to it.
        if path.metadata().is_ok_and(|there| there.len() > 0) {
            fs::rename(&path, compress::free_name(directory, head.seq + 1))?;
        }
        let file = files::append(&path)?;
        files::sync_directory(&path)?;
        Ok(Self {
            file,
            synced: 0,
            age: Duration::ZERO,
            opened: Instant::now(),
            begin: Segment {
                path,
                first: head.seq + 1,
                prev: Hash::parse(head.hash.as_bytes()).unwrap_or(Hash::GENESIS),
                time: Timestamp::now(),
                size: 0,
                readable: true,
            },
        })
    }

    /// Its age in this run goes on from what its first record says, less what the clock jumped
    /// since.
    fn reopen(directory: &Path, begin: Segment, jumps: &Jumps) -> io::Result<Self> {
        let file = files::append(&directory.join(ACTIVE))?;
        Ok(Self {
            age: age(begin.time, begin.first, Timestamp::now(), jumps),
            opened: Instant::now(),
            synced: file.metadata()?.len(),
            file,
            begin,
        })
    }
}

fn is_at(path: &Path, metadata: &fs::Metadata) -> bool {
    path.metadata()
        .is_ok_and(|there| there.ino() == metadata.ino() && there.dev() == metadata.dev())
}

const HEAD_EVERY: Duration = Duration::from_secs(1);
const KEEP_BUFFER: usize = 64 * 1024;
