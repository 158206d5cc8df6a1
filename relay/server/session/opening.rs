//! Opens a tunnel: registers it, records it, announces it to the client, and checks the
//! ClientHello.

use jiff::Timestamp;

use super::Session;
use super::end::End;
use super::grant::Grant;
use super::hello::Hello;
use crate::authority::Authority;
use crate::dial::Dialled;
use crate::proxy_error::{Reason, Refusal};
use crate::server::guards::{Grounds, Outdated, PassingHello, Registration, StopSignal};
use crate::server::options::ListenerMode;
use crate::tunnel::ClosedBy;

/// A tunnel that a new policy, or the end of the relay, can stop.
pub(super) struct RegisteredTunnel {
    pub(super) grant: Grant,
    pub(super) stop: StopSignal,
    registration: Registration,
    pub(super) upstream: Dialled,
}

impl Session<'_> {
    /// Registers the tunnel under the current policy, and decides again where that isn't the policy
    /// that decided.
    pub(super) fn register(
        &mut self,
        mut grant: Grant,
        target: Authority,
        upstream: Dialled,
    ) -> Result<RegisteredTunnel, Refusal> {
        let grounds = Grounds {
            caller: self.caller.clone(),
            target,
            remote: upstream.remote.ip(),
            server_name: None,
        };
        // A reload may have come since the decision, while the session was dialling. Its review
        // didn't see this tunnel, so the registry refuses the old generation. The session then
        // decides again under the new settings. The loop goes round once more for each such reload.
        loop {
            let generation = self.settings.generation;
            if let Ok((registration, stop)) = self.common.tunnels.register(generation, &grounds) {
                return Ok(RegisteredTunnel {
                    grant,
                    stop,
                    registration,
                    upstream,
                });
            }
            grant = self.decide(&grounds.target)?;
            let _ = grant.screen(&[grounds.remote], &mut self.record)?;
        }
    }

    /// Records the opening, and tells the client of its tunnel where it waits for an answer.
    pub(super) async fn open(&mut self) -> Result<(), End> {
        self.record
            .opened()
            .await
            .map_err(|_| Refusal::from(Reason::AuditUnavailable))?;
        if self.listener.mode == ListenerMode::Proxy {
            self.client.establish().await.map_err(|_| End::Left)?;
        }
        Ok(())
    }

    /// Checks the server name in the ClientHello, and registers the ClientHello as passing.
    ///
    /// It gives up when the tunnel is stopped.
    pub(super) async fn identify(
        &mut self,
        tunnel: &mut RegisteredTunnel,
        hello: Option<Hello>,
    ) -> Result<Option<PassingHello>, End> {
        let RegisteredTunnel {
            grant,
            registration,
            stop,
            ..
        } = tunnel;
        tokio::select! {
            identified = self.check_hello(grant, registration, hello) => identified,
            by = stop => Err(End::Stopped(by)),
        }
    }

    async fn check_hello(
        &mut self,
        grant: &Grant,
        registration: &Registration,
        hello: Option<Hello>,
    ) -> Result<Option<PassingHello>, End> {
        let hello = match hello {
            Some(hello) => hello,
            None if !grant.permit.reads_client_hello() => return Ok(None),
            None => self.read_hello(self.settings.timeouts.client_hello).await?,
        };
        let checked = grant.permit.check_server_name(&hello.server_name);
        let named = registration.named(self.settings.generation, hello.server_name);
        checked.map_err(Refusal::from)?;
        // A policy that came since the decision has reviewed this tunnel without its server name,
        // so judge it by that policy once more.
        let current = self.common.settings.load();
        match named {
            Err(Outdated) if !registration.holds(&current.policy, Timestamp::now()) => {
                Err(End::Stopped(ClosedBy::PolicyRevoked))
            }
            _ => Ok(Some(self.common.loops.enter(hello.random))),
        }
    }
}
