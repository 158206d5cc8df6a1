//! Adds records up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::month::{Days, Month};
use super::{Day, Report, Row, Trail, earliest};
use crate::data::Refusals;
use crate::reason::{Reason, Verdict};
use crate::record::Record;
use crate::words::{ABANDONED, Decision, Event};

/// The sums while records are added.
#[derive(Debug)]
pub struct Builder {
    month: Month,
    pub(super) trails: Vec<Trail>,
    rows: BTreeMap<RowKey, RowSum>,
    /// Refusals that were counted together, by address.
    bulk: BTreeMap<IpAddr, BTreeMap<String, u64>>,
    names: BTreeMap<IpAddr, BTreeSet<String>>,
}

type RowKey = (Who, Option<String>);

/// A row that is being summed up, and its days.
type RowSum = (Row, BTreeMap<u8, Day>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Listed(String),
    Unlisted(IpAddr),
}

impl Builder {
    pub fn new(month: Month) -> Self {
        Self {
            month,
            trails: Vec::new(),
            rows: BTreeMap::new(),
            bulk: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Begins a trail. The records that are added from now on are its.
    pub fn begin(&mut self, path: String) -> &mut Trail {
        self.trails.push_mut(Trail {
            path,
            ..Trail::default()
        })
    }

    /// Adds a record of the trail that was begun last. Each record must be added only once.
    pub fn add(&mut self, record: &Record) {
        let day = self.month.day(record.time);
        if let Some(trail) = self.trails.last_mut() {
            trail.add(record, day.is_some());
        }
        let Some(day) = day else { return };
        if record.event == Event::Refusals {
            self.add_bulk(record);
        } else if record.is_closing() {
            self.add_session(record, day);
        }
    }

    fn add_bulk(&mut self, record: &Record) {
        if let Some(data) = record.data::<Refusals>() {
            let reasons = data.reasons.into_iter();
            let reasons = reasons.map(|(reason, count)| (reason.to_string(), count));
            add_up(self.bulk.entry(data.address).or_default(), reasons);
        }
    }

    fn add_session(&mut self, record: &Record, day: u8) {
        let Some(client) = &record.client else { return };
        let who = match &client.name {
            Some(name) => Who::Listed(name.to_string()),
            None => Who::Unlisted(client.address),
        };
        if let Some(name) = &client.name {
            let names = self.names.entry(client.address).or_default();
            names.insert(name.to_string());
        }
        let date = self.month.date(day);
        let (row, days) = self.row(who, record.destination.as_deref().map(str::to_owned));
        row.addresses.insert(client.address);
        row.role = client.role.as_deref().map(str::to_owned);
        row.bytes_up = row.bytes_up.saturating_add(record.bytes_up);
        row.bytes_down = row.bytes_down.saturating_add(record.bytes_down);
        let reasons = if record.decision == Some(Decision::Deny) {
            &mut row.refusals
        } else {
            &mut row.failures
        };
        if let Some(reason) = &record.reason {
            *reasons.entry(reason.to_string()).or_default() += 1;
        } else if !record.had_tunnel() {
            *reasons.entry(ABANDONED.to_owned()).or_default() += 1;
        }
        if record.decision != Some(Decision::Allow) || !record.had_tunnel() {
            return;
        }
        row.tunnels += 1;
        row.lost += u64::from(record.event == Event::TunnelLost);
        row.not_enforced += u64::from(record.enforced == Some(false));
        if record.bytes_up == 0 {
            return;
        }
        row.uploads += 1;
        // Take the earliest time: the records of several trails don't come in the order of time.
        row.first_upload = Some(earliest(row.first_upload, record.time));
        row.last_upload = row.last_upload.max(Some(record.time));
        let day = days.entry(day).or_insert(Day {
            date,
            uploads: 0,
            bytes_up: 0,
            bytes_down: 0,
        });
        day.uploads += 1;
        day.bytes_up = day.bytes_up.saturating_add(record.bytes_up);
        day.bytes_down = day.bytes_down.saturating_add(record.bytes_down);
    }

    fn row(&mut self, who: Who, destination: Option<String>) -> &mut RowSum {
        self.rows
            .entry((who.clone(), destination.clone()))
            .or_insert_with(|| {
                let (client, listed) = match who {
                    Who::Listed(name) => (name, true),
                    Who::Unlisted(address) => (address.to_string(), false),
                };
                let row = Row {
                    client,
                    listed,
                    destination,
                    ..Row::default()
                };
                (row, BTreeMap::new())
            })
    }

    pub fn finish(mut self) -> Report {
        for (address, reasons) in std::mem::take(&mut self.bulk) {
            // These were counted by address. The client is known if only one client had the address
            // in the month.
            let names = self.names.get(&address);
            let only = names.filter(|names| names.len() == 1);
            let who = match only.and_then(BTreeSet::first) {
                Some(name) => Who::Listed(name.clone()),
                None => Who::Unlisted(address),
            };
            let (row, _) = self.row(who, None);
            row.addresses.insert(address);
            let (failures, refusals): (BTreeMap<_, _>, BTreeMap<_, _>) = reasons
                .into_iter()
                .partition(|(token, _)| is_failure(token));
            add_up(&mut row.refusals, refusals);
            add_up(&mut row.failures, failures);
        }
        let month = self.month;
        let covered = self
            .trails
            .iter()
            .filter_map(|trail| trail.all.first_time.zip(trail.all.last_time))
            .map(|(from, to)| month.between(from, to))
            .fold(Days::default(), Days::union);
        let rows = self.rows.into_values().map(|(mut row, days)| {
            if row.destination.is_some() {
                let without = covered.without(days.keys().copied().collect());
                row.days_without_upload = Some(month.dates(without));
                row.longest_without_upload = Some(without.longest_run());
            }
            row.days = days.into_values().collect();
            row
        });
        Report {
            month,
            days_in_month: month.length(),
            days_covered: u8::try_from(month.dates(covered).len()).unwrap_or(31),
            rows: rows.collect(),
            trails: self.trails,
        }
    }
}

/// Whether this is a reason for which requests fail that policy allows.
fn is_failure(token: &str) -> bool {
    token == ABANDONED
        || Reason::of(token).is_some_and(|reason| reason.verdict() == Verdict::Failed)
}

fn add_up(sum: &mut BTreeMap<String, u64>, more: impl IntoIterator<Item = (String, u64)>) {
    for (reason, count) in more {
        let sum = sum.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
}
