//! Who may reach what. One pure function for every listener and for `explain`: no I/O, no clock, no globals.
//!
//! [`Policy::admit`] finds the client, [`Policy::decide`] the one destination that has the target, and [`Permit::screen`] the
//! addresses that may be dialled for it. Nothing falls through to a wider rule: the most specific destination decides, for
//! better or worse, and two equally specific ones are a mistake in the configuration.

mod address;
mod client;
mod destination;
mod index;
mod name;
mod screen;
mod special;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::Ipv6Net;
use jiff::Timestamp;

use self::index::{HostIndex, PrefixMap};
use crate::authority::{Authority, DnsName, Host};
use crate::proxy_error::{Reason, Refusal};

pub use self::client::{Client, ClientLimits, Role, Unlisted};
pub use self::destination::{Destination, HostPattern, Origin, Purpose, SniRule};
pub use self::name::{NamePattern, PatternError, Rate, VersionRange, ZertoVersion};
pub use self::screen::{Denial, Permit, PermittedAddrs};
pub use self::special::{Access, AddressClass, SPECIAL_BLOCKS, SpecialBlock, classify};

/// What the configuration says, not yet checked.
#[derive(Clone, Debug)]
pub struct Rules {
    pub destinations: Vec<Destination>,
    pub clients: Vec<Client>,
    pub unlisted: Unlisted,
    pub mode: Mode,
    /// Beside `64:ff9b::/96`; each /32, /40, /48, /56, /64 or /96 (RFC 6052, 2.2).
    pub nat64_prefixes: Vec<Ipv6Net>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// Before `until`, names on no list and globally reachable addresses outside `ip_ranges` pass, marked as not enforced.
    ReportOnly {
        until: Timestamp,
    },
}

/// Checked, compiled and immutable. A reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    destinations: Vec<Arc<Destination>>,
    clients: Vec<Arc<Client>>,
    unlisted: Unlisted,
    mode: Mode,
    nat64: Arc<[Ipv6Net]>,
    hosts: HostIndex,
    sources: PrefixMap,
    certificates: HashMap<DnsName, usize>,
    /// What every admitted machine outside the inventory shares.
    stranger: Arc<Client>,
}

/// A mistake in the rules; the message says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    pub subject: Subject,
    pub message: String,
}

