//! How much is taken from whom: connections, tunnels and request heads, in all and per client.
//!
//! A client is a source address; for IPv6 its /64, because that is what one machine can choose from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::policy::Rate;
use crate::server::options::Limits;

/// The counts. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Limiter(Arc<Mutex<Counts>>);

/// A counted connection; dropped, it is given back.
#[derive(Debug)]
pub(in crate::server) struct ConnectionSlot {
    limiter: Limiter,
    /// None while it isn't known whose it is.
    source: Option<Source>,
}

/// A counted tunnel; dropped, it is given back.
#[derive(Debug)]
pub(in crate::server) struct TunnelSlot {
    limiter: Limiter,
    source: Source,
    listed: bool,
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Full {
    #[error("the relay has as many connections as [limits] connections allows")]
    Connections,
    #[error("this client has as many connections as [limits] connections_per_client allows")]
    ConnectionsPerClient,
    #[error("the relay has as many tunnels as [limits] tunnels allows")]
    Tunnels,
    #[error("the tunnels that are left are kept for listed clients ([limits] inventory_reserve)")]
    Reserved,
    #[error("this client has as many tunnels as its limit allows")]
    TunnelsPerClient,
}

/// Who asks for a tunnel, as far as limits differ.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Claim {
    pub(in crate::server) source: IpAddr,
    /// Whether the client is in the inventory.
    pub(in crate::server) listed: bool,
    /// The client's own limit, instead of `tunnels_per_client`.
    pub(in crate::server) tunnels: Option<u32>,
}

/// What one client is: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct Source(IpAddr);

#[derive(Debug, Default)]
struct Counts {
    connections: u32,
    tunnels: u32,
    unlisted_tunnels: u32,
    sources: HashMap<Source, SourceCounts>,
    /// How many sources there may be before those at rest are swept out.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct SourceCounts {
    connections: u32,
    tunnels: u32,
    bucket: Option<Bucket>,
}

/// A token bucket: `rate` refills it, and it holds twice the rate's count.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    rate: Rate,
    at: Instant,
}

