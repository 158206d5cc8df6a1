//! The rules as the configuration gives them, checked and compiled into a [`Policy`].

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use ipnet::Ipv6Net;
use jiff::Timestamp;

use super::client::{Client, Unlisted};
use super::destination::{self, Destination, Origin};
use super::index::{HostIndex, PrefixMap};
use super::{Policy, list};
use crate::authority::DnsName;

/// The rules as the configuration has them, not yet checked.
#[derive(Clone, Debug)]
pub struct Rules {
    pub destinations: Vec<Destination>,
    pub clients: Vec<Client>,
    pub unlisted: Unlisted,
    pub mode: Enforcement,
    /// NAT64 prefixes beside `64:ff9b::/96`; each /32, /40, /48, /56, /64 or /96 (RFC 6052, 2.2).
    pub nat64_prefixes: Vec<Ipv6Net>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    Enforce,
    /// Before `until`, names on no list and globally reachable addresses outside `ip_ranges` pass.
    /// They are marked as not enforced.
    ReportOnly {
        until: Timestamp,
    },
}

/// A mistake in the rules. The message says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    pub subject: Subject,
    pub message: String,
}

/// What a mistake is about: an entry, by its place in the list, or the rules as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Destination(usize),
    Client(usize),
    Policy,
}

impl Policy {
    /// Checks the rules and compiles them.
    ///
    /// # Errors
    ///
    /// The first mistake, either in one entry or a tie between two.
    pub fn new(rules: Rules) -> Result<Self, RuleError> {
        for prefix in &rules.nat64_prefixes {
            destination::check_nat64_prefix(*prefix).map_err(|m| Subject::Policy.error(m))?;
        }
        Ok(Self {
            hosts: index_hosts(&rules)?,
            sources: index_sources(&rules)?,
            certificates: index_certificates(&rules)?,
            destinations: rules.destinations.into_iter().map(Arc::new).collect(),
            clients: rules.clients.into_iter().map(Arc::new).collect(),
            unlisted: rules.unlisted,
            mode: rules.mode,
            nat64: rules.nat64_prefixes.into(),
            stranger: Arc::new(Client::unlisted()),
        })
    }
}

impl Subject {
    fn error(self, message: String) -> RuleError {
        RuleError {
            subject: self,
            message,
        }
    }
}

fn index_hosts(rules: &Rules) -> Result<HostIndex, RuleError> {
    let mut index = HostIndex::default();
    let mut names = HashMap::new();
    for (place, destination) in rules.destinations.iter().enumerate() {
        let subject = Subject::Destination(place);
        if names.insert(&destination.name, place).is_some() {
            let message = format!(
                "there are two destinations {:?}: rename one",
                destination.name
            );
            return Err(subject.error(message));
        }
        destination
            .check(&rules.nat64_prefixes)
            .map_err(|message| subject.error(message))?;
        let tie = |what: &dyn Display, other: usize| {
            let other = rules.destinations.get(other);
            // Only an entry of the vendor's list can be replaced under its name.
            let either = [Some(destination), other].into_iter().flatten();
            let replace = if either.map(|it| &it.origin).any(Origin::is_preset) {
                ", or give both the same name to replace the preset's"
            } else {
                ""
            };
            subject.error(format!(
                "{what} is also in destination {:?}, and only one can decide: \
                 remove it from one of the two{replace}",
                other.map(|it| &*it.name).unwrap_or_default()
            ))
        };
        for host in &destination.hosts {
            index
                .add_host(host, place)
                .map_err(|other| tie(host, other))?;
        }
        for range in destination.ip_ranges.iter().flatten() {
            index
                .add_range(*range, place)
                .map_err(|other| tie(range, other))?;
        }
    }
    Ok(index)
}

fn index_sources(rules: &Rules) -> Result<PrefixMap, RuleError> {
    let mut sources = PrefixMap::default();
    let mut names = HashMap::new();
    for (place, client) in rules.clients.iter().enumerate() {
        let subject = Subject::Client(place);
        client.check().map_err(|message| subject.error(message))?;
        if names.insert(&client.name, place).is_some() {
            let message = format!("there are two clients {:?}: rename one", client.title());
            return Err(subject.error(message));
        }
        for source in &client.sources {
            sources.add(*source, place).map_err(|other| {
                let other = rules.clients.get(other).map(Client::title);
                subject.error(format!(
                    "{source} is also a source of client {:?}, and only one can have it: \
                     remove it from one of the two, or make one narrower",
                    other.unwrap_or_default()
                ))
            })?;
        }
        let idle = client.destinations.iter().flatten().find(|pattern| {
            let mut names = rules.destinations.iter().map(|it| &it.name);
            !names.any(|name| pattern.matches(name))
        });
        if let Some(pattern) = idle {
            let known: Vec<_> = rules.destinations.iter().map(|it| &it.name).collect();
            let message = format!(
                "{:?} is the name of no destination: there are {}",
                pattern.to_string(),
                list(&known)
            );
            return Err(subject.error(message));
        }
    }
    Ok(sources)
}

fn index_certificates(rules: &Rules) -> Result<HashMap<DnsName, usize>, RuleError> {
    let mut certificates = HashMap::new();
    for (place, client) in rules.clients.iter().enumerate() {
        for name in &client.certificate_names {
            let owner = *certificates.entry(name.clone()).or_insert(place);
            if owner != place {
                let other = rules.clients.get(owner).map(Client::title);
                return Err(Subject::Client(place).error(format!(
                    "{name} is also a certificate name of client {:?}, and only one can have it: remove it from one of the two",
                    other.unwrap_or_default()
                )));
            }
        }
    }
    Ok(certificates)
}
