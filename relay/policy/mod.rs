//! The policy: it decides which client may reach what.
//!
//! Every listener and `explain` ask the same pure functions: no I/O, no clock, no globals.
//! [`Policy::admit`] finds the client, [`Policy::decide`] finds the one destination that has the
//! target, and [`Permit::screen`] keeps the addresses that may be dialled for it.
//!
//! Nothing falls through to a wider rule: only the most specific destination decides, whether it
//! allows or refuses. Two equally specific ones are a mistake in the configuration.

mod address;
mod admission;
mod client;
mod decision;
mod destination;
mod index;
mod name;
mod permission;
mod rules;
mod screen;
mod special;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::Ipv6Net;

use self::index::{HostIndex, PrefixMap};
use crate::authority::{DnsName, Host};
use crate::proxy_error::{Reason, Refusal};

pub use self::client::{Client, ClientLimits, Role, Unlisted};
pub use self::destination::{Destination, HostPattern, Origin, Purpose, SniRule, UPLOAD_MIN_BYTES};
pub use self::name::{NamePattern, PatternError, Rate, VersionRange, ZertoVersion};
pub use self::rules::{Enforcement, RuleError, Rules, Subject};
pub use self::screen::{Denial, Permit, PermittedAddrs};
pub use self::special::{Access, AddressClass, SPECIAL_BLOCKS, SpecialBlock, classify};

/// The rules, checked and compiled. It never changes: a reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    destinations: Vec<Arc<Destination>>,
    clients: Vec<Arc<Client>>,
    unlisted: Unlisted,
    mode: Enforcement,
    nat64: Arc<[Ipv6Net]>,
    hosts: HostIndex,
    sources: PrefixMap,
    certificates: HashMap<DnsName, usize>,
    /// The client that represents every admitted machine outside the inventory.
    stranger: Arc<Client>,
}

impl Policy {
    pub fn destinations(&self) -> &[Arc<Destination>] {
        &self.destinations
    }

    pub fn clients(&self) -> &[Arc<Client>] {
        &self.clients
    }

    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }

    pub fn mode(&self) -> Enforcement {
        self.mode
    }

    /// Finds the destinations at which an upload of this client counts, and that it may reach.
    pub fn billing_destinations<'a>(
        &'a self,
        client: &'a Client,
    ) -> impl Iterator<Item = &'a Arc<Destination>> {
        self.destinations
            .iter()
            .filter(|it| it.counts_for(client) && client.may_reach(&it.name))
    }

    pub fn nat64_prefixes(&self) -> &[Ipv6Net] {
        &self.nat64
    }

    /// Gives the address that a connection to `address` reaches: the IPv4 address inside, where it
    /// is v4-mapped or behind NAT64.
    pub fn reached_by(&self, address: IpAddr) -> IpAddr {
        address::judged_as(address, &self.nat64)
    }

    /// Finds the destination that a host belongs to, whichever client asks for it.
    pub fn destination_of(&self, host: &Host) -> Option<&Arc<Destination>> {
        let place = self.hosts.find(host, &self.nat64)?;
        self.destinations.get(place)
    }

    /// Finds the client that a source address belongs to. A client outside the inventory has no
    /// name.
    ///
    /// # Errors
    ///
    /// `ClientNotAllowed`.
    pub fn admit(&self, source: IpAddr) -> Result<Arc<Client>, Refusal> {
        self.admit_with(source, None)
    }

    /// Finds the client where the listener may ask for a certificate.
    ///
    /// With a certificate, its names alone decide which client it is, and the address decides
    /// whether that client may come from there. The caller must have verified the certificate's
    /// issuer.
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

    /// Finds the listed client that a caller would be by the names in its certificate, or else by
    /// its address. It need not be admitted as that client.
    pub fn claimed(&self, source: IpAddr, names: &[DnsName]) -> Option<Claimed<'_>> {
        let by_certificate = self.of_certificate(names);
        let client = match by_certificate.as_slice() {
            [client] => client,
            _ => self.of_address(source.to_canonical())?,
        };
        Some(Claimed {
            name: client.name.as_ref()?,
            by_certificate: by_certificate.len() == 1,
        })
    }
}

/// The name of the client that a caller would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed<'a> {
    pub name: &'a Arc<str>,
    /// Whether its certificate says so, and not its address.
    pub by_certificate: bool,
}

/// Joins the items by commas, for a message.
fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}
