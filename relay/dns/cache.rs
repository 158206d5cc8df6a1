//! The cache of earlier answers. It is pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::authority::DnsName;

/// A bounded cache of positive and negative answers (RFC 2308). It can serve expired answers (RFC
/// 8767).
#[derive(Debug)]
pub(super) struct Cache {
    limits: CacheLimits,
    entries: HashMap<DnsName, CacheEntry>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    pub serve_stale: Duration,
    pub entries: usize,
}

/// An answer that may be kept. A failure is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    Negative { rcode: &'static str },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    Fresh(Answer),
    Stale(Vec<IpAddr>),
}

#[derive(Debug)]
struct CacheEntry {
    answer: Answer,
    stored: Instant,
    ttl: Duration,
    /// When the servers last failed to renew an expired answer.
    failed: Option<Instant>,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
        }
    }

    /// Finds an answer that may be served without asking the servers.
    ///
    /// It is a fresh answer, or an expired answer that the servers failed to renew a moment ago.
    /// Otherwise each request during an outage would wait for the whole timeout (RFC 8767, 5).
    pub(super) fn get(&self, name: &DnsName, now: Instant) -> Option<Hit> {
        let entry = self.entries.get(name)?;
        if entry.age(now) < entry.ttl {
            return Some(Hit::Fresh(entry.answer.clone()));
        }
        let failed = now.saturating_duration_since(entry.failed?);
        if failed < self.limits.min_ttl {
            return self.servable(entry, now).map(Hit::Stale);
        }
        None
    }

    /// Keeps an answer for `ttl`, within the limits.
    pub(super) fn insert(&mut self, name: DnsName, answer: Answer, ttl: Duration, now: Instant) {
        if self.entries.len() >= self.limits.entries && !self.entries.contains_key(&name) {
            self.make_room(now);
        }
        let entry = CacheEntry {
            answer,
            stored: now,
            // `Duration::clamp` would panic when `min_ttl` is larger than `max_ttl`.
            ttl: ttl.max(self.limits.min_ttl).min(self.limits.max_ttl),
            failed: None,
        };
        self.entries.insert(name, entry);
    }

    /// Gives the expired addresses of a name, because every server failed at `now`.
    pub(super) fn stale(&mut self, name: &DnsName, now: Instant) -> Option<Vec<IpAddr>> {
        self.entries.get_mut(name)?.failed = Some(now);
        self.servable(self.entries.get(name)?, now)
    }

    fn servable(&self, entry: &CacheEntry, now: Instant) -> Option<Vec<IpAddr>> {
        match &entry.answer {
            Answer::Addresses(addresses) if entry.age(now) < self.end(entry) => {
                Some(addresses.clone())
            }
            _ => None,
        }
    }

    /// Gives the age at which an entry is of no use any more.
    fn end(&self, entry: &CacheEntry) -> Duration {
        match entry.answer {
            Answer::Addresses(_) => entry.ttl.saturating_add(self.limits.serve_stale),
            Answer::Negative { .. } => entry.ttl,
        }
    }

    fn make_room(&mut self, now: Instant) {
        // Taken out of `self`, because the closure below reads the limits in it.
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|_, entry| entry.age(now) < self.end(entry));
        if entries.len() >= self.limits.entries {
            let soonest = entries
                .iter()
                .min_by_key(|(_, entry)| self.end(entry).saturating_sub(entry.age(now)))
                .map(|(name, _)| name.clone());
            if let Some(name) = soonest {
                entries.remove(&name);
            }
        }
        self.entries = entries;
    }
}

