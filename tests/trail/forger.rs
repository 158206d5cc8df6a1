//! What a forger can do to a trail who can write its files, and has no key that sealed them.

use std::fs;
use std::path::{Path, PathBuf};

use callhome_relay::audit::AuditOptions;
use callhome_trail::segments::{self, ACTIVE};
use callhome_trail::verify::{Evidence, Verification, VerifyError, verify};
use callhome_trail::{Data, HEAD, Hash, Head, Line, PublicKey, Reader, RelayStopped, seals};
use serde_json::Value;

use crate::support::trail::{options, session, start};

/// The lines of a directory, to be changed and written back.
pub(super) struct Forger {
    directory: PathBuf,
    pub(super) lines: Vec<String>,
}

impl Forger {
    pub(super) fn of(directory: &Path) -> Self {
        let mut reader = Reader::open(directory).unwrap();
        let mut lines = Vec::new();
        while let Some(raw) = reader.next_line().unwrap() {
            lines.push(String::from_utf8(raw.bytes.to_vec()).unwrap());
        }
        Self {
            directory: directory.to_owned(),
            lines,
        }
    }

    /// Replaces a text in every line that has it, and leaves the hashes wrong.
    pub(super) fn change(&mut self, old: &str, new: &str) -> &mut Self {
        let mut changed = 0;
        for line in &mut self.lines {
            changed += usize::from(line.contains(old));
            *line = line.replace(old, new);
        }
        assert!(changed > 0, "no line has {old}");
        self
    }

    /// Takes all records of an event out, from this index on.
    pub(super) fn strip(&mut self, event: &str, from: usize) -> &mut Self {
        let mut index = 0;
        self.lines.retain(|line| {
            index += 1;
            index <= from || event_of(line) != event
        });
        self
    }

    /// Numbers and chains the lines anew, from this index on. Signatures stay as they are.
    pub(super) fn chain(&mut self, from: usize) -> &mut Self {
        for index in from..self.lines.len() {
            let (seq, prev) = match index.checked_sub(1) {
                Some(before) => {
                    let before = parsed(&self.lines[before]);
                    (before.seq + 1, before.hash)
                }
                None => (number(&self.lines[0]), Hash::GENESIS),
            };
            self.lines[index] = chained(&self.lines[index], seq, &prev);
        }
        self
    }

    /// Appends a record that follows the last one correctly.
    pub(super) fn append(&mut self, event: &str, data: &Value) -> &mut Self {
        let last = parsed(self.lines.last().unwrap());
        let (trail, time) = (&last.trail, &last.time);
        let zeros = Hash::GENESIS;
        let line = format!(
            "{{\"v\":1,\"trail\":\"{trail}\",\"seq\":0,\"time\":\"{time}\",\"relay\":\"test\",\
             \"event\":\"{event}\",\"data\":{data},\"prev\":\"{zeros}\",\"hash\":\"{zeros}\"}}"
        );
        let line = chained(&line, last.seq + 1, &last.hash);
        self.lines.push(line);
        self
    }

    /// Appends the opening record of a tunnel, whose destination is this long, or so long that the
    /// line is as long as a line can be.
    pub(super) fn append_session(&mut self, length: usize) -> &mut Self {
        let mut record = session("tunnel_opened", "2026-11-24T14:03:07.5Z", None);
        let mut line = |length: usize, forger: &mut Self| {
            record["destination"] = "x".repeat(length).into();
            let members = record.to_string();
            let last = parsed(forger.lines.last().unwrap());
            let (trail, zeros) = (&last.trail, Hash::GENESIS);
            let line = format!(
                "{{\"v\":1,\"trail\":\"{trail}\",\"seq\":0,{},\"prev\":\"{zeros}\",\"hash\":\"{zeros}\"}}",
                &members[1..members.len() - 1]
            );
            chained(&line, last.seq + 1, &last.hash)
        };
        let longest = usize::try_from(segments::MAX_LINE).unwrap() - 1;
        let without = line(0, self).len();
        let line = line(length.min(longest - without), self);
        self.lines.push(line);
        self
    }

    /// Puts the lines in the place of all segments.
    pub(super) fn write(&self) {
        for segment in segments::list(&self.directory).unwrap() {
            fs::remove_file(segment.path).unwrap();
        }
        fs::write(self.directory.join(ACTIVE), text(&self.lines)).unwrap();
    }

    /// Makes `head.json` and `seals.jsonl` fit the lines, as far as that needs no key.
    pub(super) fn mend(&self) {
        self.mend_head();
        let checkpoints = self.lines.iter();
        let checkpoints = checkpoints.filter(|line| event_of(line) == "checkpoint");
        fs::write(self.directory.join(seals::SEALS), text(checkpoints)).unwrap();
    }

