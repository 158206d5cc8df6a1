//! The relay's own outgoing sockets, so that it recognises itself as a client.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A registry of connections by their two ends; clones share it. An accepted connection with the same two is a loop.
///
/// The local end alone would not do: the kernel gives one local port to several sockets when they have different peers, so a
/// client on this machine may have the same as one of the relay's own.
///
/// A socket is in it before it can carry a byte, but the peer's kernel may accept the connection a moment earlier: ask once
/// the first bytes have arrived.
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
    /// Whether a connection from `source` to `destination` is one of these; v4-mapped is the same as IPv4. The destination is
    /// asked for, which takes a system call, only where one comes from this source at all.
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

    /// Whether one of these comes from `source`, wherever it goes. For where the destination may have been changed on the way; a
    /// client on this machine that has the same port is taken for the relay.
    pub fn starts_at(&self, source: SocketAddr) -> bool {
        let source = canonical(source);
        let sockets = self.sockets();
        let from = sockets.range((source, LOWEST)..).next();
        from.is_some_and(|(&(local, _), _)| local == source)
    }

    pub(super) fn register(&self, local: SocketAddr, remote: SocketAddr) -> OutgoingGuard {
        let pair = (canonical(local), canonical(remote));
        // Counted: a socket may be closed, and the next one have its ends, before its guard is dropped.
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

/// Before every other address in order.
const LOWEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Without the v4-mapped prefix, and without flow label and scope, which the two ends needn't agree on.
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
        // Where its destination can't be told, it is one.
        assert!(outgoing.starts_at(shared));
        assert!(outgoing.starts_at(address("[::ffff:127.0.0.1]:4000")));
        for other in ["127.0.0.1:4001", "127.0.0.1:3999", "[::1]:4000"] {
            assert!(!outgoing.starts_at(address(other)), "{other}");
        }
        drop(guard);
        assert!(!outgoing.starts_at(shared));
    }
}
