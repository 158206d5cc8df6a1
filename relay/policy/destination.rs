//! Destinations: where a client may go, and which hosts belong to a destination.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};

use super::address;
use super::client::Client;
use super::name::{PatternError, VersionRange};
use super::permission::{Permission, permission};
use super::special::{Access, AddressClass, SPECIAL_BLOCKS, SpecialBlock, class_of, overlap};
use crate::authority::DnsName;

/// One entry of the allowlist: its names, its ports, and the addresses that are allowed for them.
#[derive(Clone, Debug)]
pub struct Destination {
    pub name: Arc<str>,
    pub hosts: Vec<HostPattern>,
    pub ports: Vec<u16>,
    /// Resolved addresses must be inside, and literals inside are allowed. None allows any globally
    /// reachable address.
    pub ip_ranges: Option<Vec<IpNet>>,
    /// The addresses that are used instead of asking DNS.
    pub addresses: Option<Vec<IpAddr>>,
    pub purpose: Purpose,
    /// The versions of Zerto for which an upload to it counts. None means all.
    pub versions: Option<VersionRange>,
    /// What a tunnel must carry up after the `ClientHello` to count as an upload.
    pub upload_min_bytes: u64,
    pub sni: SniRule,
    /// A `ClientHello` without a server name is allowed where the target is a literal.
    pub literals_without_sni: bool,
    /// False for a destination whose client doesn't begin with TLS. Then no `ClientHello` is read.
    pub tls_only: bool,
    pub origin: Origin,
}

/// The host names that a destination has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(DnsName),
    /// `*.example.com`: names that have one or more whole labels before `example.com`, not that
    /// name itself.
    Below(DnsName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An upload to it proves that the client works.
    Billing,
    Other,
}

/// How the server name of the `ClientHello` must agree with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SniRule {
    Match,
    IfPresent,
    Any,
}

/// Where the entry comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The vendor's list. `source` tells where it was read, and `confirmed` whether it was
    /// observed.
    Preset {
        confirmed: bool,
        source: Box<str>,
    },
    Site,
}

impl Destination {
    /// Tells whether an upload of this client to it proves that the client works.
    ///
    /// A client of unknown version counts at every billing destination. Otherwise one that uploads
    /// well would look silent.
    pub fn counts_for(&self, client: &Client) -> bool {
        let is_for = |version| self.versions.is_none_or(|range| range.contains(version));
        self.purpose == Purpose::Billing && client.version.is_none_or(is_for)
    }

    /// Finds the pattern that matches this name: an exact one first, and then the longest wildcard.
    pub fn host_for(&self, name: &DnsName) -> Option<&HostPattern> {
        self.hosts
            .iter()
            .filter(|pattern| pattern.matches(name))
            .max_by_key(|pattern| match pattern {
                HostPattern::Exact(_) => usize::MAX,
                HostPattern::Below(parent) => parent.as_str().len(),
            })
    }

