//! The relay's own outgoing sockets, so that it recognises itself as a client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A registry of local addresses; clones share it. An accepted connection that comes from one of them is a loop.
///
/// A socket is in it before it can carry a byte, but the peer's kernel may accept the connection a moment earlier: ask once
/// the first bytes have arrived.
#[derive(Clone, Debug, Default)]
pub struct Outgoing(Arc<Mutex<HashMap<SocketAddr, usize>>>);

/// Keeps a local address registered until it is dropped.
#[must_use = "dropping it removes the socket from the registry"]
#[derive(Debug)]
pub struct OutgoingGuard {
    registry: Outgoing,
    local: SocketAddr,
}

impl Outgoing {
    /// Whether `source` is the local address of an outgoing socket; v4-mapped is the same as IPv4.
    pub fn contains(&self, source: SocketAddr) -> bool {
        self.sockets().contains_key(&canonical(source))
    }

    pub(super) fn register(&self, local: SocketAddr) -> OutgoingGuard {
        let local = canonical(local);
        // Counted: the kernel gives one local port to several sockets when they have different peers.
        *self.sockets().entry(local).or_insert(0) += 1;
        OutgoingGuard {
            registry: self.clone(),
            local,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sockets().len()
    }

    fn sockets(&self) -> MutexGuard<'_, HashMap<SocketAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OutgoingGuard {
    fn drop(&mut self) {
        let mut sockets = self.registry.sockets();
        if let Some(count) = sockets.get_mut(&self.local) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&self.local);
            }
        }
    }
}

/// Without the v4-mapped prefix, and without flow label and scope, which the two ends needn't agree on.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_in_every_spelling_until_the_last_guard_goes() {
        let outgoing = Outgoing::default();
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:4000".parse().unwrap();
        let first = outgoing.register(local);
        let second = outgoing.clone().register(mapped);
        assert!(outgoing.contains(local) && outgoing.contains(mapped));
        assert!(!outgoing.contains("127.0.0.1:4001".parse().unwrap()));
        drop(first);
        assert!(outgoing.contains(mapped));
        drop(second);
        assert!(!outgoing.contains(local));
        assert!(outgoing.sockets().is_empty());
    }
}
