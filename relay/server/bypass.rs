//! Notices clients that ask the relay for what only the inside has: they were given a proxy without a bypass list.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;

use super::limits::Source;
use crate::authority::Host;
use crate::policy::{AddressClass, classify};

/// Who was named in the log, and when.
#[derive(Debug, Default)]
pub(super) struct Named(Mutex<HashMap<Source, Instant>>);

impl Named {
    /// Whether this client is to be named now; then it isn't for an hour.
    pub(super) fn is_due(&self, client: IpAddr, now: Instant) -> bool {
        let client = Source::of(client);
        // Nothing panics under the lock.
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |last: &Instant| now.saturating_duration_since(*last) < EVERY;
        if named.get(&client).is_some_and(fresh) {
            return false;
        }
        if named.len() >= MAX_CLIENTS {
            named.retain(|_, last| fresh(last));
        }
        // So many at once are no clients that were set up wrong.
        let room = named.len() < MAX_CLIENTS;
        if room {
            named.insert(client, now);
        }
        room
    }
}

/// Whether a host is one that no allowlist of outside hosts would have: a single label, a name under a top-level domain that sites
/// use for themselves, or an address that isn't reached from outside.
pub(super) fn is_inside(host: &Host, nat64: &[Ipv6Net]) -> bool {
    match host {
        Host::Name(name) => match name.as_str().rsplit_once('.') {
            None => true,
            Some((_, top_level)) => INSIDE.contains(&top_level),
        },
        Host::Literal(address) => matches!(
            classify(*address, nat64),
            AddressClass::PrivateUse
                | AddressClass::UniqueLocal
                | AddressClass::LinkLocal
                | AddressClass::Loopback
        ),
    }
}

/// Top-level domains that sites are known to use for themselves (RFC 6762, appendix G), none of which the public DNS has.
const INSIDE: &[&str] = &[
    "corp", "home", "internal", "intranet", "lan", "local", "private",
];
const EVERY: Duration = Duration::from_hours(1);
const MAX_CLIENTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn what_the_inside_has() {
        let inside = |host: &str| {
            let target: Authority = format!("{host}:443").parse().unwrap();
            is_inside(&target.host, &["2001:db8:64::/96".parse().unwrap()])
        };
        for host in [
            "vcenter",
            "VCENTER.",
            "vcenter.corp.local",
            "esx-1.lan",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "[fd00::1]",
            "[fe80::1]",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[2001:db8:64::a00:1]",
        ] {
            assert!(inside(host), "{host}");
        }
        for host in [
            "www.example.com",
            "local.example.com",
            "8.8.8.8",
            "[2606:4700::1]",
            "[::ffff:8.8.8.8]",
            // Somebody's mistake or attack, but no missing bypass list.
            "169.254.169.254",
        ] {
            assert!(!inside(host), "{host}");
        }
    }

    #[test]
    fn once_an_hour_each() {
        let named = Named::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert!(named.is_due(one, now));
        assert!(!named.is_due(one, now + EVERY / 2));
        assert!(named.is_due(two, now + EVERY / 2));
        assert!(named.is_due(one, now + EVERY));
        assert!(!named.is_due(one, now + EVERY * 3 / 2));
    }

    #[test]
    fn a_crowd_takes_bounded_room_and_gives_it_back() {
        let named = Named::default();
        let now = Instant::now();
        let due = |now| {
            let clients = (0..10_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
            clients.filter(|client| named.is_due(*client, now)).count()
        };
        assert_eq!(due(now), MAX_CLIENTS);
        assert_eq!(due(now + EVERY / 2), 0);
        assert_eq!(due(now + EVERY), MAX_CLIENTS);
        assert_eq!(named.0.lock().unwrap().len(), MAX_CLIENTS);
    }
}
