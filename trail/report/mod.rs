//! Sums up the records of a month by client and destination, over one trail or several.
//!
//! [`Builder`] only adds. Its caller finds out which trails are proved, as [`read`] does, and the
//! report has that verdict for each trail.

pub mod csv;
mod month;
mod read;
mod sum;
#[cfg(test)]
mod tests;
pub mod xlsx;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::data::{AuditGap, ClockStepped};
use crate::human;
use crate::record::Record;
use crate::words::Event;

pub use month::Month;
pub use read::{ReadError, read};
pub use sum::Builder;

/// The sums of a month.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub month: Month,
    pub days_in_month: u8,
    /// Days between the first and the last record of a trail.
    pub days_covered: u8,
    pub trails: Vec<Trail>,
    pub rows: Vec<Row>,
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
    /// Lines that are no records, or of an unknown event. They are not in the sums.
    pub unread: u64,
    /// The records of the whole trail.
    pub all: Span,
    /// The records of the month.
    pub in_month: Span,
    /// The gaps that records of the month declare.
    pub gaps: Vec<TrailGap>,
    /// The jumps of the clock that were recorded in the month.
    pub clock_steps: Vec<ClockStep>,
}

/// Whether the chain is whole. Only `audit verify --key` checks the seals.
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The client's name in the inventory, or else its address.
    pub client: String,
    pub listed: bool,
    pub role: Option<String>,
    pub addresses: BTreeSet<IpAddr>,
    /// None for requests that matched no destination.
    pub destination: Option<String>,
    /// Tunnels that ended in the month.
    pub tunnels: u64,
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
    /// Tunnels that carried bytes to the destination.
    pub uploads: u64,
    pub first_upload: Option<Timestamp>,
    pub last_upload: Option<Timestamp>,
    /// Covered days without an upload, none in a row without a destination.
    pub days_without_upload: Option<Vec<Date>>,
    /// The longest run of days without an upload.
    pub longest_without_upload: Option<u8>,
    /// The days with an upload.
    pub days: Vec<Day>,
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

impl Trail {
    fn add(&mut self, record: &Record, in_month: bool) {
        self.all.add(record);
        if !in_month {
            return;
        }
        self.in_month.add(record);
        if !self.relays.contains(&*record.relay) {
            self.relays.insert(record.relay.to_string());
        }
        match record.event {
            Event::AuditGap => {
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
            Event::ClockStepped => {
                let stepped = record.data::<ClockStepped>();
                self.clock_steps.push(ClockStep {
                    time: record.time,
                    seconds: stepped.map_or(0.0, |stepped| stepped.seconds),
                });
            }
            _ => {}
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
        write!(f, "set by {:+.1} s at {time}", self.seconds)
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

fn earliest(known: Option<Timestamp>, time: Timestamp) -> Timestamp {
    known.map_or(time, |known| known.min(time))
}