/// What a mistake is about: an entry by its place in the list, or the whole.
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
    /// The first mistake: in an entry by itself, or a tie between two.
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

    pub fn destinations(&self) -> &[Arc<Destination>] {
        &self.destinations
    }

    pub fn clients(&self) -> &[Arc<Client>] {
        &self.clients
    }

    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn nat64_prefixes(&self) -> &[Ipv6Net] {
        &self.nat64
    }

    /// The address that a connection to `address` ends at: the IPv4 one inside, where it is v4-mapped or behind NAT64.
    pub fn reached_by(&self, address: IpAddr) -> IpAddr {
        address::judged_as(address, &self.nat64)
    }

    /// The client that a source address belongs to. One outside the inventory has no name.
    ///
    /// # Errors
    ///
    /// `ClientNotAllowed`.
    pub fn admit(&self, source: IpAddr) -> Result<Arc<Client>, Refusal> {
        self.admit_with(source, None)
    }

    /// The same where a listener may ask for a certificate: then its names decide alone who it is, and the address whether that
    /// client may be there. The names are of a certificate whose issuer has been checked.
    ///
    /// # Errors
    ///
    /// `ClientNotAllowed`.
    pub fn admit_with(
        &self,
        source: IpAddr,
        certificate: Option<&[DnsName]>,
    ) -> Result<Arc<Client>, Refusal> {
        let source = source.to_canonical();
        match certificate {
            Some(names) => self.admit_by_certificate(source, names),
            None => self.admit_by_address(source),
        }
        .map_err(|detail| Refusal::new(Reason::ClientNotAllowed, detail))
    }

    fn admit_by_certificate(
        &self,
        source: IpAddr,
        names: &[DnsName],
    ) -> Result<Arc<Client>, String> {
        let mut places: Vec<usize> = names
            .iter()
            .filter_map(|name| self.certificates.get(name).copied())
            .collect();
        places.sort_unstable();
        places.dedup();
        let clients: Vec<_> = places
            .iter()
            .filter_map(|at| self.clients.get(*at))
            .collect();
        match clients.as_slice() {
            [client] if client.comes_from(source) => Ok(Arc::clone(client)),
            [client] => Err(format!(
                "the certificate is that of client {}, which has no source {source}",
                client.title()
            )),
            [] if names.is_empty() => Err("the certificate has no host name".into()),
            [] => {
                let told = &names[..names.len().min(MAX_TOLD)];
                Err(format!("no client has the certificate name {}", list(told)))
            }
            [one, other, ..] => Err(format!(
                "the certificate is that of several clients: {} and {}",
                one.title(),
                other.title()
            )),
        }
    }

    fn admit_by_address(&self, source: IpAddr) -> Result<Arc<Client>, String> {
        let listed = self
            .sources
            .find(source)
            .and_then(|at| self.clients.get(at));
        match listed {
            // Nor is it any other: it may be that client's machine in the hands of somebody else.
            Some(client) if !client.certificate_names.is_empty() => Err(format!(
                "{source} is a source of client {}, which is known by its certificate, and this listener asks for none",
                client.title()
            )),
            Some(client) => Ok(Arc::clone(client)),
            None if self.unlisted.admits(source) => Ok(Arc::clone(&self.stranger)),
            None => Err(match self.unlisted {
                Unlisted::Private => format!("no client lists {source}, and it isn't private"),
                Unlisted::Deny | Unlisted::Any => format!("no client lists {source}"),
            }),
        }
    }

    /// Whether a client may go to a target, as far as its text tells; the addresses are screened next.
    ///
    /// In report-only a name on no list passes, on the ports that the lists have, for clients that aren't held to certain
    /// destinations; `now` tells whether report-only is still on.
    ///
    /// # Errors
    ///
    /// `DestinationNotAllowed` or `PortNotAllowed`; the detail says which rule in words.
    pub fn decide(
        &self,
        client: &Client,
        target: &Authority,
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let report_only = match self.mode {
            Mode::Enforce => false,
            Mode::ReportOnly { until } => now < until,
        };
        let place = self.hosts.find(&target.host, &self.nat64);
        let destination = place.and_then(|at| self.destinations.get(at));
        match destination {
            Some(destination) => check_listed(client, target, destination)?,
            None => self.check_unlisted(client, target, report_only)?,
        }
        Ok(Permit {
            target: target.host.clone(),
            destination: destination.cloned(),
            report_only,
            nat64: Arc::clone(&self.nat64),
        })
    }

    fn check_unlisted(
        &self,
        client: &Client,
        target: &Authority,
        report_only: bool,
    ) -> Result<(), Denial> {
        let deny = |reason, detail| {
            Err(Denial {
                refusal: Refusal::new(reason, detail),
                destination: None,
            })
        };
        let host = &target.host;
        match host {
            Host::Literal(_) => {
                let detail = format!("{host} is in the ip_ranges of no destination");
                return deny(Reason::DestinationNotAllowed, detail);
            }
            Host::Name(_) if !report_only => {
                let detail = format!("{host} is a host of no destination");
                return deny(Reason::DestinationNotAllowed, detail);
            }
            Host::Name(_) => {}
        }
        let listed = |it: &Arc<Destination>| it.ports.contains(&target.port);
        if !self.destinations.iter().any(listed) {
            let detail = format!("port {} is a port of no destination", target.port);
            return deny(Reason::PortNotAllowed, detail);
        }
        if client.destinations.is_some() {
            let detail = format!(
                "{host} is a host of no destination, and client {} is held to certain ones",
                client.title()
            );
            return deny(Reason::DestinationNotAllowed, detail);
        }
        Ok(())
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

/// Port, then client, against the one destination that has the host.
fn check_listed(
    client: &Client,
    target: &Authority,
    destination: &Arc<Destination>,
) -> Result<(), Denial> {
    let name = &destination.name;
    let (reason, detail) = if !destination.ports.contains(&target.port) {
        let ports = list(&destination.ports);
        let detail = format!(
            "destination {name} has no port {}, only {ports}",
            target.port
        );
        (Reason::PortNotAllowed, detail)
    } else if !client.may_reach(name) {
        let detail = match client.destinations.as_deref() {
            None | Some([]) => format!("client {} may reach no destination", client.title()),
            Some(only) => format!(
                "client {} may reach {} only, not {name}",
                client.title(),
                list(only)
            ),
        };
        (Reason::DestinationNotAllowed, detail)
    } else {
        return Ok(());
    };
    Err(Denial {
        refusal: Refusal::new(reason, detail),
        destination: Some(Arc::clone(destination)),
    })
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

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

/// How many names of a certificate a message repeats.
const MAX_TOLD: usize = 4;
