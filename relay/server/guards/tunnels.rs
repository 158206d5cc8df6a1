//! Registers the open tunnels, so that a new policy can end those that it would refuse.
//!
//! A tunnel is registered under the generation of the policy that decided it. A new policy reviews
//! every open tunnel in the same critical section in which the generation changes. So a session
//! that decided under the old policy can't slip through. Either it is registered and reviewed, or
//! its registration fails and it must decide again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::authority::{Authority, ServerName};
use crate::policy::Policy;
use crate::server::caller::Caller;
use crate::tunnel::ClosedBy;

/// The registry. A clone shares it.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Tunnels(Arc<Mutex<OpenTunnels>>);

/// What a tunnel was allowed on, and so what a new policy must allow again.
#[derive(Clone, Debug)]
pub(in crate::server) struct Grounds {
    pub(in crate::server) caller: Caller,
    pub(in crate::server) target: Authority,
    pub(in crate::server) remote: IpAddr,
    /// None until the ClientHello has been read.
    pub(in crate::server) server_name: Option<ServerName>,
}

/// A registered tunnel. Its drop removes it from the registry.
#[derive(Debug)]
pub(in crate::server) struct Registration {
    tunnels: Tunnels,
    id: u64,
}

/// Completes when the registry ends the tunnel, with the cause.
#[derive(Debug)]
pub(in crate::server) struct StopSignal(oneshot::Receiver<ClosedBy>);

/// The policy has changed since the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Outdated;

#[derive(Debug, Default)]
struct OpenTunnels {
    generation: u64,
    next: u64,
    by_id: HashMap<u64, OpenTunnel>,
}

#[derive(Debug)]
struct OpenTunnel {
    grounds: Grounds,
    /// None once the tunnel has been told to end.
    stop: Option<oneshot::Sender<ClosedBy>>,
}

impl Tunnels {
    /// Registers a tunnel that was decided under `generation`.
    pub(in crate::server) fn register(
        &self,
        generation: u64,
        grounds: &Grounds,
    ) -> Result<(Registration, StopSignal), Outdated> {
        let mut open = self.lock();
        // A decision may be newer than the last review: settings are stored first, and the review
        // that follows sees this tunnel.
        if generation < open.generation {
            return Err(Outdated);
        }
        let (stop, stopped) = oneshot::channel();
        let id = open.next;
        open.next += 1;
        open.by_id.insert(
            id,
            OpenTunnel {
                grounds: grounds.clone(),
                stop: Some(stop),
            },
        );
        let registration = Registration {
            tunnels: self.clone(),
            id,
        };
        Ok((registration, StopSignal(stopped)))
    }

    /// Makes `generation` the current one and ends the tunnels that `policy` would refuse. Returns
    /// their number.
    pub(in crate::server) fn review(
        &self,
        generation: u64,
        policy: &Policy,
        now: Timestamp,
    ) -> usize {
        let mut open = self.lock();
        open.generation = generation;
        let mut ended = 0;
        for tunnel in open.by_id.values_mut() {
            if !tunnel.grounds.hold(policy, now) && tunnel.stop(ClosedBy::PolicyRevoked) {
                ended += 1;
            }
        }
        ended
    }

    /// Ends every tunnel. Returns their number.
    pub(in crate::server) fn stop_all(&self, why: ClosedBy) -> usize {
        let mut open = self.lock();
        open.by_id
            .values_mut()
            .filter_map(|tunnel| tunnel.stop(why).then_some(()))
            .count()
    }

    pub(in crate::server) fn count(&self) -> usize {
        self.lock().by_id.len()
    }

    fn lock(&self) -> MutexGuard<'_, OpenTunnels> {
        // A panic in policy leaves a tunnel unreviewed, but the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Adds the ClientHello's server name to the grounds. The name was checked under the policy of
    /// `generation`.
    ///
    /// # Errors
    ///
    /// `Outdated` when a newer policy has reviewed the tunnel without its name.
    pub(in crate::server) fn named(
        &self,
        generation: u64,
        name: ServerName,
    ) -> Result<(), Outdated> {
        let mut open = self.tunnels.lock();
        let current = open.generation;
        if let Some(tunnel) = open.by_id.get_mut(&self.id) {
            tunnel.grounds.server_name = Some(name);
        }
        if generation < current {
            Err(Outdated)
        } else {
            Ok(())
        }
    }

    /// Whether `policy` would allow the tunnel on its present grounds.
    pub(in crate::server) fn holds(&self, policy: &Policy, now: Timestamp) -> bool {
        let open = self.tunnels.lock();
        open.by_id
            .get(&self.id)
            .is_some_and(|tunnel| tunnel.grounds.hold(policy, now))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tunnels.lock().by_id.remove(&self.id);
    }
}

impl Future for StopSignal {
    type Output = ClosedBy;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ClosedBy> {
        // The registry drops the sender only with the registration, which the session keeps while
        // it polls this.
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|stopped| stopped.unwrap_or(ClosedBy::Error))
    }
}

impl Grounds {
    fn hold(&self, policy: &Policy, now: Timestamp) -> bool {
        let Ok(client) = self.caller.admitted(policy) else {
            return false;
        };
        let Ok(permit) = policy.decide(&client, &self.target, now) else {
            return false;
        };
        let named = self
            .server_name
            .as_ref()
            .is_none_or(|name| permit.check_server_name(name).is_ok());
        named && permit.screen(&[self.remote]).is_ok()
    }
}

impl OpenTunnel {
    /// Tells the tunnel to end; false when it has been told before.
    fn stop(&mut self, why: ClosedBy) -> bool {
        // Sending fails where the receiver is gone, which means that the tunnel is ending by
        // itself.
        self.stop.take().is_some_and(|stop| stop.send(why).is_ok())
    }
}
