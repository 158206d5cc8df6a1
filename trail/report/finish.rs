//! Makes the report of the sums: whose each is, and on which days a client was silent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::net::IpAddr;

use jiff::Timestamp;

use super::month::Days;
use super::sum::{RowSum, Who, add_up};
use super::{AddressRow, Builder, Day, Report, Row, earliest};
use crate::reason::{Reason, Verdict};
use crate::words::ABANDONED;

impl Builder {
    pub fn finish(mut self) -> Report {
        self.end_trail();
        self.rename();
        self.place_bulk();
        self.add_silent();
        let month = self.month;
        let silences = self.silences();
        let listed = &self.covered.listed;
        let rows = self.rows.into_iter().map(|((who, _), sum)| {
            let mut row = sum.row;
            if let Who::Listed(name) = &who
                && let Some(listing) = listed.get(name)
            {
                row.calls_home = Some(listing.calls_home);
                row.role = row.role.or_else(|| listing.role.clone());
            }
            if sum.counts && row.calls_home != Some(false) {
                let without = silences.get(&who).copied().unwrap_or_default();
                row.days_without_upload = Some(month.dates(without));
                row.longest_without_upload = Some(without.longest_run());
            }
            row.days = sum.days.into_values().collect();
            row
        });
        Report {
            month,
            days_in_month: month.length(),
            days_covered: self.covered.days.len(),
            days_uncovered: month.dates(month.days().without(self.covered.days)),
            rows: rows.collect(),
            trails: self.trails,
            addresses: self.addresses.into_values().collect(),
        }
    }

    /// Places what was counted by address. The client is known if only one client had the address
    /// in the month.
    fn place_bulk(&mut self) {
        for (address, reasons) in mem::take(&mut self.bulk) {
            let names = self.names.get(&address);
            let only = names.filter(|names| names.len() == 1);
            let who = match only.and_then(|names| names.first()) {
                Some(name) => Who::Listed(name.clone()),
                None => Who::Unlisted(address),
            };
            let row = &mut self.row(who, None).row;
            row.addresses.insert(address);
            let (failures, refusals): (BTreeMap<_, _>, BTreeMap<_, _>) = reasons
                .into_iter()
                .partition(|(token, _)| is_failure(token));
            add_up(&mut row.refusals, refusals);
            add_up(&mut row.failures, failures);
        }
    }

    /// Puts the sums of a former name under the name that the client has now.
    fn rename(&mut self) {
        let mut renamed = BTreeMap::new();
        for (name, listing) in &self.covered.listed {
            for former in listing.formerly.iter().filter(|former| *former != name) {
                renamed.insert(former.clone(), name.clone());
            }
        }
        if renamed.is_empty() {
            return;
        }
        // A client may have been renamed more than once in the month.
        let now = |name: String| {
            (0..MAX_NAMES).fold(name, |name, _| renamed.get(&name).cloned().unwrap_or(name))
        };
        for (name, listing) in mem::take(&mut self.covered.listed) {
            let same = self.covered.listed.entry(now(name));
            same.or_default().add(listing);
        }
        for names in self.names.values_mut() {
            *names = mem::take(names).into_iter().map(now).collect();
        }
        for ((who, destination), sum) in mem::take(&mut self.rows) {
            let who = match who {
                Who::Listed(name) => Who::Listed(now(name)),
                unlisted @ Who::Unlisted(_) => unlisted,
            };
            self.row(who, destination).absorb(sum);
        }
        for ((name, address), row) in mem::take(&mut self.addresses) {
            match self.addresses.entry((now(name), address)) {
                Entry::Occupied(entry) => entry.into_mut().absorb(&row),
                Entry::Vacant(entry) => {
                    let client = entry.key().0.clone();
                    entry.insert(AddressRow { client, ..row });
                }
            }
        }
    }

