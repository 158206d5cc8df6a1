//! Screening: it keeps the addresses that may be dialled, and checks the server name that the
//! client asks for.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::Ipv6Net;

use super::address;
use super::destination::{Destination, SniRule};
use super::permission::{Permission, permission};
use super::special::{AddressClass, class_of};
use crate::authority::{Host, ServerName};
use crate::proxy_error::{Reason, Refusal};

/// The permission to go on with a target. It owns what it needs, so a request keeps to the policy
/// that decided it.
#[derive(Clone, Debug)]
#[must_use = "a permit is worth nothing until its addresses are screened"]
pub struct Permit {
    pub(super) target: Host,
    /// None only where report-only lets a name on no list through.
    pub(super) destination: Option<Arc<Destination>>,
    pub(super) report_only: bool,
    pub(super) nat64: Arc<[Ipv6Net]>,
}

/// The addresses that policy lets the relay dial: at least one, without duplicates, in the
/// resolver's order. Only screening makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "these are the only addresses that may be dialled"]
pub struct PermittedAddrs {
    addresses: Vec<IpAddr>,
    enforced: bool,
}

/// A refusal, and the destination that decided, where one did.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Denial {
    pub refusal: Refusal,
    pub destination: Option<Arc<Destination>>,
}

impl Permit {
    /// Gives the destination that decided. None only in report-only, for a name on no list.
    pub fn destination(&self) -> Option<&Arc<Destination>> {
        self.destination.as_ref()
    }

    /// Tells whether `enforce` would allow it too. False: only report-only lets it through.
    pub fn enforced(&self) -> bool {
        self.destination.is_some()
    }

    /// Gives the addresses to use instead of asking DNS. A literal has none, because it is an
    /// address itself.
    pub fn static_addresses(&self) -> Option<&[IpAddr]> {
        match self.target {
            Host::Name(_) => self.destination.as_ref()?.addresses.as_deref(),
            Host::Literal(_) => None,
        }
    }

    /// Keeps those addresses that may be dialled, of a name's addresses or of the one literal.
    ///
    /// In report-only, globally reachable addresses outside `ip_ranges` are kept only where no
    /// other is left. So the record says "not enforced" exactly where `enforce` would refuse.
    ///
    /// # Errors
    ///
    /// `AddressNotAllowed` when none is left. The detail has each address with its class.
    pub fn screen(&self, addresses: &[IpAddr]) -> Result<PermittedAddrs, Denial> {
        let mut permitted = Vec::with_capacity(addresses.len());
        let mut outside = Vec::new();
        for &address in addresses {
            let kept = match self.judge(address).1 {
                Permission::Permitted => &mut permitted,
                Permission::OutsideRanges if self.report_only => &mut outside,
                Permission::OutsideRanges | Permission::Refused => continue,
            };
            // One address may come twice, as IPv4 and v4-mapped.
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

    /// Tells whether a `ClientHello` is read first. False only where the destination is
    /// `tls_only = false`.
    pub fn reads_client_hello(&self) -> bool {
        self.destination.as_ref().is_none_or(|it| it.tls_only)
    }

    /// Checks that the `ClientHello` asks for the server that was permitted (RFC 6066, 3).
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

    /// Tells whether the client must name a server. It needn't for a literal, unless the
    /// destination has names.
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

    fn judge(&self, address: IpAddr) -> (AddressClass, Permission) {
        let judged = address::judged_as(address, &self.nat64);
        let class = class_of(judged.into());
        let ranges = self
            .destination
            .as_ref()
            .and_then(|it| it.ip_ranges.as_deref());
        (class, permission(judged, class, ranges))
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
            let (class, permission) = self.judge(*address);
            let separator = if at == 0 { "" } else { ", " };
            let outside = match permission {
                Permission::OutsideRanges => ", outside ip_ranges",
                Permission::Permitted | Permission::Refused => "",
            };
            // Writing to a `String` can't fail.
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

    /// Tells whether `enforce` would allow it too. False where it would refuse the name or every
    /// address.
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Leaves out the addresses that `unwanted` picks. Gives None when no other is left.
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

/// The most addresses that a refusal lists. Otherwise a hostile answer could make the record as
/// long as itself.
const MAX_LISTED: usize = 16;
