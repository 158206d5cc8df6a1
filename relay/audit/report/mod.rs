//! What a month's records come to, by client and destination, over one trail or several.
//!
//! A pure sum: it is given records and says what was in them. Which of them are proven is its caller's to find out
//! ([`read`] does), and stands beside each trail's share.

mod month;
mod read;
mod sum;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::record::Event;

pub use month::Month;
pub use read::{ReadError, read};
pub use sum::Builder;

/// The whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub month: Month,
    pub days_in_month: u8,
    /// Days of which some trail has a record, or has records on both sides.
    pub days_covered: u8,
    pub trails: Vec<Trail>,
    pub rows: Vec<Row>,
}

/// A trail, and what of it the report rests on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trail {
    pub path: String,
    pub trail: String,
    pub relays: BTreeSet<String>,
    pub verdict: Verdict,
    /// The first thing that is wrong, when it is broken.
    pub broken: Option<String>,
    /// Lines that are no records, or of a kind that isn't known. They are not in the report.
    pub unread: u64,
    /// The records of the whole trail.
    pub all: Span,
    /// Those of the month.
    pub in_month: Span,
    /// What the trail declares missing, told in the month.
    pub gaps: Vec<Gap>,
    /// When the clock was set, in the month.
    pub clock_steps: Vec<ClockStep>,
}

/// What the chain says. The seals are another matter: `audit verify --key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    #[default]
    NotChecked,
    Whole,
    /// Whole, but for gaps that it declares, in the month or not.
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

/// Either records with numbers, or a count of what was never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub time: Timestamp,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockStep {
    pub time: Timestamp,
    /// By which it was set forward.
    pub seconds: f64,
}

/// One client and one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its name in the inventory; else its address.
    pub client: String,
    pub listed: bool,
    pub role: Option<String>,
    pub addresses: BTreeSet<IpAddr>,
    /// None for requests that no destination decided.
    pub destination: Option<String>,
    /// Tunnels that ended in the month.
    pub tunnels: u64,
    /// Those whose end nobody saw; their bytes are the last that were recorded.
    pub lost: u64,
    /// Those that report-only let through.
    pub not_enforced: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Requests denied, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Requests allowed that failed or were given up, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Tunnels that carried bytes to the destination.
    pub uploads: u64,
    pub first_upload: Option<Timestamp>,
    pub last_upload: Option<Timestamp>,
    /// Covered days without an upload; None where no destination is.
    pub days_without_upload: Option<Vec<Date>>,
    /// The most of them in a row.
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

impl Verdict {
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
    fn add(&mut self, entry: &Entry, in_month: bool) {
        #[derive(Deserialize)]
        struct Missing {
            from: Option<u64>,
            to: Option<u64>,
            count: Option<u64>,
            cause: String,
        }
        #[derive(Deserialize)]
        struct Stepped {
            seconds: f64,
        }
        self.all.add(entry);
        if !in_month {
            return;
        }
        self.in_month.add(entry);
        if !self.relays.contains(&entry.relay) {
            self.relays.insert(entry.relay.clone());
        }
        let data = || entry.data.clone().unwrap_or_default();
        match entry.event {
            Event::AuditGap => {
                let missing = serde_json::from_value::<Missing>(data()).ok();
                self.gaps.push(Gap {
                    time: entry.time,
                    from: missing.as_ref().and_then(|missing| missing.from),
                    to: missing.as_ref().and_then(|missing| missing.to),
                    count: missing.as_ref().and_then(|missing| missing.count),
                    cause: missing.map(|missing| missing.cause).unwrap_or_default(),
                });
            }
            Event::ClockStepped => {
                let stepped = serde_json::from_value::<Stepped>(data());
                self.clock_steps.push(ClockStep {
                    time: entry.time,
                    seconds: stepped.map_or(0.0, |stepped| stepped.seconds),
                });
            }
            _ => {}
        }
    }
}

impl Span {
    fn add(&mut self, entry: &Entry) {
        self.records += 1;
        self.from = self.from.min(Some(entry.seq)).or(Some(entry.seq));
        self.to = self.to.max(Some(entry.seq));
        // The clock may have been set back meanwhile.
        self.first_time = Some(earliest(self.first_time, entry.time));
        self.last_time = self.last_time.max(Some(entry.time));
    }
}

fn earliest(known: Option<Timestamp>, time: Timestamp) -> Timestamp {
    known.map_or(time, |known| known.min(time))
}
