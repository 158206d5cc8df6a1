//! Proving a trail: every record there, none changed, in order; or the first that isn't as it was written.
//!
//! Three verdicts: whole; whole but for gaps that the trail itself declares; broken. What each proof is worth against whom is in
//! `docs/audit.md`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::{fs, io};

use serde::Deserialize;

use super::chain::{Hash, Line, LineError};
use super::reader::{Place, Raw, Reader};
use super::seal::PublicKey;
use super::store::{Head, SEALS};

/// Takes a trail's lines one by one.
#[derive(Debug, Default)]
pub struct Verifier {
    trail: Option<Box<str>>,
    first: Option<Begin>,
    next: u64,
    previous: Option<Hash>,
    last_place: Place,
    /// The hashes of the latest records, to know a line that stands twice.
    recent: VecDeque<(u64, Hash)>,
    /// Up to where pruning is declared, and the hash there.
    pruned: Option<(u64, String)>,
    seals: Option<Seals>,
    witness: HashMap<u64, Hash>,
    /// How many were compared, when there is a witness.
    witnessed: Option<u64>,
    /// A last line without its line feed, which only a trail's very end may have.
    unfinished: Option<Place>,
    report: Report,
}

/// What was found in a trail that isn't broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub trail: String,
    pub records: u64,
    pub from: u64,
    pub to: u64,
    pub first_time: String,
    pub last_time: String,
    pub gaps: Vec<Gap>,
    pub clock_steps: u64,
    /// Lines that stood twice, as a failed write or a repeated copy leaves them.
    pub duplicates: u64,
    pub checkpoints: u64,
    /// With a key: the last record that a valid seal covers.
    pub sealed_to: Option<u64>,
    /// With a witness: how many of its records were compared.
    pub witnessed: Option<u64>,
}

/// A gap that the trail declares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// Numbers of the missing records; or none, and a count.
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub cause: String,
    pub time: String,
}

/// The first thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub place: Place,
    pub seq: Option<u64>,
    pub what: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
struct Begin {
    seq: u64,
    prev: Hash,
    place: Place,
}

/// The keys, from the first on.
#[derive(Debug)]
struct Seals {
    /// The key that must sign the next checkpoint.
    expected: PublicKey,
    /// The checkpoints that were seen, so that the kept line and the trail's count once.
    last: u64,
}

#[derive(Deserialize)]
struct GapData {
    from: Option<u64>,
    to: Option<u64>,
    count: Option<u64>,
    cause: String,
}

#[derive(Deserialize)]
struct PrunedData {
    to: u64,
    hash: String,
}

#[derive(Deserialize)]
struct KeyData {
    key: String,
    next: String,
}

/// Verifies a directory, a file, or standard input for `-`. `progress` is told the bytes read, now and then.
pub fn verify(
    path: &Path,
    key: Option<PublicKey>,
    witness: Option<&Path>,
    mut progress: impl FnMut(&Reader),
) -> Result<Report, VerifyError> {
    let mut verifier = Verifier::default();
    if let Some(witness) = witness {
        verifier.load_witness(witness)?;
    }
    if let Some(key) = key {
        verifier.seals = Some(Seals {
            expected: key,
            last: 0,
        });
        if path.is_dir() {
            verifier.take_kept_seals(&path.join(SEALS))?;
        }
    }
    let mut reader = Reader::open(path)?;
    let mut lines = 0_u64;
    while let Some(raw) = reader.next_line()? {
        verifier.take(&raw)?;
        lines += 1;
        if lines.is_multiple_of(4096) {
            progress(&reader);
        }
    }
    progress(&reader);
    let head = path.is_dir().then(|| Head::load(path)).flatten();
    Ok(verifier.finish(head.as_ref())?)
}

