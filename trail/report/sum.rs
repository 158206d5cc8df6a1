//! Adds records up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::coverage::{Coverage, Covered};
use super::month::{Days, Month};
use super::tunnels::{Dated, MonthTunnels};
use super::{AddressRow, Day, Row, Trail, earliest};
use crate::data::Refusals;
use crate::record::{Client, Record};
use crate::words::{ABANDONED, Decision, Event, Upload};

/// The sums while records are added.
#[derive(Debug)]
pub struct Builder {
    pub(super) month: Month,
    pub(super) trails: Vec<Trail>,
    pub(super) rows: BTreeMap<RowKey, RowSum>,
    pub(super) addresses: BTreeMap<(String, IpAddr), AddressRow>,
    /// Refusals that were counted together, by address.
    pub(super) bulk: BTreeMap<IpAddr, BTreeMap<String, u64>>,
    pub(super) names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// What the relays of the trails before cover.
    pub(super) covered: Covered,
    /// What the relay of the present trail covers.
    coverage: Coverage,
    open: MonthTunnels,
}

pub(super) type RowKey = (Who, Option<String>);

/// A row that is being summed up.
#[derive(Debug)]
pub(super) struct RowSum {
    pub(super) row: Row,
    pub(super) days: BTreeMap<u8, Day>,
    /// Whether an upload would count here.
    pub(super) counts: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Listed(String),
    Unlisted(IpAddr),
}

impl Builder {
    pub fn new(month: Month) -> Self {
        Self {
            month,
            trails: Vec::new(),
            rows: BTreeMap::new(),
            addresses: BTreeMap::new(),
            bulk: BTreeMap::new(),
            names: BTreeMap::new(),
            covered: Covered::default(),
            coverage: Coverage::new(month),
            open: MonthTunnels::default(),
        }
    }

    /// Begins a trail. The records that are added from now on are its.
    pub fn begin(&mut self, path: String) -> &mut Trail {
        self.end_trail();
        self.trails.push_mut(Trail {
            path,
            ..Trail::default()
        })
    }

    /// Adds a record of the trail that was begun last. Each record must be added only once, in the
    /// trail's order.
    pub fn add(&mut self, record: &Record) {
        let day = self.month.day(record.time);
        if let Some(trail) = self.trails.last_mut() {
            trail.add(record, self.month);
        }
        self.coverage.add(record);
        match record.event {
            Event::TunnelOpened | Event::TunnelProgress => self.open.note(record, self.month),
            Event::TunnelClosed | Event::TunnelLost => {
                let dated = self.open.close(record, self.month);
                if record.decision == Some(Decision::Allow) {
                    self.add_tunnel(record, dated, false);
                } else if day.is_some() {
                    self.add_request(record);
                }
            }
            Event::RequestDenied | Event::RequestFailed if day.is_some() => {
                self.add_request(record);
            }
            Event::Refusals if day.is_some() => self.add_bulk(record),
            _ => {}
        }
    }

    pub(super) fn end_trail(&mut self) {
        for (record, dated) in std::mem::take(&mut self.open).left() {
            self.add_tunnel(&record, Some(dated), true);
        }
        let coverage = std::mem::replace(&mut self.coverage, Coverage::new(self.month));
        let covered = coverage.finish();
        if let Some(trail) = self.trails.last_mut() {
            trail.days_run = covered.days.len();
            trail.seconds_run = covered.seconds;
        }
        self.covered.add(covered);
    }

    fn add_bulk(&mut self, record: &Record) {
        if let Some(data) = record.data::<Refusals>() {
            let reasons = data.reasons.into_iter();
            let reasons = reasons.map(|(reason, count)| (reason.to_string(), count));
            add_up(self.bulk.entry(data.address).or_default(), reasons);
        }
    }

    /// Adds a request that got no tunnel, or was refused after it had one.
    fn add_request(&mut self, record: &Record) {
        let Some(client) = &record.client else { return };
        let is_denied = record.decision == Some(Decision::Deny);
        let sum = self.row_of(record, client);
        sum.row.bytes_up = sum.row.bytes_up.saturating_add(record.bytes_up);
        sum.row.bytes_down = sum.row.bytes_down.saturating_add(record.bytes_down);
        sum.add_reason(record);
        if let Some(address) = self.address_of(client) {
            let count = if is_denied {
                &mut address.refused
            } else {
                &mut address.failed
            };
            *count += 1;
            address.bytes_up = address.bytes_up.saturating_add(record.bytes_up);
            address.bytes_down = address.bytes_down.saturating_add(record.bytes_down);
        }
    }

