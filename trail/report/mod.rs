//! Sums up the records of a month by client and destination, over one trail or several.
//!
//! [`Builder`] only adds. Its caller finds out which trails are proved, as [`read`] does, and the
//! report has that verdict for each trail.

mod coverage;
pub mod csv;
mod finish;
mod month;
mod notes;
mod read;
mod sum;
#[cfg(test)]
mod tests;
mod tunnels;
pub mod xlsx;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::data::{AuditGap, ClockStepped};
use crate::human;
use crate::record::Record;
use crate::words::Event;

pub use month::Month;
pub use read::{ReadError, Source, read};
pub use sum::Builder;

/// The sums of a month.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub month: Month,
    pub days_in_month: u8,
    /// Days on which a relay ran.
    pub days_covered: u8,
    /// Days on which none did.
    pub days_uncovered: Vec<Date>,
    pub trails: Vec<Trail>,
    pub rows: Vec<Row>,
    /// The addresses of the listed clients.
    pub addresses: Vec<AddressRow>,
}

/// A trail, and the part of it that the report is made from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trail {
    pub path: String,
    pub trail: String,
    pub relays: BTreeSet<String>,
    pub verdict: ChainVerdict,
    /// What is wrong with a broken trail, and where.
    pub broken: Option<String>,
    pub seals: SealVerdict,
    /// The last record that a valid seal covers, if a key was given.
    pub sealed_to: Option<u64>,
    /// The last record that a valid signature of the head covers, if a key was given.
    pub signed_to: Option<u64>,
    /// Lines that are no records, or of an unknown event. They are not in the sums.
    pub unread: u64,
    /// The records of the whole trail.
    pub all: Span,
    /// The records of the month.
    pub in_month: Span,
    /// The days of the month on which the relay ran, and for how many seconds.
    pub days_run: u8,
    pub seconds_run: u64,
    /// The gaps that records of the month declare.
    pub gaps: Vec<TrailGap>,
    /// The jumps of the clock out of the month, into it or within it.
    pub clock_steps: Vec<ClockStep>,
}

/// Whether the chain is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainVerdict {
    #[default]
    NotChecked,
    Whole,
    /// Whole but for gaps that the trail declares, in this month or another.
    Gaps,
    Broken,
}

/// Whether the seals of a trail are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SealVerdict {
    /// No key was given.
    #[default]
    NotChecked,
    /// Valid up to `sealed_to`.
    Valid,
    /// Not valid, or not reached, because the trail is broken.
    Broken,
}

/// A run of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    pub records: u64,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub first_time: Option<Timestamp>,
    pub last_time: Option<Timestamp>,
}

/// Either the numbers of missing records, or a count of requests that were never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrailGap {
    pub time: Timestamp,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockStep {
    pub time: Timestamp,
    /// By how much the clock was set forward. Negative if it was set back.
    pub seconds: f64,
}

/// The sums of one client and one destination.
///
/// A tunnel belongs to the month and the day of its opening, or of the last hourly record in which
/// its bytes to the destination grew.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The client's name in the inventory, or else its address.
    pub client: String,
    pub listed: bool,
    pub role: Option<String>,
    /// Whether the inventory expects it to call home. None if no inventory tells.
    pub calls_home: Option<bool>,
    pub addresses: BTreeSet<IpAddr>,
    /// None for requests that matched no destination, and for a client that sent none.
    pub destination: Option<String>,
    /// Tunnels that ended, and tunnels still open that have carried an upload.
    pub tunnels: u64,
    /// Tunnels that are still open where the trail ends.
    pub open: u64,
    /// Tunnels whose end the relay didn't see. Their bytes are the last that were recorded.
    pub lost: u64,
    /// Tunnels that only report-only let through.
    pub not_enforced: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Requests denied, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Requests that were allowed and then failed or were given up, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Tunnels to where an upload counts that carried none, by what the relay says of them.
    pub not_uploads: BTreeMap<String, u64>,
    /// Tunnels that carried a probable upload.
    pub uploads: u64,
    /// Those of the uploads that an older relay didn't judge: any byte up made them one.
    pub unjudged: u64,
    pub first_upload: Option<Timestamp>,
    pub last_upload: Option<Timestamp>,
    /// Days on which a relay ran that lists the client, and the client uploaded nowhere. None where
    /// no upload counts, and for a client that isn't expected to call home.
    pub days_without_upload: Option<Vec<Date>>,
    /// The longest run of days without an upload.
    pub longest_without_upload: Option<u8>,
    /// The days with an upload. A day on which a tunnel was open that had more later has no counts.
    pub days: Vec<Day>,
}

