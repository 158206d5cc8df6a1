//! Walks to one target, hop by hop, on the way that a session goes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer;
use super::finding::{Finding, Hop, HopOutcome};
use super::handshake::shake_hands;
use super::roots::TrustStores;
use super::target::ProbeTarget;
use super::text::list;
use super::walk::Walk;
use crate::authority::{Authority, DnsName, Host};
use crate::dial::{self, Dialled, Outgoing};
use crate::dns::{AddressSource, LookupError, Resolver};
use crate::policy::{Client, Permit, PermittedAddrs, Policy, classify};
use crate::proxy_error::{Reason, Refusal};
use crate::server;

/// Holds what a probe takes from the relay, so that it goes the way that a session goes.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    pub policy: Arc<Policy>,
    pub resolver: Resolver,
    /// Bounds all connection attempts to a target together.
    pub connect_timeout: Duration,
    /// The register of the relay's own connections. With the register of a running server, that
    /// server recognises a walk which comes back to it.
    pub outgoing: Outgoing,
    /// The relay's own ports. No walk connects to them.
    pub own: Vec<SocketAddr>,
    /// Addresses that are this relay though no interface has them.
    pub self_addresses: Vec<IpAddr>,
}

/// Holds what all walks share.
#[derive(Debug)]
pub(super) struct Walker {
    options: ProbeOptions,
    stores: Arc<TrustStores>,
}

impl Walker {
    pub(super) fn new(options: ProbeOptions, stores: Arc<TrustStores>) -> Self {
        Self { options, stores }
    }

    pub(super) async fn walk(&self, target: &ProbeTarget) -> Walk {
        let ProbeTarget {
            destination,
            host,
            port,
        } = target;
        let mut walk = Walk::to(&destination.name, host.as_str(), *port);
        // `None` means that a hop failed, and the walk has that hop's finding already.
        let _ = self.hops(target, &mut walk).await;
        walk.skip_rest("not reached");
        walk
    }

    async fn hops(&self, target: &ProbeTarget, walk: &mut Walk) -> Option<()> {
        let (permit, addresses) = walk.add(Hop::Name, self.resolve(target).await)?;
        let permitted = walk.add(Hop::Ranges, self.screen(target, &permit, &addresses))?;
        let dialled = walk.add(Hop::Tcp, self.connect(target, &permitted).await)?;
        if !permit.reads_client_hello() {
            walk.skip_rest("tls_only = false: what it speaks isn't known");
            return None;
        }
        // The registration must live as long as the connection, so it gets a name.
        let Dialled {
            stream,
            registered: _registered,
            ..
        } = dialled;
        let secured = shake_hands(&self.stores, stream, target).await;
        let secured = walk.add(Hop::Tls, secured)?;
        let answered = walk.add(Hop::Http, answer::ask(secured, target).await)?;
        walk.add(Hop::Clock, Ok(((), answer::compare_clocks(&answered))))
    }

    async fn resolve(&self, target: &ProbeTarget) -> HopOutcome<(Permit, Vec<IpAddr>)> {
        let authority = Authority {
            host: Host::Name(target.host.clone()),
            port: target.port,
        };
        // The walk has no client, so policy decides as for a client that may use every destination.
        // `explain` tells which client is admitted.
        let permit = self
            .options
            .policy
            .decide(&Client::unlisted(), &authority, Timestamp::now())
            .map_err(|denial| refused(&denial.refusal))?;
        let started = Instant::now();
        let (addresses, source) = if let Some(addresses) = permit.static_addresses() {
            (addresses.to_vec(), AddressSource::Static)
        } else {
            let resolved = self.options.resolver.resolve(&target.host).await;
            let resolution = resolved.map_err(|failure| self.unresolved(&failure, &target.host))?;
            (resolution.addresses, resolution.source)
        };
        let nat64 = self.options.policy.nat64_prefixes();
        let shown = list(&addresses, |address| {
            format!("{address} ({})", classify(address, nat64))
        });
        let from = match source {
            AddressSource::Static => "from the configuration".to_owned(),
            AddressSource::Hosts => "from the hosts file".to_owned(),
            source => format!(
                "{} in {} ms",
                source.as_str(),
                started.elapsed().as_millis()
            ),
        };
        Ok(((permit, addresses), Finding::ok(format!("{shown}, {from}"))))
    }

    fn unresolved(&self, failure: &LookupError, host: &DnsName) -> Finding {
        let servers = list(self.options.resolver.servers(), |server| server.to_string());
        let seen = format!("{failure}; asked: {servers}");
        match failure {
            LookupError::Negative { rcode: "NXDOMAIN" } => Finding::fail(
                seen,
                "the name is wrong, or this name server doesn't know names of the internet, or hides this one",
                format!(
                    "ask a name server outside for {host}; if it knows it, forward to one like it, or set [dns] servers or the destination's addresses"
                ),
            ),
            LookupError::Negative { rcode: "NOERROR" } => Finding::fail(
                seen,
                "the name exists without an address: a filter, or an internal zone over the public one",
                format!(
                    "ask a name server outside for {host}; if it has an address, find the filter or the zone"
                ),
            ),
            LookupError::Negative { .. } => Finding::fail(
                seen,
                "the name server won't or can't look names up for this machine: recursion isn't allowed to it, its own \
                 forwarders fail, or DNSSEC validation does",
                "allow this machine recursion there, or set [dns] servers to one that resolves names of the internet",
            ),
            LookupError::Timeout | LookupError::Unanswered(_) => Finding::fail(
                seen,
                "a firewall between this machine and the name server, or a server that is down or isn't one",
                "allow port 53, UDP and TCP, to the name server, or set [dns] servers to another",
            ),
        }
    }

