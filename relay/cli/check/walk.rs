//! One destination, hop by hop, the way a session goes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer;
use super::handshake::TrustStores;
use super::report::{Finding, Hop, Outcome, Walk};
use super::target::Target;
use crate::authority::{Authority, DnsName, Host};
use crate::config::Config;
use crate::dial::{self, Dialled, Outgoing};
use crate::dns::{AddressSource, LookupError, Resolver, ResolverError};
use crate::policy::{Client, Permit, PermittedAddrs, classify};
use crate::proxy_error::{Reason, Refusal};
use crate::server;

/// What every walk uses.
#[derive(Debug)]
pub(super) struct Walker {
    config: Config,
    resolver: Resolver,
    outgoing: Outgoing,
    stores: Arc<TrustStores>,
    /// The relay's own ports, as the configuration has them.
    own: Vec<SocketAddr>,
}

impl Walker {
    /// Must be made in the runtime that walks.
    pub(super) fn new(config: Config, stores: TrustStores) -> Result<Self, ResolverError> {
        let listeners = config.listeners.iter().map(|listener| listener.bind);
        Ok(Self {
            own: listeners.chain([config.admin.bind]).collect(),
            resolver: Resolver::new(config.dns.clone())?,
            outgoing: Outgoing::default(),
            stores: Arc::new(stores),
            config,
        })
    }

    pub(super) async fn walk(&self, target: &Target) -> Walk {
        let Target {
            destination,
            host,
            port,
        } = target;
        let mut walk = Walk::to(&destination.name, host.as_str(), *port);
        // None only says that a hop failed, and the walk has it.
        let _ = self.hops(target, &mut walk).await;
        walk.skip_rest("not reached");
        walk
    }

    async fn hops(&self, target: &Target, walk: &mut Walk) -> Option<()> {
        let (permit, addresses) = walk.take(Hop::Name, self.resolve(target).await)?;
        let permitted = walk.take(Hop::Ranges, self.screen(target, &permit, &addresses))?;
        let dialled = walk.take(Hop::Tcp, self.connect(target, &permitted).await)?;
        if !permit.reads_client_hello() {
            walk.skip_rest("tls_only = false: what it speaks isn't known");
            return None;
        }
        // The registration lasts as long as the connection.
        let Dialled {
            stream,
            registered: _registered,
            ..
        } = dialled;
        let secured = self.stores.shake_hands(stream, target).await;
        let secured = walk.take(Hop::Tls, secured)?;
        let answered = walk.take(Hop::Http, answer::ask(secured, target).await)?;
        walk.take(Hop::Clock, Ok(((), answer::compare_clocks(&answered))))
    }

    async fn resolve(&self, target: &Target) -> Outcome<(Permit, Vec<IpAddr>)> {
        let authority = Authority {
            host: Host::Name(target.host.clone()),
            port: target.port,
        };
        // Decided as for a machine that is held to no destination; whom policy lets in is `explain`'s to say.
        let permit = self
            .config
            .policy
            .decide(&Client::unlisted(), &authority, Timestamp::now())
            .map_err(|denial| refused(&denial.refusal))?;
        let started = Instant::now();
        let (addresses, source) = if let Some(addresses) = permit.static_addresses() {
            (addresses.to_vec(), AddressSource::Static)
        } else {
            let resolved = self.resolver.resolve(&target.host).await;
            let resolution = resolved.map_err(|failure| self.unresolved(&failure, &target.host))?;
            (resolution.addresses, resolution.source)
        };
        let nat64 = self.config.policy.nat64_prefixes();
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
        let servers = list(self.resolver.servers(), |server| server.to_string());
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
        target: &Target,
        permit: &Permit,
        addresses: &[IpAddr],
    ) -> Outcome<PermittedAddrs> {
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
            &self.own,
            &self.config.self_addresses,
            &self.config.policy,
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

    async fn connect(&self, target: &Target, permitted: &PermittedAddrs) -> Outcome<Dialled> {
        let timeout = self.config.timeouts.connect;
        let started = Instant::now();
        match dial::dial(permitted, target.port, timeout, &self.outgoing).await {
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

/// What policy refuses before an address is looked at, or because it is the relay's own.
fn refused(refusal: &Refusal) -> Finding {
    Finding::fail(
        refusal.to_string(),
        "the configuration leads back to this relay, or contradicts itself",
        "compare the addresses with this machine's and with self_addresses; `explain` shows what decides",
    )
}

/// Enough of a list to see what it is: an answer may have thousands of addresses.
fn list<T: Copy>(items: &[T], show: impl Fn(T) -> String) -> String {
    let shown: Vec<_> = items
        .iter()
        .take(MAX_LISTED)
        .map(|&item| show(item))
        .collect();
    let more = items.len().saturating_sub(MAX_LISTED);
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

const MAX_LISTED: usize = 8;
