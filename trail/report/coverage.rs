//! When the relay of a trail ran, and which clients it listed meanwhile.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::month::{Days, Month};
use crate::data::ClockStepped;
use crate::inventory::{ExpectedClient, InventoryParts};
use crate::record::Record;
use crate::words::Event;

/// Follows the runs of the relay from record to record of one trail.
///
/// A run is from `relay_started` to `relay_stopped`, or else to the last record before the next
/// start.
#[derive(Debug)]
pub(super) struct Coverage {
    month: Month,
    has_begun: bool,
    run: Option<RelayRun>,
    /// The last checkpoint. It is the run's own, unless it turns out to be the next start's.
    checkpoint: Option<Timestamp>,
    parts: InventoryParts,
    /// The inventory in force, and since when. None until the present run has told it.
    inventory: Option<(Vec<ExpectedClient>, Timestamp)>,
    covered: Covered,
}

/// What a relay covers of the month.
#[derive(Clone, Debug, Default)]
pub(super) struct Covered {
    /// The days on which it ran.
    pub(super) days: Days,
    pub(super) seconds: u64,
    /// Days on which it ran without telling whom it lists, as older relays do.
    pub(super) unknown: Days,
    /// The clients that it listed at any time of the month.
    pub(super) listed: BTreeMap<String, MonthListing>,
}

/// A client of the inventory.
#[derive(Clone, Debug, Default)]
pub(super) struct MonthListing {
    pub(super) role: Option<String>,
    pub(super) calls_home: bool,
    pub(super) formerly: Vec<String>,
    /// The days on which a relay ran that listed it.
    pub(super) days: Days,
}

#[derive(Clone, Copy, Debug)]
struct RelayRun {
    from: Timestamp,
    to: Timestamp,
}

impl Coverage {
    pub(super) fn new(month: Month) -> Self {
        Self {
            month,
            has_begun: false,
            run: None,
            checkpoint: None,
            parts: InventoryParts::default(),
            inventory: None,
            covered: Covered::default(),
        }
    }

    /// Takes the next record of the trail.
    pub(super) fn add(&mut self, record: &Record) {
        let time = record.time;
        if !self.has_begun {
            // The trail may begin in the middle of a run, after it was pruned.
            self.has_begun = true;
            self.run = Some(RelayRun::at(time));
        }
        match record.event {
            Event::RelayStarted => self.start(time),
            Event::RelayStopped => {
                self.extend(time);
                self.end_run();
            }
            Event::ClockStepped => self.step(record),
            Event::Checkpoint => self.seal(time),
            // A start may write these before it says that it started.
            Event::AuditGap | Event::TunnelLost | Event::TrailPruned => {}
            _ => {
                self.extend(time);
                if let Some(inventory) = self.parts.take(record) {
                    self.list(inventory.clients, time);
                }
            }
        }
    }

    /// Ends the trail.
    pub(super) fn finish(mut self) -> Covered {
        self.confirm_checkpoint();
        self.end_run();
        self.retire(Timestamp::MAX);
        self.covered
    }

    fn start(&mut self, time: Timestamp) {
        // A start makes its first checkpoint before it says that it started.
        self.checkpoint = None;
        self.end_run();
        self.retire(time);
        self.run = Some(RelayRun::at(time));
    }

    fn extend(&mut self, time: Timestamp) {
        self.confirm_checkpoint();
        match &mut self.run {
            Some(run) if time >= run.from => run.to = run.to.max(time),
            // The relay runs, although its start is missing, or its clock was set back.
            _ => {
                self.end_run();
                self.run = Some(RelayRun::at(time));
            }
        }
    }

    /// Takes a checkpoint. A relay at rest writes no other record than one of these an hour.
    fn seal(&mut self, time: Timestamp) {
        if self.run.is_none() {
            return;
        }
        // Checkpoints that follow each other closely may all be those of starts.
        if let Some(before) = self.checkpoint
            && time.duration_since(before) >= AT_REST
        {
            self.confirm_checkpoint();
        }
        self.checkpoint = Some(time);
    }

