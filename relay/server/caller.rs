//! The caller is who a session is with, as the connection itself tells it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::authority::DnsName;
use crate::dial::Outgoing;
use crate::policy::{Client, Policy};
use crate::proxy_error::{Reason, Refusal};
use crate::proxy_protocol::Announced;

/// The addresses and names by which policy finds the client of a session.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The other end of the connection.
    peer: SocketAddr,
    /// The client that the peer, a balancer, announced.
    announced: Option<Announced>,
    /// Whether the peer is a balancer that announced no client.
    probes: bool,
    /// The names in the certificate, where the listener asks for one.
    certificate: Option<Arc<[DnsName]>>,
}

impl Caller {
    /// The caller at accept, before a PROXY header or a certificate has come.
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            announced: None,
            probes: false,
            certificate: None,
        }
    }

    /// Takes what the PROXY header of a balancer said.
    pub(super) fn speaks_for(&mut self, announced: Option<Announced>) {
        self.announced = announced;
        self.probes = announced.is_none();
    }

    /// Takes the names in the client's verified certificate.
    pub(super) fn has_certificate(&mut self, names: Vec<DnsName>) {
        self.certificate = Some(names.into());
    }

    /// The address of the other end, which a balancer may have instead of the client.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// The client's address, canonical.
    pub(super) fn source(&self) -> IpAddr {
        let client = self
            .announced
            .map_or(self.peer, |announced| announced.client);
        client.ip().to_canonical()
    }

    /// Finds the caller among the clients of a policy.
    pub(super) fn admitted(&self, policy: &Policy) -> Result<Arc<Client>, Refusal> {
        if self.probes {
            let detail = "the PROXY header announces nobody: such a connection may probe, and ask for nothing";
            return Err(Refusal::new(Reason::ClientNotAllowed, detail));
        }
        policy.admit_with(self.source(), self.certificate.as_deref())
    }

    /// Finds the listed client that the caller would be, and tells whether it has proven that.
    /// `refused` are the names in a certificate that wasn't accepted.
    pub(super) fn claimed<'a>(
        &self,
        policy: &'a Policy,
        refused: &[DnsName],
    ) -> Option<(&'a Arc<str>, bool)> {
        let names = self.certificate.as_deref().unwrap_or(refused);
        let claimed = policy.claimed(self.source(), names)?;
        let is_proven = !claimed.by_certificate || self.certificate.is_some();
        Some((claimed.name, is_proven))
    }

    /// The certificate name that makes the caller `client`, or else the first name.
    pub(super) fn certificate_name(&self, client: Option<&Client>) -> Option<&DnsName> {
        let names = self.certificate.as_deref()?;
        let known = |name: &&DnsName| client.is_some_and(|it| it.certificate_names.contains(name));
        names.iter().find(known).or(names.first())
    }

    /// Whether the caller is this relay itself: one of its outgoing sockets, connected to `here` or
    /// to the balancer.
    ///
    /// Where the connection may have been `translated` on its way, the destination of that socket
    /// doesn't matter. A source on loopback has met no translator.
    pub(super) fn is_one_of(
        &self,
        outgoing: &Outgoing,
        translated: bool,
        here: impl FnOnce() -> io::Result<SocketAddr>,
    ) -> bool {
        let anywhere = |from: SocketAddr| {
            translated && !from.ip().to_canonical().is_loopback() && outgoing.starts_at(from)
        };
        let through_balancer = |Announced { client, server }| {
            anywhere(client) || outgoing.contains(client, || Ok(server))
        };
        anywhere(self.peer)
            || outgoing.contains(self.peer, here)
            || self.announced.is_some_and(through_balancer)
    }
}
