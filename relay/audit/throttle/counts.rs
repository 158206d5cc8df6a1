//! The counts of one client's refusals, with samples of what it asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use callhome_trail::{Record, Refusals, RefusedDestination, Text};
use jiff::Timestamp;

use super::super::bounds::shorten;

/// What is counted of one refusal.
#[derive(Debug)]
pub(in crate::audit) struct CountedRefusal<'a> {
    pub(super) address: IpAddr,
    pub(super) why: &'static str,
    target: Option<Text>,
    destination: Option<&'a Text>,
    claimed: Option<&'a Text>,
}

/// The refusals of one client that get no record of their own.
#[derive(Debug)]
pub(super) struct RefusalCounts {
    address: IpAddr,
    since: Timestamp,
    pub(super) due: Instant,
    reasons: BTreeMap<&'static str, u64>,
    claimed: Option<Text>,
    targets: BTreeMap<Text, u64>,
    destinations: Vec<RefusedDestination>,
}

impl<'a> CountedRefusal<'a> {
    /// Takes from the record what is counted under the reason `why`.
    pub(in crate::audit) fn of(record: &'a Record, address: IpAddr, why: &'static str) -> Self {
        let asked = || {
            let raw = record.target.raw.as_ref().map(ToString::to_string);
            let named = || record.tls.as_ref()?.sni.as_ref().map(ToString::to_string);
            record.target.authority().or(raw).or_else(named)
        };
        Self {
            address,
            why,
            target: asked().map(|target| shorten(&target, MAX_TARGET).into()),
            destination: record.destination.as_ref(),
            claimed: record.client.as_ref().and_then(|it| it.claimed.as_ref()),
        }
    }
}

impl RefusalCounts {
    pub(super) fn since(address: IpAddr, wall: Timestamp, now: Instant) -> Self {
        Self {
            address,
            since: wall,
            due: now + EVERY,
            reasons: BTreeMap::new(),
            claimed: None,
            targets: BTreeMap::new(),
            destinations: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    pub(super) fn add(&mut self, refusal: &CountedRefusal<'_>) {
        *self.reasons.entry(refusal.why).or_default() += 1;
        if let Some(claimed) = refusal.claimed {
            self.claimed = Some(claimed.clone());
        }
        if let Some(target) = &refusal.target {
            if let Some(count) = self.targets.get_mut(target) {
                *count += 1;
            } else if self.targets.len() < MAX_SAMPLES {
                self.targets.insert(target.clone(), 1);
            }
        }
        let destination = refusal.destination;
        let known = self
            .destinations
            .iter_mut()
            .find(|it| it.destination.as_ref() == destination && it.reason == refusal.why);
        if let Some(known) = known {
            known.count += 1;
        } else if self.destinations.len() < MAX_SAMPLES {
            self.destinations.push(RefusedDestination {
                destination: destination.cloned(),
                reason: refusal.why.into(),
                count: 1,
            });
        }
    }

    /// Makes the data of a record, in which the client has this name if it is listed.
    pub(super) fn into_data(self, client: Option<Text>) -> Refusals {
        Refusals {
            address: self.address,
            since: self.since.to_string().into(),
            count: self.reasons.values().sum(),
            reasons: self
                .reasons
                .into_iter()
                .map(|(reason, count)| (reason.into(), count))
                .collect(),
            client,
            claimed: self.claimed,
            targets: self.targets,
            destinations: self.destinations,
        }
    }
}

/// The period for which a client's refusals share a record.
pub(super) const EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How many distinct targets, and pairs of destination and reason, a record of counts has.
pub(super) const MAX_SAMPLES: usize = 8;
/// The most bytes of a target in a record of counts.
const MAX_TARGET: usize = 128;
