//! Adding records up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::month::{Days, Month};
use super::{Day, Report, Row, Trail, earliest};
use crate::audit::entry::Entry;
use crate::audit::record::{Decision, Event};
use crate::proxy_error::{Reason, Verdict};

/// The sum while it is made.
#[derive(Debug)]
pub struct Builder {
    month: Month,
    pub(super) trails: Vec<Trail>,
    rows: BTreeMap<Key, Sum>,
    /// Refusals that were counted by address only.
    bulk: BTreeMap<IpAddr, BTreeMap<String, u64>>,
    names: BTreeMap<IpAddr, BTreeSet<String>>,
}

type Key = (Who, Option<String>);

/// A row while it is made, and its days.
type Sum = (Row, BTreeMap<u8, Day>);

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

    /// What is added from now on is of this trail.
    pub fn begin(&mut self, path: String) -> &mut Trail {
        self.trails.push_mut(Trail {
            path,
            ..Trail::default()
        })
    }

    /// Adds a record of the trail that was begun last. A record must be added once.
    pub fn add(&mut self, entry: &Entry) {
        let day = self.month.day(entry.time);
        if let Some(trail) = self.trails.last_mut() {
            trail.add(entry, day.is_some());
        }
        let Some(day) = day else { return };
        if entry.event == Event::Refusals {
            self.add_bulk(entry);
        } else if entry.is_closing() {
            self.add_session(entry, day);
        }
    }

    fn add_bulk(&mut self, entry: &Entry) {
        #[derive(Deserialize)]
        struct Refusals {
            address: IpAddr,
            reasons: BTreeMap<String, u64>,
        }
        let data = entry.data.clone().map(serde_json::from_value::<Refusals>);
        if let Some(Ok(data)) = data {
            add_up(self.bulk.entry(data.address).or_default(), data.reasons);
        }
    }

    fn add_session(&mut self, entry: &Entry, day: u8) {
        let Some(client) = &entry.client else { return };
        let who = match &client.name {
            Some(name) => Who::Listed(name.clone()),
            None => Who::Unlisted(client.address),
        };
        if let Some(name) = &client.name {
            let names = self.names.entry(client.address).or_default();
            names.insert(name.clone());
        }
        let date = self.month.date(day);
        let (row, days) = self.row(who, entry.destination.clone());
        row.addresses.insert(client.address);
        row.role.clone_from(&client.role);
        row.bytes_up = row.bytes_up.saturating_add(entry.bytes_up);
        row.bytes_down = row.bytes_down.saturating_add(entry.bytes_down);
        let reasons = if entry.decision == Some(Decision::Deny) {
            &mut row.refusals
        } else {
            &mut row.failures
        };
        if let Some(reason) = &entry.reason {
            *reasons.entry(reason.clone()).or_default() += 1;
        } else if !entry.had_tunnel() {
            *reasons.entry(ABANDONED.to_owned()).or_default() += 1;
        }
        if entry.decision != Some(Decision::Allow) || !entry.had_tunnel() {
            return;
        }
        row.tunnels += 1;
        row.lost += u64::from(entry.event == Event::TunnelLost);
        row.not_enforced += u64::from(entry.enforced == Some(false));
        if entry.bytes_up == 0 {
            return;
        }
        row.uploads += 1;
        // Several trails aren't in the order of time.
        row.first_upload = Some(earliest(row.first_upload, entry.time));
        row.last_upload = row.last_upload.max(Some(entry.time));
        let day = days.entry(day).or_insert(Day {
            date,
            uploads: 0,
            bytes_up: 0,
            bytes_down: 0,
        });
        day.uploads += 1;
        day.bytes_up = day.bytes_up.saturating_add(entry.bytes_up);
        day.bytes_down = day.bytes_down.saturating_add(entry.bytes_down);
    }

    fn row(&mut self, who: Who, destination: Option<String>) -> &mut Sum {
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
            // Counted by address; the client is known where only one had it in the month.
            let names = self.names.get(&address);
            let only = names.filter(|names| names.len() == 1);
            let who = match only.and_then(BTreeSet::first) {
                Some(name) => Who::Listed(name.clone()),
                None => Who::Unlisted(address),
            };
            let (row, _) = self.row(who, None);
            row.addresses.insert(address);
            let (failures, refusals) = reasons
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

/// Whether a reason is one for which requests fail that policy allows.
fn is_failure(token: &str) -> bool {
    Reason::of(token).is_some_and(|reason| reason.verdict() == Verdict::Failed)
}

fn add_up(sum: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (reason, count) in more {
        let sum = sum.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// The reason of a request that its client gave up, which has none.
const ABANDONED: &str = "abandoned";