    fn add_tunnel(&mut self, record: &Record, dated: Option<Dated>, is_open: bool) {
        let Some(client) = &record.client else { return };
        let month = self.month;
        // Without a date it can't be an upload of any day.
        let upload = dated.filter(|_| is_upload(record));
        let day = month.day(dated.map_or(record.time, |dated| dated.at));
        let days = upload.map_or_else(Days::default, |dated| dated.days);
        if day.is_none() && days.is_empty() {
            return;
        }
        let sum = self.row_of(record, client);
        for day in days.iter() {
            sum.day(day, month);
        }
        let Some(day) = day else { return };
        sum.add_tunnel(record, is_open);
        if let Some(dated) = upload {
            sum.add_upload(record, dated.at);
            let day = sum.day(day, month);
            day.uploads += 1;
            day.bytes_up = day.bytes_up.saturating_add(record.bytes_up);
            day.bytes_down = day.bytes_down.saturating_add(record.bytes_down);
        }
        if let Some(address) = self.address_of(client) {
            address.tunnels += 1;
            address.bytes_up = address.bytes_up.saturating_add(record.bytes_up);
            address.bytes_down = address.bytes_down.saturating_add(record.bytes_down);
            if let Some(dated) = upload {
                address.uploads += 1;
                address.first_upload = Some(earliest(address.first_upload, dated.at));
                address.last_upload = address.last_upload.max(Some(dated.at));
            }
        }
    }

    /// The row of a session, with what any session adds to it.
    fn row_of(&mut self, record: &Record, client: &Client) -> &mut RowSum {
        let who = match &client.name {
            Some(name) => Who::Listed(name.to_string()),
            None => Who::Unlisted(client.address),
        };
        if let Some(name) = &client.name {
            let names = self.names.entry(client.address).or_default();
            if !names.contains(&**name) {
                names.insert(name.to_string());
            }
        }
        let sum = self.row(who, record.destination.as_deref().map(str::to_owned));
        sum.row.addresses.insert(client.address);
        if sum.row.role.as_deref() != client.role.as_deref() {
            sum.row.role = client.role.as_deref().map(str::to_owned);
        }
        // An older relay doesn't say where an upload counts.
        sum.counts |= record.upload.is_some()
            || record.billing == Some(true)
            || record.unjudged && record.destination.is_some();
        sum
    }

    pub(super) fn row(&mut self, who: Who, destination: Option<String>) -> &mut RowSum {
        self.rows
            .entry((who, destination))
            .or_insert_with_key(RowSum::of)
    }

    fn address_of(&mut self, client: &Client) -> Option<&mut AddressRow> {
        let name = client.name.as_deref()?;
        let key = (name.to_owned(), client.address);
        let entry = self.addresses.entry(key);
        Some(entry.or_insert_with_key(|(client, address)| AddressRow::of(client, *address)))
    }
}

impl RowSum {
    pub(super) fn of((who, destination): &RowKey) -> Self {
        let (client, listed) = match who {
            Who::Listed(name) => (name.clone(), true),
            Who::Unlisted(address) => (address.to_string(), false),
        };
        Self {
            row: Row {
                client,
                listed,
                destination: destination.clone(),
                ..Row::default()
            },
            days: BTreeMap::new(),
            counts: false,
        }
    }

    fn add_reason(&mut self, record: &Record) {
        let reasons = if record.decision == Some(Decision::Deny) {
            &mut self.row.refusals
        } else {
            &mut self.row.failures
        };
        if let Some(reason) = &record.reason {
            *reasons.entry(reason.to_string()).or_default() += 1;
        } else if !record.had_tunnel() {
            *reasons.entry(ABANDONED.to_owned()).or_default() += 1;
        }
    }

    fn add_tunnel(&mut self, record: &Record, is_open: bool) {
        let row = &mut self.row;
        row.tunnels += 1;
        row.open += u64::from(is_open);
        row.lost += u64::from(record.event == Event::TunnelLost);
        row.not_enforced += u64::from(record.enforced == Some(false));
        row.bytes_up = row.bytes_up.saturating_add(record.bytes_up);
        row.bytes_down = row.bytes_down.saturating_add(record.bytes_down);
        let mut no_upload = |word: &str| {
            *row.not_uploads.entry(word.to_owned()).or_default() += 1;
        };
        match record.upload {
            None | Some(Upload::Probable) => {}
            Some(Upload::Unanswered) => no_upload("unanswered"),
            Some(Upload::Small) => no_upload("small"),
            Some(Upload::Distrusted) => no_upload("distrusted"),
        }
        self.add_reason(record);
    }

    fn add_upload(&mut self, record: &Record, at: Timestamp) {
        let row = &mut self.row;
        row.uploads += 1;
        row.unjudged += u64::from(record.unjudged);
        // Take the earliest time: the records of several trails don't come in the order of time.
        row.first_upload = Some(earliest(row.first_upload, at));
        row.last_upload = row.last_upload.max(Some(at));
    }

    fn day(&mut self, day: u8, month: Month) -> &mut Day {
        self.days.entry(day).or_insert(Day {
            date: month.date(day),
            uploads: 0,
            bytes_up: 0,
            bytes_down: 0,
        })
    }
}

/// Whether a tunnel counts as an upload. The relay judges; what an older one didn't judge counts if
/// it carried a byte to its destination.
fn is_upload(record: &Record) -> bool {
    if record.unjudged {
        record.bytes_up > 0
    } else {
        record.upload == Some(Upload::Probable)
    }
}

pub(super) fn add_up(
    sum: &mut BTreeMap<String, u64>,
    more: impl IntoIterator<Item = (String, u64)>,
) {
    for (reason, count) in more {
        let sum = sum.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
}