impl Limiter {
    /// For a client, or, until its address is announced, for nobody.
    pub(in crate::server) fn connection(
        &self,
        client: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<ConnectionSlot, Full> {
        let mut counts = self.lock();
        if counts.connections >= limits.connections {
            return Err(Full::Connections);
        }
        let source = client.map(Source::of);
        if let Some(source) = source {
            counts.connect(source, limits)?;
        }
        counts.connections += 1;
        Ok(ConnectionSlot {
            limiter: self.clone(),
            source,
        })
    }

    pub(in crate::server) fn tunnel(
        &self,
        claim: Claim,
        limits: &Limits,
        inventory: bool,
    ) -> Result<TunnelSlot, Full> {
        let source = Source::of(claim.source);
        let mut counts = self.lock();
        if counts.tunnels >= limits.tunnels {
            return Err(Full::Tunnels);
        }
        // Without an inventory nobody could use what is kept for it.
        if inventory && !claim.listed {
            let reserve = u64::from(limits.tunnels) * u64::from(limits.inventory_reserve) / 100;
            if u64::from(counts.unlisted_tunnels) + reserve >= u64::from(limits.tunnels) {
                return Err(Full::Reserved);
            }
        }
        let entry = counts.sources.entry(source).or_default();
        if entry.tunnels >= claim.tunnels.unwrap_or(limits.tunnels_per_client) {
            return Err(Full::TunnelsPerClient);
        }
        entry.tunnels += 1;
        counts.tunnels += 1;
        counts.unlisted_tunnels += u32::from(!claim.listed);
        Ok(TunnelSlot {
            limiter: self.clone(),
            source,
            listed: claim.listed,
        })
    }

    /// Takes a request head off a client's rate; false when there is none left.
    #[must_use]
    pub(in crate::server) fn request(&self, peer: IpAddr, rate: Rate, now: Instant) -> bool {
        let mut counts = self.lock();
        counts.sweep(now);
        let entry = counts.sources.entry(Source::of(peer)).or_default();
        let bucket = entry.bucket.get_or_insert(Bucket::full(rate, now));
        bucket.refill(rate, now);
        bucket.take()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics under the lock, and each count is consistent between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Counts the connection as a client's, now that it is known whose it is.
    pub(in crate::server) fn belongs_to(
        &mut self,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<(), Full> {
        let source = Source::of(client);
        self.limiter.lock().connect(source, limits)?;
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.connections -= 1;
        if let Some(source) = self.source {
            counts.release(source, |entry| entry.connections -= 1);
        }
    }
}

impl Drop for TunnelSlot {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.tunnels -= 1;
        counts.unlisted_tunnels -= u32::from(!self.listed);
        counts.release(self.source, |entry| entry.tunnels -= 1);
    }
}

impl Counts {
    fn connect(&mut self, source: Source, limits: &Limits) -> Result<(), Full> {
        let entry = self.sources.entry(source).or_default();
        if entry.connections >= limits.connections_per_client {
            return Err(Full::ConnectionsPerClient);
        }
        entry.connections += 1;
        Ok(())
    }

    fn release(&mut self, source: Source, give_back: impl FnOnce(&mut SourceCounts)) {
        if let Some(entry) = self.sources.get_mut(&source) {
            give_back(entry);
            // A bucket must outlive its connections, or reconnecting would fill it; the sweep takes it when it is full.
            if entry.connections == 0 && entry.tunnels == 0 && entry.bucket.is_none() {
                self.sources.remove(&source);
            }
        }
    }

    /// Forgets sources that hold nothing, each time their number has doubled: constant work a request on average.
    fn sweep(&mut self, now: Instant) {
        if self.sources.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        self.sources.retain(|_, entry| {
            let rested = entry.bucket.is_none_or(|bucket| bucket.is_full(now));
            entry.connections > 0 || entry.tunnels > 0 || !rested
        });
        self.sweep_at = self.sources.len() * 2;
    }
}

impl Source {
    pub(in crate::server) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: capacity(rate),
            rate,
            at: now,
        }
    }

    /// Adds what has flowed in since; a reload may have changed the rate.
    fn refill(&mut self, rate: Rate, now: Instant) {
        self.tokens = self.level(rate, now);
        self.rate = rate;
        self.at = now;
    }

    fn take(&mut self) -> bool {
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }

    fn is_full(&self, now: Instant) -> bool {
        self.level(self.rate, now) >= capacity(self.rate)
    }

    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at);
        let flow = f64::from(rate.count) / rate.per.max(Duration::from_millis(1)).as_secs_f64();
        (self.tokens + elapsed.as_secs_f64() * flow).min(capacity(rate))
    }
}

fn capacity(rate: Rate) -> f64 {
    2.0 * f64::from(rate.count)
}