    fn confirm_checkpoint(&mut self) {
        if let (Some(time), Some(run)) = (self.checkpoint.take(), &mut self.run)
            && time >= run.from
        {
            run.to = run.to.max(time);
        }
    }

    /// Takes a step of the clock. The run goes on under another time, and nothing happened between
    /// the two.
    fn step(&mut self, record: &Record) {
        let Some(stepped) = record.data::<ClockStepped>() else {
            return;
        };
        if stepped.before_start {
            return;
        }
        self.confirm_checkpoint();
        if let Some(run) = &mut self.run {
            // A record may have taken its time between the step and the record of the step.
            let by = SignedDuration::try_from_secs_f64(stepped.seconds).unwrap_or_default();
            let before = record.time.checked_sub(by).unwrap_or(run.to);
            run.to = run.to.min(before).max(run.from);
        }
        self.end_run();
        self.run = Some(RelayRun::at(record.time));
    }

    fn list(&mut self, clients: Vec<ExpectedClient>, time: Timestamp) {
        match &self.inventory {
            // Each segment begins with the inventory.
            Some((same, _)) if *same == clients => {}
            Some(_) => {
                self.end_run();
                self.retire(time);
                self.run = Some(RelayRun::at(time));
                self.inventory = Some((clients, time));
            }
            // The first one of a run is in force from its beginning.
            None => {
                let since = self.run.map_or(time, |run| run.from);
                self.inventory = Some((clients, since));
            }
        }
    }

    /// Adds the run to the days on which the relay ran, and on which it listed its clients.
    fn end_run(&mut self) {
        let Some(RelayRun { from, to }) = self.run.take() else {
            return;
        };
        let days = self.month.between(from, to);
        if days.is_empty() {
            return;
        }
        let covered = &mut self.covered;
        covered.days = covered.days.union(days);
        covered.seconds += self.month.seconds(from, to);
        match &self.inventory {
            Some((clients, _)) => covered.list(clients, days),
            None => covered.unknown = covered.unknown.union(days),
        }
    }

    /// Ends the inventory in force. Its clients are of the month even if no relay ran then.
    fn retire(&mut self, until: Timestamp) {
        if let Some((clients, since)) = self.inventory.take()
            && since < self.month.end()
            && until > self.month.start()
        {
            self.covered.list(&clients, Days::default());
        }
    }
}

impl Covered {
    /// Adds what another relay covers.
    pub(super) fn add(&mut self, other: Self) {
        self.days = self.days.union(other.days);
        self.unknown = self.unknown.union(other.unknown);
        for (name, other) in other.listed {
            self.listed.entry(name).or_default().add(other);
        }
    }

    fn list(&mut self, clients: &[ExpectedClient], days: Days) {
        for client in clients {
            let listing = self.listed.entry(client.name.to_string()).or_default();
            listing.add(MonthListing {
                role: client.role.as_deref().map(str::to_owned),
                calls_home: client.calls_home,
                formerly: client.formerly.iter().map(ToString::to_string).collect(),
                days,
            });
        }
    }
}

impl MonthListing {
    /// Adds the same client of another time, name or relay. It calls home if it did anywhere.
    pub(super) fn add(&mut self, other: Self) {
        self.role = other.role.or(self.role.take());
        self.calls_home |= other.calls_home;
        for name in other.formerly {
            if !self.formerly.contains(&name) {
                self.formerly.push(name);
            }
        }
        self.days = self.days.union(other.days);
    }
}

impl RelayRun {
    fn at(time: Timestamp) -> Self {
        Self {
            from: time,
            to: time,
        }
    }
}

/// Checkpoints at rest are an hour apart, and those of starts come close to each other.
const AT_REST: SignedDuration = SignedDuration::from_mins(30);