    /// Gives a row to each listed client that has none, or none where an upload counts.
    fn add_silent(&mut self) {
        let mut known: BTreeMap<Who, bool> = BTreeMap::new();
        for ((who, _), sum) in &self.rows {
            *known.entry(who.clone()).or_default() |= sum.counts;
        }
        let listed = self.covered.listed.iter();
        let silent: Vec<_> = listed
            .map(|(name, listing)| (Who::Listed(name.clone()), listing.calls_home))
            .filter(|(who, calls_home)| {
                let counts = known.get(who);
                counts.is_none() || *calls_home && counts == Some(&false)
            })
            .collect();
        for (who, calls_home) in silent {
            self.row(who, None).counts |= calls_home;
        }
    }

    /// The days on which each client could have uploaded, and didn't anywhere.
    fn silences(&self) -> BTreeMap<Who, Days> {
        let mut uploads: BTreeMap<Who, Days> = BTreeMap::new();
        for ((who, _), sum) in &self.rows {
            let days = uploads.entry(who.clone()).or_default();
            *days = days.union(sum.days.keys().copied().collect());
        }
        let silent = uploads.into_iter().map(|(who, days)| {
            let expected = self.expected(&who);
            (who, expected.without(days))
        });
        silent.collect()
    }

    /// The days on which a relay ran that this client could use.
    fn expected(&self, who: &Who) -> Days {
        let covered = &self.covered;
        match who {
            Who::Unlisted(_) => covered.days,
            Who::Listed(name) => {
                let listing = covered.listed.get(name);
                let days = listing.map_or_else(Days::default, |listing| listing.days);
                days.union(covered.unknown)
            }
        }
    }
}

impl RowSum {
    /// Adds what the same client had under another name.
    fn absorb(&mut self, other: Self) {
        let Row {
            role,
            addresses,
            tunnels,
            open,
            lost,
            not_enforced,
            bytes_up,
            bytes_down,
            refusals,
            failures,
            not_uploads,
            uploads,
            unjudged,
            first_upload,
            last_upload,
            // These are the row's own, or made of the sums later.
            client: _,
            listed: _,
            destination: _,
            calls_home: _,
            days_without_upload: _,
            longest_without_upload: _,
            days: _,
        } = other.row;
        let row = &mut self.row;
        row.role = row.role.take().or(role);
        row.addresses.extend(addresses);
        row.tunnels += tunnels;
        row.open += open;
        row.lost += lost;
        row.not_enforced += not_enforced;
        row.bytes_up = row.bytes_up.saturating_add(bytes_up);
        row.bytes_down = row.bytes_down.saturating_add(bytes_down);
        add_up(&mut row.refusals, refusals);
        add_up(&mut row.failures, failures);
        add_up(&mut row.not_uploads, not_uploads);
        row.uploads += uploads;
        row.unjudged += unjudged;
        row.first_upload = first(row.first_upload, first_upload);
        row.last_upload = row.last_upload.max(last_upload);
        for (day, other) in other.days {
            let same = self.days.entry(day).or_insert(Day {
                uploads: 0,
                bytes_up: 0,
                bytes_down: 0,
                ..other
            });
            same.uploads += other.uploads;
            same.bytes_up = same.bytes_up.saturating_add(other.bytes_up);
            same.bytes_down = same.bytes_down.saturating_add(other.bytes_down);
        }
        self.counts |= other.counts;
    }
}

impl AddressRow {
    pub(super) fn of(client: &str, address: IpAddr) -> Self {
        Self {
            client: client.to_owned(),
            address,
            tunnels: 0,
            uploads: 0,
            bytes_up: 0,
            bytes_down: 0,
            refused: 0,
            failed: 0,
            first_upload: None,
            last_upload: None,
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.tunnels += other.tunnels;
        self.uploads += other.uploads;
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
        self.refused += other.refused;
        self.failed += other.failed;
        self.first_upload = first(self.first_upload, other.first_upload);
        self.last_upload = self.last_upload.max(other.last_upload);
    }
}

/// The earlier of two times that may be missing.
fn first(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    other.map_or(one, |other| Some(earliest(one, other)))
}

/// Whether this is a reason for which requests fail that policy allows.
fn is_failure(token: &str) -> bool {
    token == ABANDONED
        || Reason::of(token).is_some_and(|reason| reason.verdict() == Verdict::Failed)
}

/// How many names a client had one after the other. A forged inventory may name them in a circle.
const MAX_NAMES: usize = 8;
