//! Plans where to walk: the exact hosts of the policy's destinations.

use std::sync::Arc;

use crate::authority::DnsName;
use crate::policy::{Destination, HostPattern, Policy};

/// Names a place to walk to, or a destination that has none.
#[derive(Debug)]
pub(super) enum Stop {
    Target(ProbeTarget),
    /// The destination has no host to walk to.
    NotWalked {
        name: Arc<str>,
        because: &'static str,
    },
}

/// Names one host of a destination, on one of its ports.
#[derive(Debug)]
pub(super) struct ProbeTarget {
    pub(super) destination: Arc<Destination>,
    pub(super) host: DnsName,
    pub(super) port: u16,
}

/// Lists every exact host of every destination, on each of its ports.
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
            Stop::Target(ProbeTarget {
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
        stops.push(Stop::NotWalked {
            name: destination.name.clone(),
            because,
        });
    }
    stops
}

impl ProbeTarget {
    /// Gives the host and port in the form of a URL and of the Host field, which leave out the
    /// default port (RFC 9110, 7.2).
    pub(super) fn authority(&self) -> String {
        match self.port {
            443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}
