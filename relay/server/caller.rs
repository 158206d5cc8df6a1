//! Who a session is with.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::authority::DnsName;
use crate::dial::Outgoing;
use crate::policy::{Client, Policy};
use crate::proxy_error::{Reason, Refusal};
use crate::proxy_protocol::Announced;

#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The other end of the connection.
    peer: SocketAddr,
    /// Whom the peer, a balancer, speaks for.
    announced: Option<Announced>,
    /// A balancer that speaks for nobody.
    probes: bool,
    /// The names in the certificate, where the listener asks for one.
    certificate: Option<Arc<[DnsName]>>,
}

impl Caller {
    /// Who connected, without anything said yet.
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            announced: None,
            probes: false,
            certificate: None,
        }
    }

    /// What the PROXY header of this balancer said.
    pub(super) fn speaks_for(&mut self, announced: Option<Announced>) {
        self.announced = announced;
        self.probes = announced.is_none();
    }

    pub(super) fn has_certificate(&mut self, names: Vec<DnsName>) {
        self.certificate = Some(names.into());
    }

    /// The client's address, canonical.
    pub(super) fn source(&self) -> IpAddr {
        let client = self
            .announced
            .map_or(self.peer, |announced| announced.client);
        client.ip().to_canonical()
    }

    /// Which client of the policy it is.
    pub(super) fn admitted(&self, policy: &Policy) -> Result<Arc<Client>, Refusal> {
        if self.probes {
            let detail = "the PROXY header announces nobody: such a connection may probe, and ask for nothing";
            return Err(Refusal::new(Reason::ClientNotAllowed, detail));
        }
        policy.admit_with(self.source(), self.certificate.as_deref())
    }

    /// The name in its certificate by which it is `client`, or else the first.
    pub(super) fn certificate_name(&self, client: Option<&Client>) -> Option<&DnsName> {
        let names = self.certificate.as_deref()?;
        let known = |name: &&DnsName| client.is_some_and(|it| it.certificate_names.contains(name));
        names.iter().find(known).or(names.first())
    }

    /// Whether it is the relay itself that connected, to `here` or to the balancer; or, where that may have been `translated`, to
    /// anywhere. What is on loopback has met no translator.
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