    /// Finds a mistake in this destination alone. The message says how to mend it.
    pub(super) fn check(&self, nat64: &[Ipv6Net]) -> Result<(), String> {
        if self.ports.is_empty() {
            return Err(
                "`ports` is empty, so nothing can match: list a port, 443 as a rule".into(),
            );
        }
        if self.ports.contains(&0) {
            return Err("0 is no port: use 1 to 65535".into());
        }
        if self.ip_ranges.as_ref().is_some_and(Vec::is_empty) {
            return Err("`ip_ranges` is empty: remove the key to allow every \
                        globally reachable address, or list the ranges"
                .into());
        }
        if self.addresses.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "`addresses` is empty: remove the key to ask DNS, or list the addresses".into(),
            );
        }
        if !self.tls_only && self.sni != SniRule::Any {
            return Err(
                "without `tls_only` no ClientHello is read, so no server name \
                        can be checked: add sni = \"any\""
                    .into(),
            );
        }
        for range in self.ip_ranges.iter().flatten() {
            check_range(*range, nat64)?;
        }
        for address in self.addresses.iter().flatten() {
            self.check_static(*address, nat64)?;
        }
        Ok(())
    }

    /// Checks one of the static `addresses`. Screening would refuse a wrong one at every request,
    /// so it is refused once, when the file is read.
    fn check_static(&self, address: IpAddr, nat64: &[Ipv6Net]) -> Result<(), String> {
        let judged = address::judged_as(address, nat64);
        let class = class_of(judged.into());
        if permission(judged, class, self.ip_ranges.as_deref()) == Permission::Permitted {
            return Ok(());
        }
        Err(
            match (class.access(), SpecialBlock::around(judged.into())) {
                (Access::Open, _) => format!(
                    "the address {address} is in none of the `ip_ranges`: add its range, or remove it"
                ),
                (Access::ByRange, Some(row)) => format!(
                    "the address {address} is {class}: to allow it, add a range \
                 to `ip_ranges` that lies inside {row}"
                ),
                _ => {
                    format!("the address {address} is {class} and can never be dialled: remove it")
                }
            },
        )
    }
}

impl HostPattern {
    pub fn matches(&self, name: &DnsName) -> bool {
        match self {
            Self::Exact(host) => host == name,
            Self::Below(parent) => name.is_below(parent),
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix('*') else {
            return Ok(Self::Exact(text.parse()?));
        };
        let parent = rest.strip_prefix('.').ok_or(PatternError::Wildcard)?;
        if parent.contains('*') {
            return Err(PatternError::Wildcard);
        }
        let parent: DnsName = parent.parse()?;
        // A wildcard over a whole top-level domain is no allowlist any more.
        if !parent.as_str().contains('.') {
            return Err(PatternError::Wildcard);
        }
        Ok(Self::Below(parent))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl Origin {
    pub(super) fn is_preset(&self) -> bool {
        matches!(self, Self::Preset { .. })
    }
}

/// Refuses a range in which no address can ever be permitted.
fn check_range(range: IpNet, nat64: &[Ipv6Net]) -> Result<(), String> {
    let class = class_of(range);
    let translated = match range {
        IpNet::V6(range) => nat64.iter().any(|prefix| prefix.contains(&range)),
        IpNet::V4(_) => false,
    };
    if translated || matches!(class, AddressClass::Ipv4Mapped | AddressClass::Translation) {
        return Err(format!(
            "addresses in {range} are judged as the IPv4 address inside: write the IPv4 range"
        ));
    }
    match (class.access(), SpecialBlock::around(range)) {
        (Access::Never, Some(row)) => Err(format!(
            "the range {range} is in {row}, which can never be allowed: remove it"
        )),
        (Access::Never, None) => Err(format!(
            "the range {range} is outside 2000::/3 and wider than any special-purpose block, \
             so it allows nothing: remove it, or write a narrower one"
        )),
        _ => Ok(()),
    }
}

/// Refuses a NAT64 prefix whose length RFC 6052 doesn't have, or that overlaps what is never
/// allowed.
pub(super) fn check_nat64_prefix(prefix: Ipv6Net) -> Result<(), String> {
    if !address::is_nat64_length(prefix) {
        return Err(format!(
            "the NAT64 prefix {prefix} has a length that RFC 6052 doesn't know: \
             use /32, /40, /48, /56, /64 or /96"
        ));
    }
    let forbidden = SPECIAL_BLOCKS.iter().find(|row| {
        row.class.access() == Access::Never
            && row.class != AddressClass::Translation
            && matches!(row.block, IpNet::V6(block) if overlap(block, prefix))
    });
    match forbidden {
        Some(row) => Err(format!(
            "the NAT64 prefix {prefix} overlaps {row}: no translator uses it"
        )),
        None => Ok(()),
    }
}

/// What an upload has at least, where the configuration doesn't say: more than the end of a
/// handshake and an empty request.
pub const UPLOAD_MIN_BYTES: u64 = 1024;
