//! What one trail tells: of its relay, of the clients that it lists, and of those that came.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::account::{Account, MarkedContact, UploadTimes};
use super::clock::{Mark, TrailClock};
use super::listing::Listings;
use super::run::KnownRun;
use super::told::{Told, is_listed, told, told_together};
use super::tunnels::OpenTunnels;
use crate::data::{AuditGap, ClockStepped, ConfigLoaded, Refusals};
use crate::inventory::InventoryParts;
use crate::record::Record;
use crate::words::{Event, Upload};

/// What one trail tells. Its memory is bounded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) trail: String,
    pub(super) relay: String,
    pub(super) clock: TrailClock,
    run: KnownRun,
    pub(super) first: Option<Mark>,
    last_seq: u64,
    parts: InventoryParts,
    pub(super) listings: Listings,
    /// Clients by the name that the records have.
    pub(super) named: BTreeMap<String, Account>,
    pub(super) strangers: BTreeMap<IpAddr, Account>,
    tunnels: OpenTunnels,
    /// Where records are missing that were deleted or lost before they were read.
    pub(super) hole: Option<Mark>,
    /// Where the relay last said that records are missing.
    pub(super) gap: Option<Mark>,
    /// When the relay stopped, if it hasn't started since.
    pub(super) stopped: Option<Mark>,
    /// When the relay was down: from the stop, or the last record, to the next start.
    pub(super) down: VecDeque<(Mark, Mark)>,
    pub(super) seal_every: Option<SignedDuration>,
    /// By how much the clock was set while the relay was down, until that start.
    stepped: SignedDuration,
}

impl Ledger {
    pub(super) fn of(trail: &str) -> Self {
        Self {
            trail: trail.to_owned(),
            ..Self::default()
        }
    }

    /// Takes the next record of the trail.
    pub(super) fn take(&mut self, record: &Record, read: Timestamp) {
        let before = self.run.lasted();
        self.run.take(record);
        self.clock.take(record.time);
        let mark = self.clock.mark(record.time, read);
        self.first.get_or_insert(mark);
        if *record.relay != *self.relay {
            self.relay = record.relay.to_string();
        }
        self.look_for_hole(record, mark);
        match record.event {
            Event::RelayStarted => {
                let last = before.map(|last| self.clock.mark(last, read));
                if let Some(from) = self.stopped.take().or(last) {
                    let from = without_step(from, mark, std::mem::take(&mut self.stepped));
                    self.down.push_back((from, mark));
                    if self.down.len() > MOST_STOPS {
                        self.down.pop_front();
                    }
                }
            }
            Event::ClockStepped => self.note_step(record),
            Event::RelayStopped => self.stopped = Some(mark),
            Event::AuditGap => self.gap = Some(mark),
            Event::ConfigLoaded => self.look_for_seal_every(record),
            Event::Inventory => {
                if let Some(inventory) = self.parts.take(record) {
                    self.listings.take(inventory, mark, &self.clock, read);
                }
            }
            Event::Refusals => self.take_together(record, mark),
            Event::TunnelOpened
            | Event::TunnelProgress
            | Event::TunnelClosed
            | Event::TunnelLost
            | Event::RequestDenied
            | Event::RequestFailed => self.take_session(record, mark, read),
            _ => {}
        }
    }

    /// Notes by how much the clock was set while the relay was down.
    fn note_step(&mut self, record: &Record) {
        if let Some(step) = record.data::<ClockStepped>()
            && step.before_start
            && !step.maybe_off
            && let Ok(step) = SignedDuration::try_from_secs_f64(step.seconds)
        {
            self.stepped = self.stepped.saturating_add(step);
        }
    }

    /// Notes records that weren't read. One that the relay itself misses is declared as a gap, and
    /// isn't among them.
    fn look_for_hole(&mut self, record: &Record, mark: Mark) {
        let expected = self.last_seq + 1;
        let declares = || {
            let gap = record.data::<AuditGap>();
            gap.is_some_and(|gap| gap.from.is_some_and(|from| from <= expected))
        };
        let is_declared = record.event == Event::AuditGap && declares();
        if record.seq > expected && !is_declared {
            self.hole = Some(mark);
        }
        self.last_seq = record.seq;
    }

    /// Finds how often the relay seals its trail, in the effective configuration.
    fn look_for_seal_every(&mut self, record: &Record) {
        let text = record.data::<ConfigLoaded>().and_then(|it| it.effective);
        let found = text.and_then(|part| {
            let (_, value) = part.text.split_once("\nseal_every = \"")?;
            duration(value.split_once('"')?.0)
        });
        self.seal_every = found.or(self.seal_every);
    }

