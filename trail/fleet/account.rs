//! What one trail tells of one machine.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::clock::{Mark, TrailClock};
use super::facts::{Attempt, AttemptEnd};

/// What one trail tells of one machine. Its memory is bounded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) first: Option<Mark>,
    pub(super) seen: Option<Mark>,
    pub(super) upload: Option<Uploads>,
    /// The begin of each of the last visits. Uploads within an hour are one visit.
    pub(super) visits: VecDeque<Mark>,
    pub(super) tries: Option<Run>,
    pub(super) perhaps: Option<Run>,
    /// Names on no list at which it was refused since the last upload.
    suspects: Vec<String>,
    /// Those at which it was refused before an upload came all the same. They aren't its billing
    /// host.
    harmless: VecDeque<String>,
    pub(super) other_version: Option<MarkedContact>,
    pub(super) report_only: Option<MarkedContact>,
    pub(super) last_tunnel: Option<MarkedContact>,
    pub(super) lost: Option<Mark>,
    pub(super) addresses: BTreeMap<IpAddr, AddressAccount>,
    pub(super) addresses_left_out: u64,
}

/// The last upload of a machine, or of one of its addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Uploads {
    pub(super) last: Latest,
    pub(super) opened: Latest,
    pub(super) destination: Option<String>,
    pub(super) address: IpAddr,
}

/// The last of several times in the order of the trail.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Latest {
    last: Mark,
    /// An earlier one that the relay's clock dated later. If that was right, the last one was not
    /// before it.
    peak: Option<Mark>,
}

/// Tries in a row that had the same end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) count: u64,
    pub(super) first: Mark,
    /// The last three of them.
    pub(super) recent: VecDeque<Mark>,
    pub(super) attempt: Attempt,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MarkedContact {
    pub(super) at: Mark,
    pub(super) host: Option<String>,
    pub(super) destination: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct AddressAccount {
    pub(super) first: Mark,
    pub(super) seen: Mark,
    pub(super) upload: Option<Latest>,
}

/// The time of an upload, and when its tunnel opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadTimes {
    pub(super) at: Mark,
    pub(super) opened: Mark,
}

impl Account {
    /// Notes that there is a record of the machine. An address that it isn't let in from isn't its.
    pub(super) fn seen(&mut self, at: Mark, address: IpAddr, is_let_in: bool) {
        self.first.get_or_insert(at);
        self.seen = Some(at);
        if !is_let_in {
            return;
        }
        if let Some(known) = self.addresses.get_mut(&address) {
            known.seen = at;
        } else if self.addresses.len() < MOST_ADDRESSES {
            let known = AddressAccount {
                first: at,
                seen: at,
                upload: None,
            };
            self.addresses.insert(address, known);
        } else {
            self.addresses_left_out += 1;
        }
    }

    pub(super) fn uploaded(
        &mut self,
        times: UploadTimes,
        destination: Option<String>,
        address: IpAddr,
        clock: &TrailClock,
        now: Timestamp,
    ) {
        let date = |mark: &Mark| clock.date(mark, now);
        if let Some(known) = self.addresses.get_mut(&address) {
            known.upload = Some(Latest::after(known.upload, times.at, clock, now));
        }
        let before = self.upload.take();
        let last = before.as_ref().map(|it| it.last);
        let opened = before.as_ref().map(|it| it.opened);
        self.upload = Some(Uploads {
            last: Latest::after(last, times.at, clock, now),
            opened: Latest::after(opened, times.opened, clock, now),
            destination,
            address,
        });
        let at = date(&times.at);
        let is_visit = |last: &Mark| at.duration_since(date(last)) >= VISIT;
        if self.visits.back().is_none_or(is_visit) {
            self.visits.push_back(times.at);
            if self.visits.len() > MOST_VISITS {
                self.visits.pop_front();
            }
        }
        // Tries that began after the upload's tunnel opened are later than it.
        for run in [&mut self.tries, &mut self.perhaps] {
            run.take_if(|run| date(&run.first) <= at);
        }
        for name in self.suspects.drain(..) {
            self.harmless.push_back(name);
            if self.harmless.len() > MOST_NAMES {
                self.harmless.pop_front();
            }
        }
    }

    pub(super) fn tried(&mut self, attempt: Attempt, count: u64, at: Mark) {
        add(&mut self.tries, attempt, count, at);
    }

    pub(super) fn perhaps_tried(&mut self, attempt: Attempt, count: u64, at: Mark) {
        if let Some(name) = &attempt.host {
            if self.harmless.contains(name) {
                return;
            }
            if !self.suspects.contains(name) && self.suspects.len() < MOST_NAMES {
                self.suspects.push(name.clone());
            }
        }
        add(&mut self.perhaps, attempt, count, at);
    }

    /// Whether it shows that a machine tries to call home.
    pub(super) fn calls_home(&self) -> bool {
        self.upload.is_some() || self.tries.is_some() || self.other_version.is_some()
    }
}

impl Latest {
    /// The latest of those before and of `mark`, which comes later in the trail.
    fn after(before: Option<Self>, mark: Mark, clock: &TrailClock, now: Timestamp) -> Self {
        let Some(before) = before else {
            return Self {
                last: mark,
                peak: None,
            };
        };
        // A long tunnel that ends after a later one opened is dated before that.
        if clock.date(&mark, now) < before.date(clock, now) {
            return before;
        }
        let ahead = [Some(before.last), before.peak].into_iter().flatten();
        Self {
            last: mark,
            peak: ahead
                .filter(|it| it.recorded() > mark.recorded())
                .max_by_key(Mark::recorded),
        }
    }

    pub(super) fn date(&self, clock: &TrailClock, now: Timestamp) -> Timestamp {
        let last = clock.date(&self.last, now);
        let peak = self.peak.map(|peak| clock.date(&peak, now));
        peak.map_or(last, |peak| peak.max(last))
    }
}

impl Run {
    fn is_denied(&self) -> bool {
        self.attempt.end == AttemptEnd::Denied
    }
}

/// Adds tries to a run of the same end, or begins one.
fn add(run: &mut Option<Run>, attempt: Attempt, count: u64, at: Mark) {
    let is_denied = attempt.end == AttemptEnd::Denied;
    let recent = std::iter::repeat_n(at, usize::try_from(count).unwrap_or(3).min(3));
    match run {
        Some(run) if run.is_denied() == is_denied => {
            run.count = run.count.saturating_add(count);
            run.recent.extend(recent);
            let excess = run.recent.len().saturating_sub(3);
            run.recent.drain(..excess);
            run.attempt = attempt;
        }
        _ => {
            *run = Some(Run {
                count,
                first: at,
                recent: recent.collect(),
                attempt,
            });
        }
    }
}

/// Uploads this close are one visit, because a machine may open several tunnels for one.
const VISIT: SignedDuration = SignedDuration::from_hours(1);
/// So many visits have 20 gaps.
pub(super) const MOST_VISITS: usize = 21;
const MOST_ADDRESSES: usize = 1024;
const MOST_NAMES: usize = 32;
