//! The closed segments: they are compressed, and pruned when they have no place left.

use std::path::Path;
use std::time::Duration;
use std::{io, mem};

use callhome_trail::segments::{self, ACTIVE, Segment};
use callhome_trail::{Hash, Jumps, Oldest};
use jiff::Timestamp;

use super::super::capacity::capacity_of;
use super::super::compress::{self, Compressor};
use super::super::prunable::{Bounds, Prunable, Youngest, age};
use super::reserve::Reserve;

/// The closed segments of a directory, the oldest first.
#[derive(Debug)]
pub(in crate::audit) struct ClosedSegments {
    segments: Vec<Segment>,
    /// How many of the first ones are recorded as pruned, and not deleted yet.
    recorded: usize,
    /// Whether the log has that one of them can't be deleted.
    is_stuck: bool,
    youngest: Youngest,
    compressor: Compressor,
    reserve: Reserve,
}

/// What the writer knows for a [`ClosedSegments::look`].
#[derive(Debug)]
pub(in crate::audit) struct Look {
    pub(in crate::audit) keep: Duration,
    pub(in crate::audit) max_size: u64,
    pub(in crate::audit) now: Timestamp,
    /// The jumps of the clock that no age counts.
    pub(in crate::audit) jumps: Jumps,
    /// The segment being written, with its size.
    pub(in crate::audit) active: Option<Segment>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(in crate::audit) struct Looked {
    pub(in crate::audit) pruned: Option<Pruned>,
    /// The oldest record from now on, where the first segment turned out not to be the trail's.
    pub(in crate::audit) oldest: Option<Oldest>,
    /// How long `max_size` holds what is written.
    pub(in crate::audit) capacity: Option<Duration>,
    /// The first records of the closed segments, in their order.
    pub(in crate::audit) begins: Vec<u64>,
    /// Whether the oldest segment would be too old, but for a jump of the clock.
    pub(in crate::audit) is_held_back: bool,
}

/// Segments that are to be deleted, and the records in them.
#[derive(Debug)]
pub(in crate::audit) struct Pruned {
    pub(in crate::audit) segments: usize,
    pub(in crate::audit) from: u64,
    pub(in crate::audit) to: u64,
    /// The hash of the last record that goes, which is the `prev` of the first that stays.
    pub(in crate::audit) hash: Hash,
    pub(in crate::audit) bytes: u64,
    /// Whether every one of them is too old. Otherwise the trail was too large.
    pub(in crate::audit) is_old: bool,
    /// The time of their first record.
    pub(in crate::audit) first_time: Timestamp,
    /// The time of the first record that stays.
    pub(in crate::audit) kept_from: Timestamp,
}

impl ClosedSegments {
    /// Lists the segments of a directory that was recovered, and begins to compress those that are
    /// plain. Gives the active one apart.
    pub(in crate::audit) fn open(
        directory: &Path,
        reserve: Reserve,
    ) -> io::Result<(Self, Option<Segment>)> {
        let mut segments = segments::list(directory)?;
        // A segment that can't be read has no time, so it is never pruned.
        segments.retain(|segment| segment.readable);
        let active = segments.pop_if(|segment| segment.path.ends_with(ACTIVE));
        let compressor = Compressor::start()?;
        for segment in &segments {
            if !segments::is_compressed(&segment.path) {
                compressor.compress(segment.path.clone());
            }
        }
        let closed = Self {
            segments,
            recorded: 0,
            is_stuck: false,
            youngest: Youngest::default(),
            compressor,
            reserve,
        };
        Ok((closed, active))
    }

    /// The first record of the oldest segment.
    pub(in crate::audit) fn oldest(&self) -> Option<Oldest> {
        self.segments.first().map(oldest_of)
    }

    /// Takes segments that were closed.
    pub(super) fn adopt(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            self.compressor.compress(segment.path.clone());
            self.segments.push(segment);
        }
    }

    /// Looks for the oldest segments that `keep` and `max_size` leave no place for. They stay in
    /// the list, and count, until they are deleted.
    pub(super) fn look(&mut self, look: &Look) -> Looked {
        self.reserve.restore();
        self.delete_recorded();
        if self.recorded > 0 {
            return Looked::default();
        }
        for segment in &mut self.segments {
            let metadata = segment.current_path().metadata();
            segment.size = metadata.map_or(segment.size, |metadata| metadata.len());
        }
        let active = look.active.as_ref();
        let all = || self.segments.iter().chain(active);
        let mut looked = Looked {
            capacity: capacity_of(all(), look.max_size),
            begins: self.segments.iter().map(|it| it.first).collect(),
            is_held_back: self.is_held_back(look),
            ..Looked::default()
        };
        let size: u64 = all().map(|segment| segment.size).sum();
        let bounds = Bounds {
            keep: look.keep,
            max_size: look.max_size,
            now: look.now,
            jumps: &look.jumps,
        };
        let total = size + self.reserve.length();
        match self
            .youngest
            .prunable(&self.segments, active, total, bounds)
        {
            Prunable::None => {}
            Prunable::Segments(count, is_old) => {
                looked.pruned = self.pruned(count, is_old, active);
            }
            Prunable::Foreign => {
                let segment = self.segments.remove(0);
                tracing::warn!(path = %segment.path.display(), "the oldest segment is not the trail's or is damaged: it is not deleted");
                looked.oldest = self.oldest().or_else(|| active.map(oldest_of));
            }
        }
        looked
    }

    fn is_held_back(&self, look: &Look) -> bool {
        let next = self.segments.get(1).or(look.active.as_ref());
        let Some(next) = next.filter(|_| !self.segments.is_empty()) else {
            return false;
        };
        let age = |jumps: &Jumps| age(next.time, next.first, look.now, jumps);
        age(&Jumps::default()) > look.keep && age(&look.jumps) <= look.keep
    }

    fn pruned(&self, count: usize, is_old: bool, active: Option<&Segment>) -> Option<Pruned> {
        let stays = self.segments.get(count).or(active)?;
        let segments = &self.segments[..count];
        let first = segments.first()?;
        Some(Pruned {
            segments: count,
            from: first.first,
            to: stays.first - 1,
            hash: stays.prev,
            bytes: segments.iter().map(|segment| segment.size).sum(),
            is_old,
            first_time: first.time,
            kept_from: stays.time,
        })
    }

    /// Deletes the segments that begin at or before a record. One that can't be deleted now is
    /// tried again at the next look.
    pub(super) fn delete(&mut self, to: u64) {
        let goes = |segment: &&Segment| segment.first <= to;
        self.recorded = self.segments.iter().take_while(goes).count();
        self.delete_recorded();
    }

    fn delete_recorded(&mut self) {
        // Oldest first: `verify` accepts a trail that begins within what a pruning was to delete.
        while self.recorded > 0 {
            let segment = &self.segments[0];
            // This isn't an error of the trail: a file that can't be deleted is no reason to refuse
            // requests.
            if let Err(error) = compress::delete(segment) {
                if !mem::replace(&mut self.is_stuck, true) {
                    tracing::warn!(path = %segment.path.display(), %error, "a pruned segment of the trail can't be deleted");
                }
                return;
            }
            self.is_stuck = false;
            self.segments.remove(0);
            self.recorded -= 1;
        }
    }
}

fn oldest_of(segment: &Segment) -> Oldest {
    Oldest {
        seq: segment.first,
        prev: segment.prev.to_string().into(),
    }
}
