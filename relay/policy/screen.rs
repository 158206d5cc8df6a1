//! What a decision permits: the addresses that may be dialled, and the server names that may be asked for.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::Ipv6Net;

use super::address;
use super::destination::{Destination, SniRule};
use super::special::{AddressClass, class_of};
use super::standing::{Standing, standing};
use crate::authority::{Host, ServerName};
use crate::proxy_error::{Reason, Refusal};

/// Leave to go on with a target. It owns what it needs, so a request keeps to the policy that it was decided under.
#[derive(Clone, Debug)]
#[must_use = "a permit is worth nothing until its addresses are screened"]
pub struct Permit {
    pub(super) target: Host,
    /// None only where report-only lets a name on no list through.
    pub(super) destination: Option<Arc<Destination>>,
    pub(super) report_only: bool,
    pub(super) nat64: Arc<[Ipv6Net]>,
}

/// Addresses that policy lets the relay dial: never empty, no duplicates, in the resolver's order. Only screening makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "these are the only addresses that may be dialled"]
pub struct PermittedAddrs {
    addresses: Vec<IpAddr>,
    enforced: bool,
}

/// A refusal, and the destination that decided, when one did.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Denial {
    pub refusal: Refusal,
    pub destination: Option<Arc<Destination>>,
}

impl Permit {
    /// The destination that decided. None only in report-only, for a name on no list.
    pub fn destination(&self) -> Option<&Arc<Destination>> {
        self.destination.as_ref()
    }

    /// False: `enforce` would have refused, report-only lets it through.
    pub fn enforced(&self) -> bool {
        self.destination.is_some()
    }

    /// The answer instead of DNS. A literal has none: it is its own.
    pub fn static_addresses(&self) -> Option<&[IpAddr]> {
        match self.target {
            Host::Name(_) => self.destination.as_ref()?.addresses.as_deref(),
            Host::Literal(_) => None,
        }
    }

    /// Keeps of a name's addresses, or of the one literal, those that may be dialled.
    ///
    /// In report-only, globally reachable addresses outside `ip_ranges` are kept only where no other is left: so what is marked
    /// as not enforced is exactly what `enforce` would break.
    ///
    /// # Errors
    ///
    /// `AddressNotAllowed` when none is left; the detail has each with its class.
    pub fn screen(&self, addresses: &[IpAddr]) -> Result<PermittedAddrs, Denial> {
        let mut permitted = Vec::with_capacity(addresses.len());
        let mut outside = Vec::new();
        for &address in addresses {
            let kept = match self.stand(address).1 {
                Standing::Permitted => &mut permitted,
                Standing::OutsideRanges if self.report_only => &mut outside,
                Standing::OutsideRanges | Standing::Refused => continue,
            };
            let dialled = address::dialled_as(address);
            if !kept.contains(&dialled) {
                kept.push(dialled);
            }
        }
        let enforced = self.enforced() && !permitted.is_empty();
        let addresses_left = if permitted.is_empty() {
            outside
        } else {
            permitted
        };
        if addresses_left.is_empty() {
            return Err(self.deny(self.explain_refused(addresses)));
        }
        Ok(PermittedAddrs {
            addresses: addresses_left,
            enforced,
        })
    }

    /// False only where the destination is `tls_only = false`.
    pub fn reads_client_hello(&self) -> bool {
        self.destination.as_ref().is_none_or(|it| it.tls_only)
    }

    /// Whether the ClientHello asks for the server that was permitted (RFC 6066, 3).
    ///
    /// # Errors
    ///
    /// `SniMismatch` or `SniMissing`.
    pub fn check_server_name(&self, name: &ServerName) -> Result<(), Reason> {
        let rule = self
            .destination
            .as_ref()
            .map_or(SniRule::Match, |it| it.sni);
        match name {
            _ if rule == SniRule::Any => Ok(()),
            ServerName::Absent if rule == SniRule::IfPresent || !self.needs_server_name() => Ok(()),
            ServerName::Absent => Err(Reason::SniMissing),
            ServerName::Host(host) if self.answers_to(host) => Ok(()),
            ServerName::Host(_) | ServerName::Invalid => Err(Reason::SniMismatch),
        }
    }

    /// A literal has no name to ask for, unless its destination has names.
    fn needs_server_name(&self) -> bool {
        match (&self.target, &self.destination) {
            (Host::Literal(_), Some(it)) => !it.hosts.is_empty() && !it.literals_without_sni,
            _ => true,
        }
    }

    fn answers_to(&self, asked: &Host) -> bool {
        match (&self.target, asked) {
            (Host::Name(target), Host::Name(asked)) => target == asked,
            (Host::Literal(target), Host::Literal(asked)) => {
                target.to_canonical() == asked.to_canonical()
            }
            (Host::Literal(_), Host::Name(asked)) => self
                .destination
                .as_ref()
                .is_some_and(|it| it.host_for(asked).is_some()),
            (Host::Name(_), Host::Literal(_)) => false,
        }
    }

    fn stand(&self, address: IpAddr) -> (AddressClass, Standing) {
        let judged = address::judged_as(address, &self.nat64);
        let class = class_of(judged.into());
        let ranges = self
            .destination
            .as_ref()
            .and_then(|it| it.ip_ranges.as_deref());
        (class, standing(judged, class, ranges))
    }

    fn deny(&self, detail: String) -> Denial {
        Denial {
            refusal: Refusal::new(Reason::AddressNotAllowed, detail),
            destination: self.destination.clone(),
        }
    }

    fn explain_refused(&self, addresses: &[IpAddr]) -> String {
        if addresses.is_empty() {
            return format!("{} has no address", self.target);
        }
        let mut text = String::from("no address may be dialled: ");
        for (at, address) in addresses.iter().take(MAX_LISTED).enumerate() {
            let (class, standing) = self.stand(*address);
            let separator = if at == 0 { "" } else { ", " };
            let outside = match standing {
                Standing::OutsideRanges => ", outside ip_ranges",
                Standing::Permitted | Standing::Refused => "",
            };
            // Writing to a String can't fail.
            let _ = write!(text, "{separator}{address} ({class}{outside})");
        }
        if let Some(more @ 1..) = addresses.len().checked_sub(MAX_LISTED) {
            let _ = write!(text, " and {more} more");
        }
        text
    }
}

impl PermittedAddrs {
    #[cfg(test)]
    pub(crate) fn for_tests(addresses: &[IpAddr]) -> Self {
        Self {
            addresses: addresses.to_vec(),
            enforced: true,
        }
    }

    pub fn as_slice(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// False: `enforce` would have refused, be it the name or every address.
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Leaves out the addresses that `unwanted` picks; None when no other is left.
    pub fn excluding(mut self, unwanted: impl Fn(IpAddr) -> bool) -> Option<Self> {
        self.addresses.retain(|address| !unwanted(*address));
        (!self.addresses.is_empty()).then_some(self)
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        denial.refusal
    }
}

/// A hostile answer shall not make the record as long as itself.
const MAX_LISTED: usize = 16;
