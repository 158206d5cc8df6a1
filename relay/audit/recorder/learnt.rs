//! What a session learns before its tunnel opens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callhome_trail::{Decision, Tls};

use super::Recorder;
use crate::audit::throttle::Party;
use crate::authority::{Authority, DnsName, ServerName};
use crate::dns::AddressSource;
use crate::tls::ClientHello;
use crate::tunnel::Counters;

impl Recorder {
    pub fn id(&self) -> &str {
        self.record.session.as_deref().unwrap_or_default()
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub fn policy(&mut self, policy: &Arc<str>) {
        self.record.policy = Some(policy.into());
    }

    pub fn client(&mut self, name: Option<&Arc<str>>, role: Option<&'static str>) {
        if let Some(name) = name {
            self.party = Party::Listed(name.clone());
        }
        if let Some(client) = &mut self.record.client {
            client.name = name.map(Into::into);
            client.role = role.map(Into::into);
        }
    }

    /// Notes the listed client that this one would be by its address or its certificate. Anyone may
    /// claim what isn't proven, so the refusal is then charged to the address.
    pub fn claimed(&mut self, name: &Arc<str>, is_proven: bool) {
        if is_proven {
            self.party = Party::Listed(name.clone());
        }
        if let Some(client) = &mut self.record.client {
            client.claimed = Some(name.into());
        }
    }

    /// Notes that this request is beyond its client's rate.
    pub fn over_rate(&mut self) {
        self.over_rate = true;
    }

    /// Notes the client that a load balancer announced for this connection.
    pub fn announced(&mut self, client: SocketAddr, balancer: IpAddr) {
        self.address = client.ip().to_canonical();
        self.party = Party::stranger(self.address);
        if let Some(known) = &mut self.record.client {
            known.address = self.address;
            known.port = client.port();
            known.via = Some(balancer.to_canonical());
        }
    }

    /// Notes a name from the client's certificate.
    pub fn certificate(&mut self, name: &DnsName) {
        if let Some(client) = &mut self.record.client {
            client.certificate = Some(name.as_str().to_owned().into());
        }
    }

    /// Notes the target as it was sent.
    pub fn sent(&mut self, raw: &[u8]) {
        self.record.target.sent(raw);
    }

    /// Notes the target as it was understood.
    pub fn target(&mut self, authority: &Authority) {
        self.record.target.host = Some(authority.host.to_string().into());
        self.record.target.port = Some(authority.port);
    }

    pub fn destination(&mut self, name: Option<&Arc<str>>) {
        self.record.destination = name.map(Into::into);
    }

    /// Notes whether the request is for a billing destination that counts for the client. It is
    /// none for a name on no list.
    pub fn billing(&mut self, counts: Option<bool>) {
        self.record.billing = counts;
    }

    pub fn allowed(&mut self, enforced: bool) {
        self.record.decision = Some(Decision::Allow);
        self.record.enforced = Some(enforced);
    }

    /// Notes how long name resolution took, whether it succeeded or not.
    pub fn resolved(&mut self, took: Duration) {
        self.record.dns_ms = Some(took.into());
        self.audit.0.metrics.resolved(took);
    }

    pub fn address_source(&mut self, source: AddressSource) {
        self.record.target.address_source = Some(source.as_str().into());
    }

    pub fn connected(&mut self, took: Duration, remote: SocketAddr, local: SocketAddr) {
        self.record.connect_ms = Some(took.into());
        self.record.target.address = Some(remote.ip());
        self.record.upstream_local = Some(local);
        self.audit.0.metrics.connected(took);
    }

    pub fn client_hello(&mut self, hello: ClientHello) {
        self.record.tls = Some(described(hello));
    }
}

/// The members of the record that describe a `ClientHello`.
fn described(hello: ClientHello) -> Tls {
    let sni = match hello.server_name {
        ServerName::Absent => None,
        ServerName::Host(host) => Some(host.to_string().into()),
        ServerName::Invalid => Some("(invalid)".into()),
    };
    let versions = hello.versions.iter();
    Tls {
        sni,
        alpn: hello.alpn.into_iter().map(Into::into).collect(),
        versions: versions.map(|version| version.to_string().into()).collect(),
        ech: hello.ech,
        hello_bytes: hello.length as u64,
    }
}