/// The sums of one address of a listed client, so that no address hides the silence of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddressRow {
    pub client: String,
    pub address: IpAddr,
    pub tunnels: u64,
    pub uploads: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub refused: u64,
    pub failed: u64,
    pub first_upload: Option<Timestamp>,
    pub last_upload: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    pub date: Date,
    pub uploads: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
}

impl Row {
    /// Requests denied, whatever the reason.
    pub fn refused(&self) -> u64 {
        self.refusals
            .values()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Requests that failed, whatever the reason.
    pub fn failed(&self) -> u64 {
        self.failures
            .values()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl ChainVerdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Whole => "whole",
            Self::Gaps => "gaps",
            Self::Broken => "broken",
        }
    }
}

impl SealVerdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Valid => "valid",
            Self::Broken => "broken",
        }
    }
}

impl Trail {
    fn add(&mut self, record: &Record, month: Month) {
        self.all.add(record);
        if record.event == Event::ClockStepped {
            self.add_step(record, month);
        }
        if month.day(record.time).is_none() {
            return;
        }
        self.in_month.add(record);
        if !self.relays.contains(&*record.relay) {
            self.relays.insert(record.relay.to_string());
        }
        if record.event == Event::AuditGap {
            let gap = record.data::<AuditGap>();
            let gap = gap.unwrap_or_else(|| AuditGap::unnumbered(""));
            self.gaps.push(TrailGap {
                time: record.time,
                from: gap.from,
                to: gap.to,
                count: gap.count,
                cause: gap.cause.to_string(),
            });
        }
    }

    /// Adds a step out of the month, into it or within it.
    fn add_step(&mut self, record: &Record, month: Month) {
        let seconds = record
            .data::<ClockStepped>()
            .map_or(0.0, |stepped| stepped.seconds);
        let before = SignedDuration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|by| record.time.checked_sub(by).ok());
        let is_of_month = |time| month.day(time).is_some();
        if is_of_month(record.time) || before.is_some_and(is_of_month) {
            self.clock_steps.push(ClockStep {
                time: record.time,
                seconds,
            });
        }
    }
}

impl fmt::Display for TrailGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to, self.count) {
            (Some(from), Some(to), _) => write!(f, "records {from} to {to}")?,
            (_, _, Some(count)) => write!(f, "{count} requests without a record")?,
            _ => f.write_str("records")?,
        }
        write!(f, ", told at {}: {}", human::time(self.time), self.cause)
    }
}

impl fmt::Display for ClockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = human::time(self.time);
        write!(f, "set by {:+.1} s at {time}", self.seconds)?;
        if self.seconds.abs() >= LARGE_STEP {
            f.write_str(": what was recorded under the wrong time is on other days")?;
        }
        Ok(())
    }
}

impl Span {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.from = self.from.min(Some(record.seq)).or(Some(record.seq));
        self.to = self.to.max(Some(record.seq));
        // The clock may have been set back meanwhile.
        self.first_time = Some(earliest(self.first_time, record.time));
        self.last_time = self.last_time.max(Some(record.time));
    }
}

/// A step of the clock that may move uploads to other days.
const LARGE_STEP: f64 = 3600.0;

fn earliest(known: Option<Timestamp>, time: Timestamp) -> Timestamp {
    known.map_or(time, |known| known.min(time))
}
