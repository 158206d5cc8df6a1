//! Holds as one value what a reload replaces.

use std::net::IpAddr;
use std::sync::Arc;

use super::listeners::Certificates;
use super::options::{Limits, Timeouts};
use crate::authority::Authority;
use crate::dns::Resolver;
use crate::policy::Policy;
use crate::{os, tunnel};

/// The reloadable settings of the server. A session never sees a mixture of two.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of the policy: 1 at the start, one more at each reload.
    pub generation: u64,
    /// The policy's name in the trail: `generation:digest`.
    pub policy_id: Arc<str>,
    pub policy: Arc<Policy>,
    /// Virtual or published addresses that lead to this relay.
    pub self_addresses: Vec<IpAddr>,
    /// The relays that `/proxy.pac` names, in order. Empty: it names the relay that is asked.
    pub pac_relays: Vec<Authority>,
    /// The certificates of the listeners that speak TLS.
    pub certificates: Certificates,
    pub resolver: Resolver,
    pub timeouts: Timeouts,
    pub limits: Limits,
}

impl Settings {
    pub(super) fn keepalive(&self) -> os::Keepalive {
        os::Keepalive {
            idle: self.timeouts.keepalive,
            user_timeout: self.timeouts.tcp_user,
        }
    }

    pub(super) fn tunnel_limits(&self) -> tunnel::TunnelLimits {
        tunnel::TunnelLimits {
            idle: self.timeouts.idle,
            half_closed: self.timeouts.half_closed,
            lifetime: self.timeouts.lifetime,
        }
    }
}
