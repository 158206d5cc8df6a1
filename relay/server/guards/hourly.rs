//! What the log says of a client once an hour, however often it happens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::Source;

/// Of whom something was said, and when.
#[derive(Debug, Default)]
pub(in crate::server) struct Hourly(Mutex<HashMap<Source, Instant>>);

impl Hourly {
    /// Whether it is to be said of this client now; then it isn't for an hour.
    pub(in crate::server) fn is_due(&self, client: IpAddr, now: Instant) -> bool {
        let client = Source::of(client);
        // Nothing panics under the lock.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |last: &Instant| now.saturating_duration_since(*last) < EVERY;
        if told.get(&client).is_some_and(fresh) {
            return false;
        }
        if told.len() >= MAX_CLIENTS {
            told.retain(|_, last| fresh(last));
        }
        // So many at once are no clients that were set up wrong.
        let room = told.len() < MAX_CLIENTS;
        if room {
            told.insert(client, now);
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
        let told = Hourly::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert!(told.is_due(one, now));
        assert!(!told.is_due(one, now + EVERY / 2));
        assert!(told.is_due(two, now + EVERY / 2));
        assert!(told.is_due(one, now + EVERY));
        assert!(!told.is_due(one, now + EVERY * 3 / 2));
    }

    #[test]
    fn a_crowd_takes_bounded_room_and_gives_it_back() {
        let told = Hourly::default();
        let now = Instant::now();
        let due = |now| {
            let clients = (0..10_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
            clients.filter(|client| told.is_due(*client, now)).count()
        };
        assert_eq!(due(now), MAX_CLIENTS);
        assert_eq!(due(now + EVERY / 2), 0);
        assert_eq!(due(now + EVERY), MAX_CLIENTS);
        assert_eq!(told.0.lock().unwrap().len(), MAX_CLIENTS);
    }
}
