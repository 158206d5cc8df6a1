//! Refusals that were counted together, as those who read the trail see them.

use std::net::IpAddr;

use crate::data::Refusals;
use crate::reason::{Reason, Verdict};
use crate::record::Record;
use crate::text::Text;
use crate::words::{ABANDONED, Decision, Event, Outcome};

/// What is known of the client, and how many of its requests had which end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub address: IpAddr,
    /// The client's name, if the relay noted it.
    pub client: Option<Text>,
    /// The destinations that were asked for, as far as the relay noted them.
    pub destinations: Vec<Text>,
    pub ends: Vec<CountedEnd>,
}

/// Requests that ended for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedEnd {
    pub reason: Text,
    pub count: u64,
    /// None for a request that policy didn't refuse.
    pub decision: Option<Decision>,
    pub outcome: Outcome,
}

impl Counted {
    /// Reads a record of refusals that were counted together. Returns none for any other.
    pub fn of(record: &Record) -> Option<Self> {
        if record.event != Event::Refusals {
            return None;
        }
        let data: Refusals = record.data()?;
        let told = data.reasons.values();
        let told = told.fold(0_u64, |sum, count| sum.saturating_add(*count));
        let untold = data.count.saturating_sub(told);
        let mut ends: Vec<_> = data
            .reasons
            .into_iter()
            .map(|(reason, count)| CountedEnd::of(reason, count))
            .collect();
        if untold > 0 {
            ends.push(CountedEnd::of(Text::default(), untold));
        }
        let named = data
            .destinations
            .into_iter()
            .filter_map(|it| it.destination);
        Some(Self {
            address: data.address,
            client: data.client,
            destinations: named.collect(),
            ends,
        })
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        let counts = self.ends.iter();
        counts.fold(0, |sum, end| sum.saturating_add(end.count))
    }
}

impl CountedEnd {
    fn of(reason: Text, count: u64) -> Self {
        let (decision, outcome) = match Reason::of(&reason).map(Reason::verdict) {
            Some(Verdict::Failed) => (None, Outcome::Failed),
            None if &*reason == ABANDONED => (None, Outcome::Abandoned),
            // A later version may know more reasons to refuse.
            Some(Verdict::Denied) | None => (Some(Decision::Deny), Outcome::Refused),
        };
        Self {
            // A request that its client gave up has no reason in a record of its own either.
            reason: match outcome {
                Outcome::Abandoned => Text::default(),
                _ => reason,
            },
            count,
            decision,
            outcome,
        }
    }
}
