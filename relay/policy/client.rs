//! Who asks: the inventory, and those who aren't in it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::name::{NamePattern, Rate, ZertoVersion};
use crate::authority::DnsName;

/// One machine, or one group of them, as the inventory has it.
#[derive(Clone, Debug)]
pub struct Client {
    /// None only for the one that stands for every admitted machine outside the inventory.
    pub name: Option<Arc<str>>,
    pub role: Role,
    pub version: Option<ZertoVersion>,
    /// Where it comes from. The most specific prefix of all clients wins.
    pub sources: Vec<IpNet>,
    /// The names that its certificate may have. With any, it is known by its certificate, and `sources` say where it may be shown.
    pub certificate_names: Vec<DnsName>,
    /// The destinations it is held to, by name; None is all of them.
    pub destinations: Option<Vec<NamePattern>>,
    pub limits: ClientLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Zvm,
    Zca,
    Zcm,
    Other,
}

/// A client's own limits; None is the general one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    pub tunnels: Option<u32>,
    /// Of request heads, refused ones too.
    pub rate: Option<Rate>,
}

/// What becomes of a source that no client lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    Deny,
    /// Admitted from RFC 1918, unique-local, loopback and link-local addresses.
    Private,
    Any,
}

impl Client {
    /// Whether a destination of this name is open to it.
    pub fn may_reach(&self, destination: &str) -> bool {
        self.destinations
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(destination)))
    }

    /// Whether it may come from a canonical address.
    pub(super) fn comes_from(&self, source: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&source))
    }

    /// What to call it in a sentence.
    pub(super) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("outside the inventory")
    }

    /// Stands for every admitted machine that no client lists.
    pub(crate) fn unlisted() -> Self {
        Self {
            name: None,
            role: Role::Other,
            version: None,
            sources: Vec::new(),
            certificate_names: Vec::new(),
            destinations: None,
            limits: ClientLimits::default(),
        }
    }

    /// What is wrong with this client taken alone.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.is_none() {
            return Err("a client needs a name: add the key `name`".into());
        }
        if self.sources.is_empty() && self.certificate_names.is_empty() {
            return Err("`sources` is empty, so the client matches nothing: \
                        list its addresses, or remove the client"
                .into());
        }
        match self.sources.iter().find(|net| is_v4_mapped(**net)) {
            Some(net) => Err(format!("the source {net} is v4-mapped: write it as IPv4")),
            None => Ok(()),
        }
    }
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zvm => "zvm",
            Self::Zca => "zca",
            Self::Zcm => "zcm",
            Self::Other => "other",
        }
    }
}

impl Unlisted {
    /// Whether a canonical source is admitted.
    pub(super) fn admits(self, source: IpAddr) -> bool {
        match (self, source) {
            (Self::Any, _) => true,
            (Self::Deny, _) => false,
            (Self::Private, IpAddr::V4(source)) => {
                source.is_private() || source.is_loopback() || source.is_link_local()
            }
            (Self::Private, IpAddr::V6(source)) => {
                source.is_unique_local() || source.is_loopback() || source.is_unicast_link_local()
            }
        }
    }
}

/// No canonical address lies in such a prefix.
fn is_v4_mapped(net: IpNet) -> bool {
    match net {
        IpNet::V6(net) => net.prefix_len() >= 96 && net.addr().to_ipv4_mapped().is_some(),
        IpNet::V4(_) => false,
    }
}
