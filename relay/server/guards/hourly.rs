//! Says a thing of a client once an hour, however often it happens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::LimitKey;

/// The clients of which a thing was said, each with the time.
#[derive(Debug, Default)]
pub(super) struct Hourly(Mutex<HashMap<LimitKey, Instant>>);

impl Hourly {
    /// Whether to say it of this client now. A yes is kept, and the answer is no for an hour.
    pub(super) fn is_due(&self, client: IpAddr, now: Instant) -> bool {
        let client = LimitKey::of(client);
        // No code panics under the lock.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |last: &Instant| now.saturating_duration_since(*last) < EVERY;
        if said.get(&client).is_some_and(fresh) {
            return false;
        }
        if said.len() >= MAX_CLIENTS {
            said.retain(|_, last| fresh(last));
        }
        // More clients than `MAX_CLIENTS` within an hour are no mistake in their set-up, so the log
        // stays silent on the rest.
        let room = said.len() < MAX_CLIENTS;
        if room {
            said.insert(client, now);
        }
        room
    }
}

const EVERY: Duration = Duration::from_hours(1);
const MAX_CLIENTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_an_hour_each() {
        let said = Hourly::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert!(said.is_due(one, now));
        assert!(!said.is_due(one, now + EVERY / 2));
        assert!(said.is_due(two, now + EVERY / 2));
        assert!(said.is_due(one, now + EVERY));
        assert!(!said.is_due(one, now + EVERY * 3 / 2));
    }

    #[test]
    fn a_crowd_takes_bounded_room_and_gives_it_back() {
        let said = Hourly::default();
        let now = Instant::now();
        let due = |now| {
            let clients = (0..10_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
            clients.filter(|client| said.is_due(*client, now)).count()
        };
        assert_eq!(due(now), MAX_CLIENTS);
        assert_eq!(due(now + EVERY / 2), 0);
        assert_eq!(due(now + EVERY), MAX_CLIENTS);
        assert_eq!(said.0.lock().unwrap().len(), MAX_CLIENTS);
    }
}