const SWEEP_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 8,
            connections_per_client: 3,
            tunnels: 4,
            tunnels_per_client: 2,
            inventory_reserve: 25,
            rate_per_client: Rate {
                count: 5,
                per: Duration::from_secs(1),
            },
            request_head: 16 * 1024,
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn unlisted(last: u8) -> Claim {
        Claim {
            source: address(last),
            listed: false,
            tunnels: None,
        }
    }

    #[test]
    fn the_limit_is_exact_per_client_and_in_all() {
        let (limiter, limits) = (Limiter::default(), limits());
        let mut held: Vec<_> = (0..3)
            .map(|_| limiter.connection(Some(address(1)), &limits).unwrap())
            .collect();
        let full = limiter.connection(Some(address(1)), &limits).unwrap_err();
        assert_eq!(full, Full::ConnectionsPerClient);
        for client in [2, 2, 2, 3, 3] {
            held.push(limiter.connection(Some(address(client)), &limits).unwrap());
        }
        assert_eq!(
            limiter.connection(Some(address(4)), &limits).unwrap_err(),
            Full::Connections
        );
        held.clear();
        assert!(limiter.connection(Some(address(1)), &limits).is_ok());
        assert!(
            limiter.lock().sources.is_empty(),
            "nothing is kept of who is gone"
        );
    }

    #[test]
    fn a_connection_may_become_a_clients_later() {
        let (limiter, limits) = (Limiter::default(), limits());
        let connect = || limiter.connection(None, &limits);
        let mut held: Vec<_> = (0..8).map(|_| connect().unwrap()).collect();
        assert_eq!(connect().unwrap_err(), Full::Connections);
        for slot in &mut held[..3] {
            slot.belongs_to(address(1), &limits).unwrap();
        }
        let full = held[3].belongs_to(address(1), &limits).unwrap_err();
        assert_eq!(full, Full::ConnectionsPerClient);
        held[3].belongs_to(address(2), &limits).unwrap();
        held.remove(0);
        held[4].belongs_to(address(1), &limits).unwrap();
        held.clear();
        assert!(limiter.lock().sources.is_empty());
        assert_eq!(limiter.lock().connections, 0);
    }

    #[test]
    fn the_reserve_is_the_inventorys() {
        let (limiter, limits) = (Limiter::default(), limits());
        let _held: Vec<_> = (1..=3)
            .map(|c| limiter.tunnel(unlisted(c), &limits, true).unwrap())
            .collect();
        assert_eq!(
            limiter.tunnel(unlisted(4), &limits, true).unwrap_err(),
            Full::Reserved
        );
        let listed = Claim {
            listed: true,
            ..unlisted(4)
        };
        let slot = limiter.tunnel(listed, &limits, true).unwrap();
        let listed = Claim {
            listed: true,
            ..unlisted(5)
        };
        assert_eq!(
            limiter.tunnel(listed, &limits, true).unwrap_err(),
            Full::Tunnels
        );
        drop(slot);
        assert!(
            limiter.tunnel(unlisted(4), &limits, false).is_ok(),
            "no inventory, no reserve"
        );
    }

    #[test]
    fn a_clients_own_limit_replaces_the_general_one() {
        let (limiter, limits) = (Limiter::default(), limits());
        let own = Claim {
            tunnels: Some(1),
            ..unlisted(1)
        };
        let _slot = limiter.tunnel(own, &limits, false).unwrap();
        assert_eq!(
            limiter.tunnel(own, &limits, false).unwrap_err(),
            Full::TunnelsPerClient
        );
    }

    #[test]
    fn a_slash_64_is_one_client() {
        let (limiter, limits) = (Limiter::default(), limits());
        let _held: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"]
            .map(|a| limiter.connection(a.parse().ok(), &limits).unwrap())
            .into();
        assert!(
            limiter
                .connection("2001:db8::3".parse().ok(), &limits)
                .is_err()
        );
        assert!(
            limiter
                .connection("2001:db8:0:1::1".parse().ok(), &limits)
                .is_ok()
        );
        assert_eq!(
            Source::of("::ffff:10.0.0.1".parse().unwrap()),
            Source::of(address(1))
        );
    }

    #[test]
    fn a_burst_is_twice_the_rate_then_the_rate_holds() {
        let limiter = Limiter::default();
        let rate = limits().rate_per_client;
        let start = Instant::now();
        let granted = |at: u64, tries: u32| {
            let now = start + Duration::from_millis(at);
            (0..tries)
                .filter(|_| limiter.request(address(1), rate, now))
                .count()
        };
        assert_eq!(granted(0, 50), 10);
        assert_eq!(granted(100, 50), 0, "half a token");
        assert_eq!(granted(1000, 50), 5);
        assert_eq!(granted(60_000, 50), 10);
    }

    #[test]
    fn sources_at_rest_are_swept_out() {
        let limiter = Limiter::default();
        let rate = limits().rate_per_client;
        let start = Instant::now();
        for n in 0..100_000_u32 {
            let now = start + Duration::from_millis(u64::from(n));
            let _ = limiter.request(IpAddr::from(n.to_be_bytes()), rate, now);
        }
        assert!(limiter.lock().sources.len() <= 2 * SWEEP_FROM);
    }
}
