//! The relay's own outgoing sockets, by which it recognises a connection to itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A registry of connections by their two ends; clones share it. An accepted connection with the
/// same two ends is a loop.
///
/// The local end alone is not enough. The kernel gives one local port to several sockets when they
/// have different peers. So a client on this machine may have the same local end as one of the
/// relay's sockets.
///
/// A socket is registered before it can carry a byte. But the peer's kernel may accept the
/// connection a moment earlier, so ask only once the first bytes have arrived.
#[derive(Clone, Debug, Default)]
pub struct Outgoing(Arc<Mutex<BTreeMap<SocketPair, usize>>>);

/// The local and the remote address of a connection.
type SocketPair = (SocketAddr, SocketAddr);

/// Keeps a connection registered until it is dropped.
#[must_use = "dropping it removes the socket from the registry"]
#[derive(Debug)]
pub struct OutgoingGuard {
    registry: Outgoing,
    pair: SocketPair,
}

impl Outgoing {
    /// Tells whether a connection from `source` to `destination` is one of these. A v4-mapped
    /// address equals its IPv4 address.
    ///
    /// `destination` takes a system call, so it is called only where one of these comes from
    /// `source` at all.
    pub fn contains(
        &self,
        source: SocketAddr,
        destination: impl FnOnce() -> io::Result<SocketAddr>,
    ) -> bool {
        self.starts_at(source)
            && destination().is_ok_and(|destination| {
                let pair = (canonical(source), canonical(destination));
                self.sockets().contains_key(&pair)
            })
    }

    /// Tells whether one of these comes from `source`, to any destination.
    ///
    /// It is for connections whose destination may have been changed on the way. It takes a client
    /// on this machine with the same local end for the relay.
    pub fn starts_at(&self, source: SocketAddr) -> bool {
        let source = canonical(source);
        let sockets = self.sockets();
        let from = sockets.range((source, LOWEST)..).next();
        from.is_some_and(|(&(local, _), _)| local == source)
    }

    pub(super) fn register(&self, local: SocketAddr, remote: SocketAddr) -> OutgoingGuard {
        let pair = (canonical(local), canonical(remote));
        // The value is a count, because a new socket can get the ends of a closed one before the
        // old guard is dropped. Otherwise that drop would remove the new socket's entry.
        *self.sockets().entry(pair).or_insert(0) += 1;
        OutgoingGuard {
            registry: self.clone(),
            pair,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sockets().len()
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<SocketPair, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OutgoingGuard {
    fn drop(&mut self) {
        let mut sockets = self.registry.sockets();
        if let Some(count) = sockets.get_mut(&self.pair) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&self.pair);
            }
        }
    }
}

/// It sorts before every other address.
const LOWEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Drops the v4-mapped prefix, and flow label and scope, which may differ between the two ends.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_connection_is_known_in_every_spelling_until_the_last_guard_goes() {
        let outgoing = Outgoing::default();
        let local = address("127.0.0.1:4000");
        let mapped = address("[::ffff:127.0.0.1]:4000");
        let remote = address("192.0.2.1:443");
        let first = outgoing.register(local, remote);
        let second = outgoing.clone().register(mapped, remote);
        assert!(
            outgoing.contains(local, || Ok(remote)) && outgoing.contains(mapped, || Ok(remote))
        );
        for other in [
            "127.0.0.1:4001",
            "127.0.0.1:3999",
            "127.0.0.0:4000",
            "[::1]:4000",
        ] {
            assert!(!outgoing.contains(address(other), || panic!("{other} is nobody's")));
        }
        drop(first);
        assert!(outgoing.contains(mapped, || Ok(remote)));
        drop(second);
        assert!(!outgoing.contains(local, || Ok(remote)));
        assert!(outgoing.sockets().is_empty());
    }

    #[test]
    fn a_client_with_the_port_of_an_outgoing_socket_is_no_loop() {
        let outgoing = Outgoing::default();
        let shared = address("127.0.0.1:4000");
        let guard = outgoing.register(shared, address("127.0.0.1:443"));
        assert!(!outgoing.contains(shared, || Ok(address("127.0.0.1:3128"))));
        // Where the destination is unknown, it counts as a loop.
        assert!(outgoing.starts_at(shared));
        assert!(outgoing.starts_at(address("[::ffff:127.0.0.1]:4000")));
        for other in ["127.0.0.1:4001", "127.0.0.1:3999", "[::1]:4000"] {
            assert!(!outgoing.starts_at(address(other)), "{other}");
        }
        drop(guard);
        assert!(!outgoing.starts_at(shared));
    }
}