    /// Makes `head.json` name the last line, without a signature.
    pub(super) fn mend_head(&self) {
        let last = parsed(self.lines.last().unwrap());
        let head = Head::new(&last.trail, last.seq, &last.hash);
        write_head(&self.directory, &head);
    }

    /// Appends the last line to the segment that is being written.
    pub(super) fn append_last(&self) {
        let path = self.directory.join(ACTIVE);
        let mut bytes = fs::read(&path).unwrap_or_default();
        bytes.extend(text(self.lines.last()).bytes());
        fs::write(path, bytes).unwrap();
    }
}

/// Deletes the oldest segments but `left`, and returns the first number that is left and the hash
/// before it.
pub(super) fn delete_oldest(directory: &Path, left: usize) -> (u64, Hash) {
    let mut all = segments::list(directory).unwrap();
    assert!(all.len() > left, "{all:?}");
    let stay = all.split_off(all.len() - left);
    for segment in all {
        fs::remove_file(segment.path).unwrap();
    }
    (stay[0].first, stay[0].prev)
}

pub(super) fn write_head(directory: &Path, head: &Head) {
    let text = serde_json::to_vec(head).unwrap();
    fs::write(directory.join(HEAD), text).unwrap();
}

/// Runs a relay's trail on a directory, which records this many events. `first` is the number that
/// the first of them carries.
pub(super) fn record(options: &AuditOptions, first: usize, count: usize) {
    let (audit, writer) = start(options);
    for n in first..first + count {
        audit.relay_event(stopped(n));
    }
    writer.close();
}

/// An event of the relay itself that carries a number.
pub(super) fn stopped(n: usize) -> Data {
    Data::RelayStopped(RelayStopped {
        cause: "test".into(),
        tunnels_cut: n,
    })
}

/// Writes a trail of one segment with a checkpoint at each end.
pub(super) fn trail(directory: &Path, records: usize) {
    record(&options(directory, 64 << 20), 0, records);
}

/// Writes a trail of several segments.
pub(super) fn segmented(directory: &Path) {
    let options = options(directory, 4_000);
    for run in 0..6 {
        record(&options, 10 * run, 10);
    }
    assert!(segments::list(directory).unwrap().len() >= 4);
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Writes every record of a directory into one file, as a log server keeps them.
pub(super) fn witness(directory: &Path, file: &Path) {
    fs::write(file, text(&Forger::of(directory).lines)).unwrap();
}

pub(super) fn with_key(key: &PublicKey) -> Evidence<'static> {
    Evidence {
        key: Some(key.clone()),
        ..Evidence::default()
    }
}

/// What is wrong with a trail that must be broken.
pub(super) fn broken(path: &Path, evidence: &Evidence<'_>) -> String {
    match verify(path, evidence, |_| ()) {
        Err(VerifyError::Broken(broken)) => broken.to_string(),
        other => panic!("{other:#?}"),
    }
}

/// The report on a trail that must not be broken.
pub(super) fn proved(path: &Path, evidence: &Evidence<'_>) -> Verification {
    verify(path, evidence, |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

/// The same for a trail that must also have no gap.
pub(super) fn whole(path: &Path, evidence: &Evidence<'_>) -> Verification {
    let report = proved(path, evidence);
    assert!(report.gaps.is_empty(), "{:#?}", report.gaps);
    report
}

pub(super) fn parsed(line: &str) -> Line<'_> {
    Line::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

pub(super) fn text<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    let lines = lines.into_iter().map(|line| format!("{line}\n"));
    lines.collect()
}

fn event_of(line: &str) -> &str {
    let (_, rest) = line.split_once("\"event\":\"").unwrap();
    rest.split_once('"').unwrap().0
}

fn number(line: &str) -> u64 {
    let (_, rest) = line.split_once("\"seq\":").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

/// Gives a line another number and another `prev`, and the hash of that.
fn chained(line: &str, seq: u64, prev: &Hash) -> String {
    let old = format!("\"seq\":{},", number(line));
    let line = line.replacen(&old, &format!("\"seq\":{seq},"), 1);
    let at = line.rfind(",\"prev\":\"").unwrap() + ",\"prev\":\"".len();
    let end = line.rfind(",\"hash\":\"").unwrap();
    let hashed = [&line[..at], prev.as_str(), &line[at + 64..end]].concat();
    let hash = Hash::of(hashed.as_bytes());
    format!("{hashed},\"hash\":\"{hash}\"}}")
}
