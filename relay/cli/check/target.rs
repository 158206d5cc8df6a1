//! Where to walk.

use std::sync::Arc;

use super::report::Walk;
use crate::authority::DnsName;
use crate::policy::{Destination, HostPattern, Policy};

/// An entry of the itinerary.
#[derive(Debug)]
pub(super) enum Stop {
    Target(Target),
    /// A destination with nowhere to walk to.
    Passed(Walk),
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) destination: Arc<Destination>,
    pub(super) host: DnsName,
    pub(super) port: u16,
}

/// The itinerary: every exact host of every destination, on each of its ports.
pub(super) fn stops(policy: &Policy) -> Vec<Stop> {
    policy.destinations().iter().flat_map(stops_of).collect()
}

fn stops_of(destination: &Arc<Destination>) -> Vec<Stop> {
    let exact = destination.hosts.iter().filter_map(|host| match host {
        HostPattern::Exact(name) => Some(name),
        HostPattern::Below(_) => None,
    });
    let mut stops: Vec<_> = exact
        .flat_map(|host| {
            destination
                .ports
                .iter()
                .map(move |&port| (host.clone(), port))
        })
        .map(|(host, port)| {
            Stop::Target(Target {
                destination: destination.clone(),
                host,
                port,
            })
        })
        .collect();
    if stops.is_empty() {
        let because = match (destination.hosts.is_empty(), &destination.ip_ranges) {
            (false, _) => "no exact host, only wildcards",
            (true, Some(_)) => "no host, only ip_ranges",
            (true, None) => "no host at all",
        };
        stops.push(Stop::Passed(Walk::passed(&destination.name, because)));
    }
    stops
}

impl Target {
    /// As a URL and the Host field have it: without the port that goes without saying (RFC 9110, 7.2).
    pub(super) fn authority(&self) -> String {
        match self.port {
            443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}
