//! Keeps refusals from filling the disk.
//!
//! Refusals beyond a client's rate, or beyond half a segment, are counted together in one record.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use callhome_trail::Refusals;
use jiff::Timestamp;

/// The refusals that get no record of their own, by client.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    clients: HashMap<IpAddr, RefusalCounts>,
}

#[derive(Debug)]
struct RefusalCounts {
    since: Timestamp,
    due: Instant,
    reasons: BTreeMap<&'static str, u64>,
}

impl Throttle {
    /// Begins to count a client's refusals. Returns `true` if it is new, and then this refusal may
    /// get its own record.
    pub(super) fn begin(&mut self, address: IpAddr, wall: Timestamp, now: Instant) -> bool {
        let new = self.clients.len() < MAX_CLIENTS && !self.clients.contains_key(&address);
        if new {
            self.clients
                .insert(address, RefusalCounts::since(wall, now));
        }
        new
    }

    /// Counts a refusal under the reason `why`.
    pub(super) fn count(
        &mut self,
        address: IpAddr,
        why: &'static str,
        wall: Timestamp,
        now: Instant,
    ) {
        // More clients than `MAX_CLIENTS` at once are an attack. Count further ones under 0.0.0.0,
        // to bound the memory.
        let address = if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&address) {
            address
        } else {
            IpAddr::from([0; 4])
        };
        let counted = self
            .clients
            .entry(address)
            .or_insert_with(|| RefusalCounts::since(wall, now));
        *counted.reasons.entry(why).or_default() += 1;
    }

    /// When the next counts are due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.clients.values().map(|counted| counted.due).min()
    }

    /// Takes the counts that are due at `now`, or all without a time.
    pub(super) fn take(&mut self, now: Option<Instant>) -> Vec<Refusals> {
        let due = |counted: &RefusalCounts| now.is_none_or(|now| counted.due <= now);
        self.clients
            .extract_if(|_, counted| due(counted))
            .filter(|(_, counted)| !counted.reasons.is_empty())
            .map(|(address, counted)| Refusals {
                address,
                since: counted.since.to_string().into(),
                count: counted.reasons.values().sum(),
                reasons: counted
                    .reasons
                    .into_iter()
                    .map(|(reason, count)| (reason.into(), count))
                    .collect(),
            })
            .collect()
    }
}

impl RefusalCounts {
    fn since(wall: Timestamp, now: Instant) -> Self {
        Self {
            since: wall,
            due: now + EVERY,
            reasons: BTreeMap::new(),
        }
    }
}

/// The period for which a client's refusals share a record.
const EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
const MAX_CLIENTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_a_client_and_period() {
        let mut throttle = Throttle::default();
        let (wall, now) = (Timestamp::UNIX_EPOCH, Instant::now());
        let client = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..5000 {
            throttle.count(client, "rate_limited", wall, now);
        }
        throttle.count(client, "malformed_request", wall, now);
        assert!(throttle.take(Some(now + EVERY / 2)).is_empty());
        let records = throttle.take(Some(now + EVERY));
        let [
            Refusals {
                address,
                count,
                reasons,
                ..
            },
        ] = records.as_slice()
        else {
            panic!("{records:?}");
        };
        assert_eq!(
            (*address, *count, reasons[&"rate_limited".into()]),
            (client, 5001, 5000)
        );
        assert_eq!(throttle.due(), None);
    }

    #[test]
    fn the_first_has_a_record_of_its_own() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let client = IpAddr::from([10, 0, 0, 1]);
        assert!(throttle.begin(client, Timestamp::UNIX_EPOCH, now));
        assert!(!throttle.begin(client, Timestamp::UNIX_EPOCH, now));
        assert!(
            throttle.take(Some(now + EVERY)).is_empty(),
            "there was no second"
        );
        assert!(throttle.begin(client, Timestamp::UNIX_EPOCH, now + EVERY));
    }

    #[test]
    fn a_crowd_shares_a_record() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..100_000_u32 {
            throttle.count(
                IpAddr::from(n.to_be_bytes()),
                "rate_limited",
                Timestamp::UNIX_EPOCH,
                now,
            );
        }
        assert!(throttle.take(None).len() <= MAX_CLIENTS + 1);
    }
}
