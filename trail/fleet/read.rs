//! Reads trails into a fleet, and proves them while they are read.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Fleet;
use super::clock::AHEAD;
use crate::chain::Line;
use crate::reader::Reader;
use crate::record::Record;
use crate::verify::{Verifier, VerifyError, unreadable};
use crate::words::Event;

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{} and {} have the same trail: its tries would count twice", .0.display(), .1.display())]
    Twice(PathBuf, PathBuf),
}

/// A trail that was read, and how far it can be relied on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReadTrail {
    pub path: PathBuf,
    pub trail: String,
    /// The relay that wrote its last record.
    pub relay: String,
    pub records: u64,
    pub first_time: Option<Timestamp>,
    /// The time of the last record.
    pub last_time: Option<Timestamp>,
    /// Whether it says who is expected. The trail of an older relay doesn't.
    pub has_inventory: bool,
    /// How many gaps it declares.
    pub gaps: usize,
    /// What is wrong with a broken trail, and where.
    pub broken: Option<String>,
    /// Lines that are no records, or of an unknown event.
    pub unread: u64,
}

impl ReadTrail {
    /// By how much the relay's clock was ahead of the reader's at the end of the trail, if that is
    /// more than a little.
    pub fn ahead(&self, now: Timestamp) -> Option<SignedDuration> {
        let ahead = self.last_time?.duration_since(now);
        (ahead > AHEAD).then_some(ahead)
    }
}

/// A trail while it is read.
struct Proof {
    verifier: Option<Verifier>,
    seen: HashSet<(u64, crate::hash::Hash)>,
    read: ReadTrail,
}

/// Reads these trails. `now` is the time of reading.
///
/// A file may have several trails, as that of a log server. Of a broken trail, every record whose
/// own hash is right counts.
pub fn read(
    paths: &[PathBuf],
    now: Timestamp,
    mut progress: impl FnMut(&Reader),
) -> Result<(Fleet, Vec<ReadTrail>), FleetError> {
    let mut fleet = Fleet::default();
    let mut trails: Vec<ReadTrail> = Vec::new();
    for path in paths {
        let mut take = |record: &Record| fleet.take(record, now);
        for read in read_path(path, &mut take, &mut progress)? {
            let same = |other: &&ReadTrail| !read.trail.is_empty() && other.trail == read.trail;
            if let Some(other) = trails.iter().find(same) {
                return Err(FleetError::Twice(other.path.clone(), read.path));
            }
            trails.push(read);
        }
    }
    Ok((fleet, trails))
}

fn read_path(
    path: &Path,
    take: &mut impl FnMut(&Record),
    progress: &mut impl FnMut(&Reader),
) -> io::Result<Vec<ReadTrail>> {
    let mut proofs = BTreeMap::from([(String::new(), Proof::of(path)?)]);
    let mut reader = Reader::open(path)?;
    let mut current = String::new();
    let mut lines = 0_u64;
    loop {
        let raw = match reader.next_line() {
            Ok(Some(raw)) => raw,
            Ok(None) => break,
            // The rest of this file is left out, and the next files are read.
            Err(error) => match unreadable(&reader, error) {
                VerifyError::Io(error) => return Err(error),
                VerifyError::Broken(what) => {
                    for proof in proofs.values_mut() {
                        proof.break_off(&what.to_string());
                        proof.read.unread += 1;
                    }
                    reader.skip_file();
                    continue;
                }
            },
        };
        // Lines that are no records belong to the trail before them.
        if let Some(trail) = trail_of(raw.bytes).filter(|trail| *trail != current)
            && !path.is_dir()
        {
            trail.clone_into(&mut current);
            if !proofs.contains_key(trail) {
                let proof = match proofs.remove("") {
                    Some(first) => first,
                    None => Proof::of(path)?,
                };
                proofs.insert(current.clone(), proof);
            }
        }
        if let Some(proof) = proofs.get_mut(&current) {
            proof.take(&raw, take);
        }
        lines += 1;
        if lines.is_multiple_of(4096) {
            progress(&reader);
        }
    }
    progress(&reader);
    Ok(proofs.into_values().map(Proof::finish).collect())
}

impl Proof {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            verifier: Some(Verifier::of(path)?),
            seen: HashSet::new(),
            read: ReadTrail {
                path: path.to_owned(),
                ..ReadTrail::default()
            },
        })
    }

    fn take(&mut self, raw: &crate::reader::RawLine<'_>, take: &mut impl FnMut(&Record)) {
        let line = match self.verifier.as_mut().map(|verifier| verifier.take(raw)) {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                self.break_off(&error.to_string());
                Line::parse(raw.bytes).ok()
            }
            None => Line::parse(raw.bytes).ok(),
        };
        let Some(line) = line else {
            self.read.unread += u64::from(self.verifier.is_none());
            return;
        };
        if self.verifier.is_none() && !self.seen.insert((line.seq, line.hash)) {
            return;
        }
        match Record::of(&line) {
            Some(record) => {
                self.note(&record);
                take(&record);
            }
            None => self.read.unread += 1,
        }
    }

    fn note(&mut self, record: &Record) {
        let read = &mut self.read;
        if read.records == 0 {
            read.trail = record.trail.to_string();
            read.first_time = Some(record.time);
        }
        if *record.relay != *read.relay {
            read.relay = record.relay.to_string();
        }
        read.records += 1;
        read.last_time = Some(record.time);
        read.has_inventory |= record.event == Event::Inventory;
    }

    fn break_off(&mut self, what: &str) {
        if self.verifier.take().is_some() {
            self.read.broken = Some(what.to_owned());
        }
    }

    fn finish(mut self) -> ReadTrail {
        match self.verifier.map(Verifier::finish) {
            Some(Ok(report)) => self.read.gaps = report.gaps.len(),
            Some(Err(error)) => self.read.broken = Some(error.to_string()),
            None => {}
        }
        self.read
    }
}

/// The id of the trail that a line begins with.
fn trail_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"v\":1,\"trail\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}
