//! Prints what the demo shows: a line for each step, then the trail.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::machines::{Attempt, Machine, Saw};
use super::steps::{DemoStep, HOST, UNLISTED, ZCA, ZVM};
use super::trail::{DemoTrail, first_broken};
use crate::cli::out;

/// Holds what the demo has shown. Its serialized form is the answer of `--json`.
#[derive(Serialize)]
pub(super) struct DemoReport {
    stand_in: SocketAddr,
    relay: SocketAddr,
    steps: Vec<PlayedStep>,
    trail: Verified,
    seconds: f64,
    /// Whether every step and the trail are as expected.
    pub(super) as_expected: bool,
}

/// Pairs a step with what came of it.
#[derive(Serialize)]
struct PlayedStep {
    machine: Machine,
    attempt: Attempt,
    saw: Saw,
    /// The session's last record, as the trail has it.
    record: Value,
    as_expected: bool,
}

/// Holds what the verification has shown, of the trail and of a damaged copy.
#[derive(Serialize)]
struct Verified {
    records: usize,
    /// The first record, counted from one, that isn't chained to the record before it. None when
    /// the chain is whole.
    broken_at: Option<usize>,
    /// The record of which one byte was changed in a copy.
    changed: usize,
    /// The record at which the verification of the copy found the chain broken.
    change_found_at: Option<usize>,
    /// The record of the first upload.
    #[serde(skip)]
    sample: String,
}

impl DemoReport {
    pub(super) fn new(
        (stand_in, relay): (SocketAddr, SocketAddr),
        steps: Vec<DemoStep>,
        seen: Vec<(SocketAddr, Saw)>,
        trail: &DemoTrail,
        took: Duration,
    ) -> Self {
        let sample = seen.first().and_then(|(client, _)| trail.closing(*client));
        let sample = sample.map_or(0, |(at, _)| at);
        let steps: Vec<_> = steps
            .into_iter()
            .zip(seen)
            .map(|(step, (client, saw))| {
                let record = trail.closing(client).map(|(_, record)| record.clone());
                let record = record.unwrap_or_default();
                PlayedStep {
                    as_expected: step.expected.met(&step, &saw, &record),
                    machine: step.machine,
                    attempt: step.attempt,
                    saw,
                    record,
                }
            })
            .collect();
        let trail = Verified::new(trail, sample);
        Self {
            stand_in,
            relay,
            as_expected: steps.iter().all(|step| step.as_expected) && trail.as_expected(),
            steps,
            trail,
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            stand_in, relay, ..
        } = self;
        writeln!(
            out,
            "Nothing leaves this machine: {stand_in} stands in for {HOST}, with a throw-away certificate.\n\
             The relay listens on {relay}. It knows {} ({}) and {} ({}), and nobody else; {} is {}.\n",
            ZVM.name, ZVM.address, ZCA.name, ZCA.address, UNLISTED.name, UNLISTED.address
        )?;
        let rows: Vec<[String; 4]> = self.steps.iter().map(PlayedStep::cells).collect();
        let head = ["machine", "uploads", "sees", "the trail says"].map(str::to_owned);
        let widths: Vec<_> = (0..3)
            .map(|column| {
                let cells = rows.iter().chain([&head]);
                cells
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |[machine, does, sees, says]: &[String; 4]| {
            format!(
                "{machine:0$}  {does:1$}  {sees:2$}  {says}",
                widths[0], widths[1], widths[2]
            )
        };
        writeln!(out, "     {}", line(&head))?;
        for (step, row) in self.steps.iter().zip(&rows) {
            writeln!(out, "{} {}", Mark(step.as_expected), line(row))?;
        }
        self.trail.print(out)?;
        writeln!(
            out,
            "\n{:.1} s. Next:\n  \
             callhome-relay check     walks the way from here to the real hosts, and says what is wrong with it\n  \
             callhome-relay serve     runs the relay on port 3128, for clients with private addresses",
            self.seconds
        )
    }
}

impl PlayedStep {
    fn cells(&self) -> [String; 4] {
        [
            self.machine.name.to_owned(),
            self.attempt.to_string(),
            self.saw.to_string(),
            summary(&self.record),
        ]
    }
}

/// Sums a record up in a few words.
fn summary(record: &Value) -> String {
    let Some(decision) = record["decision"].as_str() else {
        return "nothing".to_owned();
    };
    let why = record["reason"].as_str().or(record["destination"].as_str());
    let why = why.unwrap_or_default();
    let seq = &record["seq"];
    match record["bytes_up"].as_u64() {
        Some(up @ 1..) => format!("#{seq} {decision} {why}, {up} bytes up"),
        _ => format!("#{seq} {decision} {why}"),
    }
}

impl Verified {
    fn new(trail: &DemoTrail, sample: usize) -> Self {
        let mut copy = trail.lines.clone();
        let changed = copy.len() / 2;
        if let Some(line) = copy.get_mut(changed) {
            let middle = line.len() / 2;
            line[middle] ^= 1;
        }
        let from_one = |at| at + 1;
        let sample = trail
            .lines
            .get(sample)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Self {
            records: trail.lines.len(),
            broken_at: first_broken(&trail.lines).map(from_one),
            changed: from_one(changed),
            change_found_at: first_broken(&copy).map(from_one),
            sample: String::from_utf8_lossy(sample).into_owned(),
        }
    }

    fn as_expected(&self) -> bool {
        self.is_whole() && self.finds_the_change()
    }

    fn is_whole(&self) -> bool {
        self.records > 0 && self.broken_at.is_none()
    }

    fn finds_the_change(&self) -> bool {
        self.change_found_at == Some(self.changed)
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "\n{} the trail: {} records, ",
            Mark(self.is_whole()),
            self.records
        )?;
        match self.broken_at {
            None => writeln!(
                out,
                "chain whole, every hash recomputed from the bytes of the file"
            )?,
            Some(at) => writeln!(out, "chain broken at record {at}")?,
        }
        let found = match self.change_found_at {
            Some(at) => format!("broken at record {at}"),
            None => "not noticed".to_owned(),
        };
        writeln!(
            out,
            "{} one byte of record {} changed in a copy: {found}",
            Mark(self.finds_the_change()),
            self.changed
        )?;
        writeln!(
            out,
            "\nThe record of the first upload, with line breaks added:"
        )?;
        for line in wrap(&self.sample, WIDTH) {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }
}

/// Breaks a record into lines behind the commas of its members. A line has at most `width` bytes,
/// unless one member alone is longer.
fn wrap(record: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for member in record.split_inclusive(',') {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + member.len() <= width => *line += member,
            _ => lines.push(member.to_owned()),
        }
    }
    lines
}

/// Shows whether a line is as expected.
struct Mark(bool);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, bad) = (out::GOOD, out::BAD);
        if self.0 {
            write!(f, "{good}ok{good:#}  ")
        } else {
            write!(f, "{bad}FAIL{bad:#}")
        }
    }
}

const WIDTH: usize = 116;
