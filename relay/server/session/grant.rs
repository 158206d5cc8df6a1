//! Asks policy for a grant, by the settings of this moment.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::Session;
use crate::audit::Recorder;
use crate::authority::Authority;
use crate::policy::{Client, Denial, Permit, PermittedAddrs};
use crate::proxy_error::{Reason, Refusal};
use crate::server::guards::{Claim, TunnelSlot};
use crate::server::options::ListenerMode;

/// A client, and its permit for the target.
pub(super) struct Grant {
    client: Arc<Client>,
    pub(super) permit: Permit,
}

impl Session<'_> {
    /// Decides on a target. From here on the session keeps the settings that it was decided under.
    pub(super) fn decide(&mut self, target: &Authority) -> Result<Grant, Refusal> {
        self.settings = self.common.settings.load_full();
        let policy = &self.settings.policy;
        self.record.policy(&self.settings.policy_id);
        let client = self.caller.admitted(policy)?;
        let decided = policy.decide(&client, target, Timestamp::now());
        let destination = match &decided {
            Ok(permit) => permit.destination(),
            Err(denial) => denial.destination.as_ref(),
        };
        // Only a client of a `proxy` listener has a proxy setting, and so a bypass list that may be
        // missing.
        if destination.is_none() && self.listener.mode == ListenerMode::Proxy {
            let source = self.caller.source();
            self.common
                .warnings
                .look_for_bypass(source, &client, &target.host, policy);
        }
        self.record
            .billing(destination.map(|it| it.counts_for(&client)));
        let permit = decided.map_err(|denial| denied(denial, &mut self.record))?;
        let name = permit.destination().map(|destination| &destination.name);
        self.record.destination(name);
        self.record.allowed(permit.enforced());
        Ok(Grant { client, permit })
    }

    /// Takes one of the tunnels that the client, and all clients together, may have.
    pub(super) fn claim_tunnel(&self, grant: &Grant) -> Result<TunnelSlot, Refusal> {
        let claim = Claim {
            source: self.caller.source(),
            listed: grant.client.name.is_some(),
            tunnels: grant.client.limits.tunnels,
        };
        let inventory = !self.settings.policy.clients().is_empty();
        self.common
            .limiter
            .tunnel(claim, &self.settings.limits, inventory)
            .map_err(|reached| Refusal::new(Reason::AtCapacity, reached.to_string()))
    }
}

impl Grant {
    /// Keeps the addresses that may be dialled, and records whether that was enforced.
    pub(super) fn screen(
        &self,
        addresses: &[IpAddr],
        record: &mut Recorder,
    ) -> Result<PermittedAddrs, Refusal> {
        let permitted = self
            .permit
            .screen(addresses)
            .map_err(|denial| denied(denial, record))?;
        record.allowed(self.permit.enforced() && permitted.enforced());
        Ok(permitted)
    }
}

/// Records which destination refused.
fn denied(denial: Denial, record: &mut Recorder) -> Refusal {
    let destination = denial.destination.as_ref();
    record.destination(destination.map(|destination| &destination.name));
    denial.refusal
}