impl Verifier {
    /// Takes the next line of the trail.
    fn take(&mut self, raw: &Raw<'_>) -> Result<(), Broken> {
        let broken = |seq, what: String| Broken {
            place: raw.place.clone(),
            seq,
            what,
        };
        if let Some(place) = self.unfinished.take() {
            // A write that failed tore a line, and a new segment has it whole; what it tore is passed over.
            if place.file == raw.place.file {
                return Err(Broken {
                    place,
                    seq: None,
                    what: LineError::NotARecord.to_string(),
                });
            }
        }
        let line = match Line::parse(raw.bytes) {
            Ok(line) => line,
            Err(LineError::NotARecord) if !raw.whole => {
                self.unfinished = Some(raw.place.clone());
                return Ok(());
            }
            Err(error) => return Err(broken(None, error.to_string())),
        };
        if self.is_duplicate(&line) {
            self.report.duplicates += 1;
            return Ok(());
        }
        self.follow(&line, raw)
            .map_err(|what| broken(Some(line.seq), what))?;
        self.compare(&line)
            .map_err(|what| broken(Some(line.seq), what))?;
        self.note(&line)
            .map_err(|what| broken(Some(line.seq), what))?;

        self.report.records += 1;
        self.next = line.seq + 1;
        self.previous = Some(line.hash);
        self.recent.push_back((line.seq, line.hash));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.last_place = raw.place.clone();
        if self.report.first_time.is_empty() {
            self.report.first_time = line.time.clone().into_owned();
        }
        self.report.last_time = line.time.into_owned();
        Ok(())
    }

    fn is_duplicate(&self, line: &Line<'_>) -> bool {
        // Looked for only where a record can't be new.
        line.seq < self.next
            && self
                .recent
                .iter()
                .rev()
                .any(|seen| *seen == (line.seq, line.hash))
    }

    /// Whether the line comes after the one before it.
    fn follow(&mut self, line: &Line<'_>, raw: &Raw<'_>) -> Result<(), String> {
        let Some(previous) = self.previous else {
            self.trail = Some(line.trail.as_ref().into());
            self.report.trail = line.trail.clone().into_owned();
            self.report.from = line.seq;
            self.first = Some(Begin {
                seq: line.seq,
                prev: line.prev,
                place: raw.place.clone(),
            });
            return match line.seq {
                0 => Err("records are numbered from 1".into()),
                1 if line.prev != Hash::GENESIS => {
                    Err("the first record names one before it".into())
                }
                _ => Ok(()),
            };
        };
        if self.trail.as_deref() != Some(&*line.trail) {
            return Err("it is of another trail".into());
        }
        if line.seq < self.next {
            return Err(format!(
                "record {} stands here, after record {}: inserted or out of order",
                line.seq,
                self.next - 1
            ));
        }
        if line.seq > self.next {
            let missing = (self.next, line.seq - 1);
            let declared = line.event == "audit_gap"
                && line
                    .data::<GapData>()
                    .is_some_and(|gap| (gap.from, gap.to) == (Some(missing.0), Some(missing.1)));
            return if declared {
                Ok(())
            } else {
                Err(format!(
                    "records {} to {} are missing before it",
                    missing.0, missing.1
                ))
            };
        }
        if line.prev != previous {
            return Err(
                "it doesn't follow the record before it: one of the two was replaced".into(),
            );
        }
        Ok(())
    }