    fn take_session(&mut self, record: &Record, mark: Mark, read: Timestamp) {
        let times = self.tunnels.take(record, mark);
        let Some(client) = &record.client else { return };
        let is_end = record.is_closing();
        let name = client.name.as_deref().or(client.claimed.as_deref());
        let destinations = self.listings.destinations();
        let told = if is_end {
            told(record, destinations)
        } else if record.upload == Some(Upload::Probable) {
            Told::Upload
        } else {
            Told::Nothing
        };
        let account = match name {
            Some(name) => account_of(&mut self.named, name),
            None if told == Told::Nothing && !self.strangers.contains_key(&client.address) => {
                return;
            }
            None => stranger(&mut self.strangers, client.address),
        };
        let Some(account) = account else { return };
        let is_let_in = name.is_none() || client.name.is_some();
        // A lost tunnel's record comes after the next start, and the machine wasn't there then.
        if record.event != Event::TunnelLost {
            account.seen(mark, client.address, is_let_in);
        }
        let contact = || MarkedContact {
            at: mark,
            host: record.target.host.as_deref().map(str::to_owned),
            destination: record.destination.as_deref().map(str::to_owned),
        };
        match told {
            Told::Upload => {
                if let Some(times) = times {
                    let destination = record.destination.as_deref().map(str::to_owned);
                    account.uploaded(times, destination, client.address, &self.clock, read);
                }
            }
            Told::Try(attempt) => account.tried(attempt, 1, mark),
            Told::PerhapsTry(attempt) => account.perhaps_tried(attempt, 1, mark),
            Told::OtherVersion => account.other_version = Some(contact()),
            Told::ReportOnly => account.report_only = Some(contact()),
            Told::Tunnel => account.last_tunnel = Some(contact()),
            Told::Lost => account.lost = times.map(|UploadTimes { at, .. }| at),
            Told::Nothing => {}
        }
    }

    fn take_together(&mut self, record: &Record, mark: Mark) {
        let Some(counted) = record.data::<Refusals>() else {
            return;
        };
        let name = counted.client.as_deref().or(counted.claimed.as_deref());
        let listed = name.and_then(|name| self.listings.client(name));
        let destinations = self.listings.destinations().unwrap_or_default();
        let mut all = Vec::new();
        // The targets are counted without their reasons. They are of use where no destination has
        // them.
        let targets = counted.targets.keys().map(|target| host_of(target));
        let unlisted = targets
            .into_iter()
            .find(|host| !is_listed(destinations, host));
        for pair in &counted.destinations {
            let destination = pair.destination.as_deref();
            let host = unlisted.filter(|_| destination.is_none());
            if destination.is_none() && host.is_none() && !counted.targets.is_empty() {
                continue;
            }
            let address = counted.address;
            let told = told_together(
                destination,
                &pair.reason,
                host,
                address,
                listed,
                destinations,
            );
            all.push((told, pair.count));
        }
        all.retain(|(told, _)| *told != Told::Nothing);
        // A crowd of strangers is counted under one address that is none.
        if all.is_empty() || name.is_none() && counted.address.is_unspecified() {
            return;
        }
        let account = match name {
            Some(name) => account_of(&mut self.named, name),
            None => stranger(&mut self.strangers, counted.address),
        };
        let Some(account) = account else { return };
        account.seen(
            mark,
            counted.address,
            counted.client.is_some() || name.is_none(),
        );
        for (told, count) in all {
            match told {
                Told::Try(mut attempt) => {
                    attempt.claimed = counted.client.is_none() && name.is_some();
                    account.tried(attempt, count, mark);
                }
                Told::PerhapsTry(mut attempt) => {
                    attempt.claimed = counted.client.is_none() && name.is_some();
                    account.perhaps_tried(attempt, count, mark);
                }
                Told::OtherVersion => {
                    account.other_version = Some(MarkedContact {
                        at: mark,
                        host: None,
                        destination: None,
                    });
                }
                _ => {}
            }
        }
    }
}

/// When the relay went down, if the clock hadn't been set by `step` until it was up.
fn without_step(down: Mark, up: Mark, step: SignedDuration) -> Mark {
    if step.is_zero() {
        return down;
    }
    let told = up.recorded().duration_since(down.recorded());
    up.earlier(told.saturating_sub(step).max(SignedDuration::ZERO))
}

/// The account of a name. Names come from configurations, but a trail may be forged.
fn account_of<'a>(
    accounts: &'a mut BTreeMap<String, Account>,
    name: &str,
) -> Option<&'a mut Account> {
    if !accounts.contains_key(name) {
        if accounts.len() >= MOST_NAMES {
            return None;
        }
        accounts.insert(name.to_owned(), Account::default());
    }
    accounts.get_mut(name)
}

/// The account of an address that no client has. Where there are too many, one that doesn't call
/// home makes room.
fn stranger(strangers: &mut BTreeMap<IpAddr, Account>, address: IpAddr) -> Option<&mut Account> {
    if !strangers.contains_key(&address) && strangers.len() >= MOST_STRANGERS {
        let idle = strangers.iter().find(|(_, it)| !it.calls_home());
        let refused = || strangers.iter().find(|(_, it)| it.upload.is_none());
        let gone = *idle.or_else(refused)?.0;
        strangers.remove(&gone);
    }
    Some(strangers.entry(address).or_default())
}

/// The host of `host:port`.
fn host_of(target: &str) -> &str {
    target.rsplit_once(':').map_or(target, |(host, _)| host)
}

/// Reads a duration as the configuration has it.
fn duration(text: &str) -> Option<SignedDuration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit);
    let count: i64 = count.parse().ok()?;
    let seconds = match unit {
        "ms" => count / 1000,
        "s" => count,
        "m" => count.checked_mul(60)?,
        "h" => count.checked_mul(3600)?,
        "d" => count.checked_mul(86_400)?,
        _ => return None,
    };
    Some(SignedDuration::from_secs(seconds))
}

const MOST_NAMES: usize = 65_536;
const MOST_STRANGERS: usize = 1024;
const MOST_STOPS: usize = 64;