    fn screen(
        &self,
        target: &ProbeTarget,
        permit: &Permit,
        addresses: &[IpAddr],
    ) -> HopOutcome<PermittedAddrs> {
        let ranges = &target.destination.ip_ranges;
        let permitted = permit.screen(addresses).map_err(|denial| {
            let seen = denial.refusal.detail.unwrap_or_default();
            let (cause, next) = match ranges {
                Some(_) => (
                    "the ranges aren't the vendor's current ones, or the name server gives an address of its own making",
                    "compare ip_ranges with the vendor's notice, and the addresses with what a name server outside gives",
                ),
                None => (
                    "the name server gives an address that the internet doesn't have: a filter, or an internal zone",
                    "ask a name server outside; if the address is meant, add ip_ranges to the destination that hold it",
                ),
            };
            Finding::fail(seen, cause, next)
        })?;
        let enforced = permitted.enforced();
        let permitted = server::without_own(
            permitted,
            target.port,
            &self.options.own,
            &self.options.self_addresses,
            &self.options.policy,
        )
        .map_err(|refusal| refused(&refusal))?;
        if !enforced {
            return Ok((
                permitted,
                Finding::warn(
                    "outside ip_ranges, let through by report-only",
                    "the ranges aren't the vendor's current ones, or the name server gives an address of its own making",
                    "correct ip_ranges before report-only ends",
                ),
            ));
        }
        let rule = match ranges {
            Some(ranges) => format!("inside {}", list(ranges, |range| range.to_string())),
            None => "globally reachable; no ip_ranges set".to_owned(),
        };
        let is_refused =
            |address: &&IpAddr| !permitted.as_slice().contains(&address.to_canonical());
        let left_out: Vec<_> = addresses.iter().filter(is_refused).copied().collect();
        let finding = if left_out.is_empty() {
            Finding::ok(rule)
        } else {
            Finding::warn(
                format!(
                    "{} {rule}; never dialled: {}",
                    list(permitted.as_slice(), |address| address.to_string()),
                    list(&left_out, |address| address.to_string())
                ),
                "the name has addresses that policy refuses, or that are this relay's own",
                "compare them with what a name server outside gives",
            )
        };
        Ok((permitted, finding))
    }

    async fn connect(
        &self,
        target: &ProbeTarget,
        permitted: &PermittedAddrs,
    ) -> HopOutcome<Dialled> {
        let timeout = self.options.connect_timeout;
        let started = Instant::now();
        match dial::dial(permitted, target.port, timeout, &self.options.outgoing).await {
            Ok(dialled) => {
                let seen = format!(
                    "{} from {} in {} ms",
                    dialled.remote,
                    dialled.local.ip(),
                    started.elapsed().as_millis()
                );
                Ok((dialled, Finding::ok(seen)))
            }
            Err(failure) => Err(unconnected(failure, target.port, started.elapsed())),
        }
    }
}

fn unconnected(failure: dial::DialError, port: u16, after: Duration) -> Finding {
    let Refusal { reason, detail, .. } = failure.into();
    let seen = detail.unwrap_or_default();
    match reason {
        Reason::ConnectionRefused => Finding::fail(
            seen,
            "a firewall rejects the connection, or nothing listens there",
            format!(
                "allow this machine port {port} to the address on every firewall on the way; else compare the address with what a name server outside gives"
            ),
        ),
        Reason::ConnectionTimeout => Finding::fail(
            format!("{seen}, after {} s", after.as_secs()),
            "a firewall between the relay and the internet drops the packets, or the answers have no way back",
            format!(
                "allow this machine port {port} to the address, and check routes and NAT for this machine"
            ),
        ),
        Reason::Unreachable => Finding::fail(
            seen,
            "this machine has no route there, or a router or firewall on the way says so",
            "check the default route (`ip route get ADDRESS`), and the firewall of this machine",
        ),
        _ => Finding::fail(
            seen,
            "this machine has run out of descriptors, ports or memory",
            "look at its limits and its load",
        ),
    }
}

/// Tells what policy refuses before it sees an address, or because the address is the relay's own.
fn refused(refusal: &Refusal) -> Finding {
    Finding::fail(
        refusal.to_string(),
        "the configuration leads back to this relay, or contradicts itself",
        "compare the addresses with this machine's and with self_addresses; `explain` shows what decides",
    )
}