    /// Whether the witness saw the same record.
    fn compare(&mut self, line: &Line<'_>) -> Result<(), String> {
        match self.witness.remove(&line.seq) {
            Some(hash) if hash != line.hash => {
                Err("the witness kept another record under this number".into())
            }
            Some(_) => {
                self.witnessed = self.witnessed.map(|count| count + 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What the record says of the trail itself.
    fn note(&mut self, line: &Line<'_>) -> Result<(), String> {
        match &*line.event {
            "audit_gap" => {
                let gap = line
                    .data::<GapData>()
                    .ok_or("a gap that doesn't say which")?;
                self.report.gaps.push(Gap {
                    from: gap.from,
                    to: gap.to,
                    count: gap.count,
                    cause: gap.cause,
                    time: line.time.clone().into_owned(),
                });
            }
            "trail_pruned" => {
                let pruned = line
                    .data::<PrunedData>()
                    .ok_or("a pruning that doesn't say what")?;
                self.pruned = Some((pruned.to, pruned.hash));
            }
            "clock_stepped" => self.report.clock_steps += 1,
            "checkpoint" => {
                self.report.checkpoints += 1;
                if let Some(seals) = &mut self.seals {
                    seals.take(line)?;
                    self.report.sealed_to = Some(line.seq);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the trail: what is missing at its ends.
    fn finish(mut self, head: Option<&Head>) -> Result<Report, Broken> {
        let at_end = |place: Place, what: String| Broken {
            place,
            seq: None,
            what,
        };
        let Some(begin) = self.first.take() else {
            return match head {
                Some(head) => Err(at_end(
                    Place::default(),
                    format!("there is no record, and there were {}", head.seq),
                )),
                None => Err(at_end(Place::default(), "there is no record".into())),
            };
        };
        if begin.seq > 1 {
            // The last pruning is behind the first record that is left, and ends right before it.
            let declared = self
                .pruned
                .as_ref()
                .is_some_and(|(to, hash)| *to + 1 == begin.seq && *hash == begin.prev.as_str());
            if !declared {
                let what = format!(
                    "records 1 to {} are missing, and no pruning says so",
                    begin.seq - 1
                );
                return Err(at_end(begin.place, what));
            }
        }
        if let Some(head) = head.filter(|head| head.seq >= self.next) {
            let what = format!(
                "the end is cut off: records {} to {} were there",
                self.next, head.seq
            );
            return Err(at_end(self.last_place, what));
        }
        let unseen = self.witness.keys().filter(|seq| **seq >= begin.seq).min();
        if let Some(seq) = unseen {
            let what = format!("the witness has record {seq}, and the trail doesn't");
            return Err(at_end(self.last_place, what));
        }
        self.report.to = self.next - 1;
        self.report.witnessed = self.witnessed;
        Ok(self.report)
    }

    fn load_witness(&mut self, path: &Path) -> Result<(), VerifyError> {
        let mut reader = Reader::open(path)?;
        while let Some(raw) = reader.next_line()? {
            // A witness may have other lines between, and the beginning of one that was cut.
            if let Ok(line) = Line::parse(record_in(raw.bytes)) {
                self.witness.insert(line.seq, line.hash);
            }
        }
        if self.witness.is_empty() {
            let message = format!("{}: there is no record in the witness", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
        }
        self.witnessed = Some(0);
        Ok(())
    }

    /// Follows the keys through the checkpoints that were kept when their segments were pruned.
    fn take_kept_seals(&mut self, path: &Path) -> Result<(), VerifyError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(seals) = &mut self.seals else {
            return Ok(());
        };
        for (number, bytes) in (1..).zip(text.split(|b| *b == b'\n')) {
            let Ok(line) = Line::parse(bytes) else {
                continue;
            };
            seals.take(&line).map_err(|what| Broken {
                place: Place {
                    file: path.to_owned(),
                    line: number,
                },
                seq: Some(line.seq),
                what,
            })?;
        }
        // The trail's own checkpoints must be the same ones, so they are compared like a witness's.
        for bytes in text.split(|b| *b == b'\n') {
            if let Ok(line) = Line::parse(bytes) {
                self.witness.entry(line.seq).or_insert(line.hash);
            }
        }
        Ok(())
    }
}

impl Seals {
    fn take(&mut self, line: &Line<'_>) -> Result<(), String> {
        if line.seq <= self.last {
            return Ok(());
        }
        let keys = line.data::<KeyData>().ok_or("a checkpoint without keys")?;
        if keys.key != self.expected.as_str() {
            return Err(format!(
                "the checkpoint's key is not {}, which is due",
                self.expected.as_str()
            ));
        }
        let (signature, signed) = line
            .signed
            .as_ref()
            .ok_or("a checkpoint without a signature")?;
        if !self.expected.verifies(signed, signature) {
            return Err("the checkpoint's signature is not its key's".into());
        }
        self.expected = PublicKey::parse(&keys.next).ok_or("a checkpoint without a successor")?;
        self.last = line.seq;
        Ok(())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "{}: record {seq}: {}", self.place, self.what),
            None if self.place.line > 0 => write!(f, "{}: {}", self.place, self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Broken {}

/// The record in a line of a log that put something before it, as syslog does.
fn record_in(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .windows(START.len())
        .position(|window| window == START);
    &bytes[start.unwrap_or(0)..]
}

const START: &[u8] = b"{\"v\":1,\"trail\":";
/// A segment that failed holds at most so many records that stand again in the next.
const RECENT: usize = 16 * 1024;
