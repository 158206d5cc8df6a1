//! Warns the operator of a network or a client that was set up wrong, as seen by the sessions.
//! Nothing is refused here.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::hourly::Hourly;
use super::inside;
use crate::authority::Host;
use crate::policy::{Client, Policy};

/// The warnings, and what has been said of them already.
#[derive(Debug)]
pub(in crate::server) struct Warnings {
    /// The default gateways. Clients behind source NAT have the address of one.
    gateways: Vec<IpAddr>,
    nat_reported: AtomicBool,
    without_bypass: Hourly,
    looping: Hourly,
}

impl Warnings {
    pub(in crate::server) fn new(gateways: Vec<IpAddr>) -> Self {
        Self {
            gateways,
            nat_reported: AtomicBool::new(false),
            without_bypass: Hourly::default(),
            looping: Hourly::default(),
        }
    }

    /// Says once that clients seem to be behind source NAT, because then their addresses no longer
    /// tell them apart.
    pub(in crate::server) fn look_for_nat(&self, source: IpAddr) {
        if self.gateways.contains(&source) && !self.nat_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %source,
                "a client has the default gateway's address: behind source NAT all clients are one, and `unlisted = \"private\"` \
                 means nothing"
            );
        }
    }

    /// Says once an hour of a client that it asks for a host of the inside, and what is likely
    /// wrong with its proxy settings.
    ///
    /// Call it only for a target that no destination has.
    pub(in crate::server) fn look_for_bypass(
        &self,
        source: IpAddr,
        client: &Client,
        asked: &Host,
        policy: &Policy,
    ) {
        if inside::is_inside(asked, policy.nat64_prefixes())
            && self.without_bypass.is_due(source, Instant::now())
        {
            let name = client.name.as_deref();
            tracing::warn!(
                %source,
                name,
                %asked,
                "a client asks the relay for a host of the inside: its bypass list is missing, or its proxy should be the relay's \
                 proxy.pac (`callhome-relay zvm setup`)"
            );
        }
    }

    /// Says once an hour for each source that the relay has reached itself on a way that it
    /// couldn't foresee.
    pub(in crate::server) fn report_loop(&self, source: IpAddr, asked: &Host) {
        if self.looping.is_due(source, Instant::now()) {
            tracing::warn!(
                %source,
                %asked,
                "the relay has reached itself: a translator (NAT) on the way, or a name server's answer for this host, leads back \
                 to it; give the relay a name server that has the host's own addresses (`dns.servers`), and list every address \
                 that leads to the relay (`policy.self_addresses`)"
            );
        }
    }
}
