//! What `audit quiet` found: a row for each client, the worst first.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::path::Path;

use callhome_trail::fleet::{
    AddressFacts, Cause, Facts, LastUpload, PeriodSource, ReadTrail, Ready, State, cause, state,
};
use callhome_trail::human;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::period;

/// The answer of the command.
#[derive(Debug, Serialize)]
pub(super) struct Quiet {
    pub(super) at: Timestamp,
    pub(super) trails: Vec<ReadTrail>,
    pub(super) clients: Vec<ClientRow>,
    /// Machines that call home and are in no inventory.
    pub(super) found: Vec<ClientRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct ClientRow {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) why: String,
    pub(super) next: String,
    pub(super) cause: Cause,
    pub(super) upload: Option<LastUpload>,
    pub(super) days_left: Option<i64>,
    /// False if the days are counted from the entry, because no upload is known.
    pub(super) days_left_known: bool,
    pub(super) deadline: Timestamp,
    pub(super) ready: Option<Ready>,
    pub(super) role: Option<String>,
    pub(super) version: Option<String>,
    pub(super) entered: Timestamp,
    pub(super) seen: Option<Timestamp>,
    pub(super) every_seconds: i64,
    pub(super) every_source: PeriodSource,
    /// The period that its uploads show. It isn't what the state is judged by.
    pub(super) usual_seconds: Option<i64>,
    pub(super) addresses: Vec<AddressRow>,
    pub(super) addresses_left_out: u64,
    pub(super) contradictions: Vec<String>,
    /// Of a client that went quiet: machines that were found and may be it. Of a machine that was
    /// found: the clients that it may be.
    pub(super) same_machine: Vec<String>,
    /// Of a machine that was found beside an inventory: the `[[client]]` that lists it.
    pub(super) block: Option<String>,
}

/// An address of a client that has several.
#[derive(Debug, Serialize)]
pub(super) struct AddressRow {
    pub(super) address: IpAddr,
    pub(super) first: Timestamp,
    pub(super) seen: Timestamp,
    pub(super) upload: Option<Timestamp>,
    /// The state of the machine that has this address. None where the inventory lists the address
    /// itself, because the client then is one machine.
    pub(super) state: Option<State>,
    pub(super) why: String,
}

impl Quiet {
    pub(super) fn of(
        mut facts: Vec<Facts>,
        trails: Vec<ReadTrail>,
        every: Option<SignedDuration>,
        now: Timestamp,
    ) -> Self {
        for facts in &mut facts {
            facts.period = period(facts.period, every);
        }
        let rows = facts
            .iter()
            .map(|it| (it.found, ClientRow::of(it, &facts, now)));
        let (found, clients): (Vec<_>, Vec<_>) = rows.partition(|(found, _)| *found);
        let sorted = |rows: Vec<(bool, ClientRow)>| {
            let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
            rows.sort_by_key(|row| (Reverse(row.severity()), row.deadline));
            rows
        };
        Self {
            at: now,
            trails,
            clients: sorted(clients),
            found: sorted(found),
        }
    }

    /// Lets the commands of the next steps read this file, as this one did.
    pub(super) fn name_config(&mut self, file: &Path) {
        for row in self.clients.iter_mut().chain(&mut self.found) {
            for command in ["explain", "check", "audit tail"] {
                let command = format!("`callhome-relay {command}");
                let with_file = format!("{command} --config {}", file.display());
                row.next = row.next.replace(&command, &with_file);
            }
        }
    }

    /// Whether every listed client is well, and every trail could be read and is unchanged.
    pub(super) fn is_well(&self) -> bool {
        // A relay may have begun a new trail since it was upgraded.
        let tells = |trail: &ReadTrail| {
            let mut same = self.trails.iter().filter(|it| it.relay == trail.relay);
            same.any(|it| it.has_inventory)
        };
        let is_sound = |it: &ReadTrail| it.broken.is_none() && it.unread == 0 && tells(it);
        self.quiet() == 0 && self.trails.iter().all(is_sound)
    }

    /// How many listed clients are quiet or worse.
    pub(super) fn quiet(&self) -> usize {
        self.clients.iter().filter(|row| row.is_quiet()).count()
    }
}

impl ClientRow {
    fn of(facts: &Facts, all: &[Facts], now: Timestamp) -> Self {
        let cause = cause(facts, now);
        let is_same = |other: &&Facts| facts.may_be(other, now) || other.may_be(facts, now);
        let same = all.iter().filter(is_same).map(|other| other.name.clone());
        Self {
            name: facts.name.clone(),
            state: state(facts, now),
            why: match (state(facts, now), &cause) {
                (State::New, Cause::Well) => {
                    format!("no upload yet; listed since {}", human::time(facts.entered))
                }
                _ => cause.to_string(),
            },
            next: cause.next_step(),
            cause,
            upload: facts.upload.clone(),
            days_left: facts.days_left(now),
            days_left_known: facts.is_deadline_known(),
            deadline: facts.deadline(),
            ready: facts.ready(now),
            role: facts.role.clone(),
            version: facts.version.clone(),
            entered: facts.entered,
            seen: facts.seen,
            every_seconds: facts.period.every.as_secs(),
            every_source: facts.period.source,
            usual_seconds: facts.learned.map(|every| every.as_secs()),
            addresses: addresses(facts, now),
            addresses_left_out: facts.addresses_left_out,
            contradictions: facts.contradictions.clone(),
            same_machine: same.collect(),
            block: (facts.found && facts.has_inventory).then(|| facts.client_block()),
        }
    }

    /// Whether the client, or one of its machines, is quiet or worse.
    pub(super) fn is_quiet(&self) -> bool {
        self.severity() >= State::Never.severity()
    }

    /// That of the client, or of the worst of its machines.
    fn severity(&self) -> u8 {
        let machines = self.addresses.iter().filter_map(|it| it.state);
        let judged = !matches!(self.state, State::Removed | State::Exempt);
        let machines = machines.filter(|_| judged).map(State::severity).max();
        machines.unwrap_or(0).max(self.state.severity())
    }
}

/// A row for each address, the worst first. One address says no more than the client's row.
fn addresses(facts: &Facts, now: Timestamp) -> Vec<AddressRow> {
    let machines: Vec<_> = facts.machines(now).map(|it| it.address).collect();
    let row = |known: &AddressFacts| {
        let own = facts.of_address(known);
        let is_machine = machines.contains(&known.address);
        let state = is_machine.then(|| state(&own, now));
        AddressRow {
            address: known.address,
            first: known.first,
            seen: known.seen,
            upload: known.upload,
            state,
            why: state.map_or(String::new(), |_| cause(&own, now).to_string()),
        }
    };
    let mut rows: Vec<_> = facts.addresses.iter().map(row).collect();
    if rows.len() == 1 {
        rows.clear();
    }
    rows.sort_by_key(|row| (Reverse(row.state.map(State::severity)), row.upload));
    rows
}
