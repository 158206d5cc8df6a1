//! Keeps the relay from connecting to itself, and recognises a connection that has come back to it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::passing::{PassingHello, PassingHellos};
use crate::dial::Outgoing;
use crate::os;
use crate::policy::{PermittedAddrs, Policy};
use crate::proxy_error::{Reason, Refusal};
use crate::server::caller::Caller;
use crate::server::options::ListenerMode;
use crate::tls::Random;

/// The signs of a loop. The relay's own ports are checked before dialling. Its outgoing sockets and
/// each `ClientHello` that passes through it are compared with what arrives.
#[derive(Debug)]
pub(in crate::server) struct Loops {
    /// The addresses on which this process listens: those of the listeners and of the admin port.
    own: Vec<SocketAddr>,
    outgoing: Outgoing,
    passing: PassingHellos,
}

impl Loops {
    pub(in crate::server) fn new(own: Vec<SocketAddr>) -> Self {
        Self {
            own,
            outgoing: Outgoing::default(),
            passing: PassingHellos::default(),
        }
    }

    /// The registry in which each outgoing socket is entered before it can carry a byte.
    pub(in crate::server) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Registers a ClientHello as passing, until the returned guard is dropped.
    pub(in crate::server) fn enter(&self, random: Random) -> PassingHello {
        self.passing.enter(random)
    }

    /// Takes out the addresses that lead back to this relay.
    pub(in crate::server) fn without_own(
        &self,
        addresses: PermittedAddrs,
        port: u16,
        self_addresses: &[IpAddr],
        policy: &Policy,
    ) -> Result<PermittedAddrs, Refusal> {
        without_own(addresses, port, &self.own, self_addresses, policy)
    }

    /// Tells by which sign a session is with this relay itself; None where there is no sign.
    ///
    /// Ask only after the first byte has been read. The relay registers its own socket before that
    /// socket sends, but the peer's kernel may accept the connection earlier. `here` is the local
    /// address, which takes a system call.
    pub(in crate::server) fn came_back(
        &self,
        mode: ListenerMode,
        caller: &Caller,
        here: impl FnOnce() -> io::Result<SocketAddr>,
        random: Option<&Random>,
    ) -> Option<&'static str> {
        // On an `sni` listener the client sends no CONNECT, so a translator on the way can lead any
        // connection here. The relay's own socket then has another destination than this listener.
        let translated = mode != ListenerMode::Proxy;
        if caller.is_one_of(&self.outgoing, translated, here) {
            return Some("the connection comes from this relay");
        }
        random
            .is_some_and(|random| self.passing.contains(random))
            .then_some("this ClientHello is passing through this relay already")
    }
}

/// Takes out the addresses that lead back to a relay whose own ports are `own`.
///
/// # Errors
///
/// `LoopDetected` when none is left.
pub fn without_own(
    addresses: PermittedAddrs,
    port: u16,
    own: &[SocketAddr],
    self_addresses: &[IpAddr],
    policy: &Policy,
) -> Result<PermittedAddrs, Refusal> {
    addresses
        .excluding(|address| {
            // A translator (NAT64) can bring a connection back too, so judge the IPv4 address
            // inside.
            let reached = policy.reached_by(address);
            let listens = |own: &SocketAddr| {
                own.port() == port
                    && (own.ip().is_unspecified() || own.ip().to_canonical() == reached)
            };
            self_addresses.contains(&address)
                || self_addresses.contains(&reached)
                || (own.iter().any(listens) && os::is_local_address(reached))
        })
        .ok_or_else(|| Refusal::new(Reason::LoopDetected, "every address is this relay's own"))
}
