//! The limits count connections, tunnels and request heads, in all and per client.
//!
//! A client is a source address. For IPv6 it is the address's /64, because one machine can choose
//! any address of it.

mod bucket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::bucket::Bucket;
use crate::policy::Rate;
use crate::server::options::Limits;

/// The counts of all sessions. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Limiter(Arc<Mutex<Counts>>);

/// A counted connection. Its drop gives the slot back.
#[derive(Debug)]
pub(in crate::server) struct ConnectionSlot {
    limiter: Limiter,
    /// None until a balancer has announced the client.
    client: Option<LimitKey>,
}

/// A counted tunnel. Its drop gives the slot back.
#[derive(Debug)]
pub(in crate::server) struct TunnelSlot {
    limiter: Limiter,
    client: LimitKey,
    listed: bool,
}

/// Names the limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum LimitReached {
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

/// A client's claim to one more tunnel: what the limits depend on.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Claim {
    pub(in crate::server) source: IpAddr,
    /// Whether the client is in the inventory.
    pub(in crate::server) listed: bool,
    /// The client's own limit, which replaces `tunnels_per_client`.
    pub(in crate::server) tunnels: Option<u32>,
}

/// The key under which a client is counted: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LimitKey(IpAddr);

#[derive(Debug, Default)]
struct Counts {
    connections: u32,
    tunnels: u32,
    unlisted_tunnels: u32,
    clients: HashMap<LimitKey, ClientCounts>,
    /// The number of clients at which those at rest are swept out.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct ClientCounts {
    connections: u32,
    tunnels: u32,
    bucket: Option<Bucket>,
}

impl Limiter {
    /// Counts a connection. `client` is None where a balancer has yet to announce it.
    pub(in crate::server) fn connection(
        &self,
        client: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<ConnectionSlot, LimitReached> {
        let mut counts = self.lock();
        if counts.connections >= limits.connections {
            return Err(LimitReached::Connections);
        }
        let client = client.map(LimitKey::of);
        if let Some(client) = client {
            counts.connect(client, limits)?;
        }
        counts.connections += 1;
        Ok(ConnectionSlot {
            limiter: self.clone(),
            client,
        })
    }

    /// Counts a tunnel. `inventory` says whether any client is listed.
    pub(in crate::server) fn tunnel(
        &self,
        claim: Claim,
        limits: &Limits,
        inventory: bool,
    ) -> Result<TunnelSlot, LimitReached> {
        let client = LimitKey::of(claim.source);
        let mut counts = self.lock();
        if counts.tunnels >= limits.tunnels {
            return Err(LimitReached::Tunnels);
        }
        // Without an inventory the reserve doesn't hold, because no client could use it.
        if inventory && !claim.listed {
            let reserve = u64::from(limits.tunnels) * u64::from(limits.inventory_reserve) / 100;
            if u64::from(counts.unlisted_tunnels) + reserve >= u64::from(limits.tunnels) {
                return Err(LimitReached::Reserved);
            }
        }
        let own = counts.clients.entry(client).or_default();
        if own.tunnels >= claim.tunnels.unwrap_or(limits.tunnels_per_client) {
            return Err(LimitReached::TunnelsPerClient);
        }
        own.tunnels += 1;
        counts.tunnels += 1;
        counts.unlisted_tunnels += u32::from(!claim.listed);
        Ok(TunnelSlot {
            limiter: self.clone(),
            client,
            listed: claim.listed,
        })
    }

    /// Takes a request head off a client's rate; false when there is none left.
    #[must_use]
    pub(in crate::server) fn request(&self, client: IpAddr, rate: Rate, now: Instant) -> bool {
        let mut counts = self.lock();
        counts.sweep(now);
        let own = counts.clients.entry(LimitKey::of(client)).or_default();
        let bucket = own.bucket.get_or_insert(Bucket::full(rate, now));
        bucket.refill(rate, now);
        bucket.take()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code panics under the lock, and the counts are consistent between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Counts the connection as `client`'s, once a balancer has announced it.
    pub(in crate::server) fn belongs_to(
        &mut self,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<(), LimitReached> {
        let client = LimitKey::of(client);
        self.limiter.lock().connect(client, limits)?;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.connections -= 1;
        if let Some(client) = self.client {
            counts.release(client, |own| own.connections -= 1);
        }
    }
}

impl Drop for TunnelSlot {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.tunnels -= 1;
        counts.unlisted_tunnels -= u32::from(!self.listed);
        counts.release(self.client, |own| own.tunnels -= 1);
    }
}

impl Counts {
    fn connect(&mut self, client: LimitKey, limits: &Limits) -> Result<(), LimitReached> {
        let own = self.clients.entry(client).or_default();
        if own.connections >= limits.connections_per_client {
            return Err(LimitReached::ConnectionsPerClient);
        }
        own.connections += 1;
        Ok(())
    }

    fn release(&mut self, client: LimitKey, give_back: impl FnOnce(&mut ClientCounts)) {
        if let Some(own) = self.clients.get_mut(&client) {
            give_back(own);
            // A bucket outlives its connections, otherwise reconnecting would fill it. The sweep
            // removes it once it is full.
            if own.connections == 0 && own.tunnels == 0 && own.bucket.is_none() {
                self.clients.remove(&client);
            }
        }
    }

    /// Forgets the clients that hold nothing. It waits until their number has doubled, so a request
    /// costs constant work on average.
    fn sweep(&mut self, now: Instant) {
        if self.clients.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        self.clients.retain(|_, own| {
            let rested = own.bucket.is_none_or(|bucket| bucket.is_full(now));
            own.connections > 0 || own.tunnels > 0 || !rested
        });
        self.sweep_at = self.clients.len() * 2;
    }
}

impl LimitKey {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

const SWEEP_FROM: usize = 1024;