impl CacheEntry {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CacheLimits = CacheLimits {
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(5),
        serve_stale: Duration::from_hours(1),
        entries: 3,
    };

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    fn addresses(last: u8) -> Answer {
        Answer::Addresses(vec![IpAddr::from([192, 0, 2, last])])
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_ttl_is_clamped_for_positive_and_negative_answers() {
        let now = Instant::now();
        for answer in [addresses(1), Answer::Negative { rcode: "NXDOMAIN" }] {
            for (ttl, kept) in [(0, 5), (5, 5), (60, 60), (300, 300), (u64::MAX, 300)] {
                let mut cache = Cache::new(LIMITS);
                cache.insert(name("a"), answer.clone(), seconds(ttl), now);
                let just_before = now + seconds(kept - 1) + Duration::from_millis(999);
                let fresh = Some(Hit::Fresh(answer.clone()));
                assert_eq!(cache.get(&name("a"), just_before), fresh, "{ttl}");
                assert_eq!(cache.get(&name("a"), now + seconds(kept)), None, "{ttl}");
            }
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_no_panic() {
        let mut cache = Cache::new(CacheLimits {
            min_ttl: Duration::MAX,
            max_ttl: seconds(1),
            serve_stale: Duration::MAX,
            entries: 0,
        });
        let now = Instant::now();
        cache.insert(name("a"), addresses(1), seconds(9), now);
        assert_eq!(cache.get(&name("a"), now + seconds(1)), None);
        assert!(cache.stale(&name("a"), now + seconds(1)).is_some());
    }

    #[test]
    fn only_addresses_are_served_stale_and_only_so_long() {
        let now = Instant::now();
        let mut cache = Cache::new(LIMITS);
        cache.insert(name("a"), addresses(1), seconds(60), now);
        cache.insert(
            name("n"),
            Answer::Negative { rcode: "NXDOMAIN" },
            seconds(60),
            now,
        );
        let expired = now + seconds(61);
        assert_eq!(
            cache.stale(&name("a"), expired),
            Some(vec![[192, 0, 2, 1].into()])
        );
        assert_eq!(cache.stale(&name("n"), expired), None);
        assert_eq!(cache.stale(&name("unknown"), expired), None);
        assert!(cache.stale(&name("a"), now + seconds(3659)).is_some());
        assert_eq!(cache.stale(&name("a"), now + seconds(3660)), None);
    }

    #[test]
    fn after_a_failure_the_servers_have_a_rest() {
        let now = Instant::now();
        let mut cache = Cache::new(LIMITS);
        cache.insert(name("a"), addresses(1), seconds(60), now);
        let failed = now + seconds(100);
        assert_eq!(cache.get(&name("a"), failed), None);
        cache.stale(&name("a"), failed);
        let stale = Some(Hit::Stale(vec![[192, 0, 2, 1].into()]));
        assert_eq!(cache.get(&name("a"), failed + seconds(4)), stale);
        assert_eq!(cache.get(&name("a"), failed + seconds(5)), None);
        // A new answer ends it.
        cache.insert(name("a"), addresses(2), seconds(60), failed + seconds(5));
        let fresh = Some(Hit::Fresh(addresses(2)));
        assert_eq!(cache.get(&name("a"), failed + seconds(6)), fresh);
    }

    #[test]
    fn a_full_cache_drops_what_ends_first() {
        let now = Instant::now();
        let mut cache = Cache::new(LIMITS);
        cache.insert(name("long"), addresses(1), seconds(200), now);
        cache.insert(name("short"), addresses(2), seconds(100), now);
        cache.insert(
            name("none"),
            Answer::Negative { rcode: "NOERROR" },
            seconds(10),
            now,
        );
        // Replacing an entry evicts no other.
        cache.insert(name("long"), addresses(3), seconds(200), now);
        assert_eq!(cache.entries.len(), 3);
        // The negative answer has expired, so it is evicted first.
        cache.insert(name("b"), addresses(4), seconds(100), now + seconds(10));
        assert_eq!(cache.entries.len(), 3);
        assert!(cache.get(&name("short"), now + seconds(10)).is_some());
        cache.insert(name("c"), addresses(5), seconds(100), now + seconds(11));
        assert_eq!(cache.entries.len(), 3);
        assert!(cache.get(&name("short"), now + seconds(11)).is_none());
        assert!(cache.get(&name("long"), now + seconds(11)).is_some());
    }
}
