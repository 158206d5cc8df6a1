//! Clients: those of the inventory, and the one for machines outside of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::name::{NamePattern, Rate, ZertoVersion};
use crate::authority::DnsName;

/// One machine, or one group of machines, as the inventory has it.
#[derive(Clone, Debug)]
pub struct Client {
    /// None only for the client that represents every admitted machine outside the inventory.
    pub name: Option<Arc<str>>,
    /// The names that it had before. Its history under them goes on.
    pub formerly: Vec<Arc<str>>,
    /// None if the configuration doesn't say.
    pub role: Option<Role>,
    pub version: Option<ZertoVersion>,
    /// How often it calls home. None if the configuration doesn't say.
    pub expect_every: Option<Duration>,
    /// Whether its silence means anything.
    pub calls_home: bool,
    /// The addresses that it comes from. The most specific prefix of all clients wins.
    pub sources: Vec<IpNet>,
    /// The names that its certificate may have. If there are any, the certificate identifies the
    /// client, and `sources` say where it may come from.
    pub certificate_names: Vec<DnsName>,
    /// The destinations that it may reach, by name. None means all of them.
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

/// A client's own limits. None means that the general limit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    pub tunnels: Option<u32>,
    /// The rate of request heads, refused ones included.
    pub rate: Option<Rate>,
}

/// What happens to a source that no client lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    Deny,
    /// It is admitted if its address is of RFC 1918, unique-local, loopback or link-local.
    Private,
    Any,
}

impl Client {
    /// Tells whether it may reach a destination of this name.
    pub fn may_reach(&self, destination: &str) -> bool {
        self.destinations
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(destination)))
    }

    /// Tells whether it may come from a canonical address.
    pub(super) fn comes_from(&self, source: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&source))
    }

    /// Names the client in a message.
    pub(super) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("outside the inventory")
    }

    /// Makes the client that represents every admitted machine which no client lists.
    pub(crate) fn unlisted() -> Self {
        Self {
            name: None,
            formerly: Vec::new(),
            role: None,
            version: None,
            expect_every: None,
            calls_home: false,
            sources: Vec::new(),
            certificate_names: Vec::new(),
            destinations: None,
            limits: ClientLimits::default(),
        }
    }

    /// Finds a mistake in this client alone.
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
    /// Tells whether a machine of this role calls home, as far as its role and version tell.
    ///
    /// From 7.0 on a ZVM uploads by itself, and no ZCM does.
    pub fn calls_home(role: Option<Self>, version: Option<ZertoVersion>) -> bool {
        match role {
            None | Some(Self::Zvm | Self::Zca) => true,
            Some(Self::Zcm) => version.is_some_and(|version| version < ZCM_ENDS),
            Some(Self::Other) => false,
        }
    }

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
    /// Tells whether a canonical source is admitted.
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

/// Tells whether a prefix is v4-mapped. No canonical address is in such a prefix, so it would match
/// nothing.
fn is_v4_mapped(net: IpNet) -> bool {
    match net {
        IpNet::V6(net) => net.prefix_len() >= 96 && net.addr().to_ipv4_mapped().is_some(),
        IpNet::V4(_) => false,
    }
}

/// The first version whose ZCM uploads nothing.
const ZCM_ENDS: ZertoVersion = ZertoVersion { major: 7, minor: 0 };
