//! The open tunnels, and the policy they stand on.
//!
//! A tunnel is registered under the generation of the policy that decided it. A new policy reviews all that are open, in the
//! same critical section in which the generation changes; so a session that decided under the old one either is reviewed, or
//! is told on registering that it must decide again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::authority::{Authority, ServerName};
use crate::policy::Policy;
use crate::server::caller::Caller;
use crate::tunnel::ClosedBy;

/// The registry. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Tunnels(Arc<Mutex<Open>>);

/// What a tunnel was allowed on, and so what a new policy must allow again.
#[derive(Clone, Debug)]
pub(in crate::server) struct Grounds {
    pub(in crate::server) caller: Caller,
    pub(in crate::server) target: Authority,
    pub(in crate::server) remote: IpAddr,
    /// None until the ClientHello has been read.
    pub(in crate::server) server_name: Option<ServerName>,
}

/// A registered tunnel; dropped, it is gone.
#[derive(Debug)]
pub(in crate::server) struct Registration {
    tunnels: Tunnels,
    id: u64,
}

/// The policy has changed since the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Outdated;

#[derive(Debug, Default)]
struct Open {
    generation: u64,
    next: u64,
    tunnels: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    grounds: Grounds,
    /// Sends once what ends the tunnel.
    stop: Option<oneshot::Sender<ClosedBy>>,
}

impl Tunnels {
    /// Registers a tunnel that was decided under `generation`. The receiver tells when, and why, it must end.
    pub(in crate::server) fn register(
        &self,
        generation: u64,
        grounds: Grounds,
    ) -> Result<(Registration, oneshot::Receiver<ClosedBy>), Outdated> {
        let mut open = self.lock();
        // A decision newer than the last review is fine: the review that is about to come will see it.
        if generation < open.generation {
            return Err(Outdated);
        }
        let (stop, stopped) = oneshot::channel();
        let id = open.next;
        open.next += 1;
        open.tunnels.insert(
            id,
            Entry {
                grounds,
                stop: Some(stop),
            },
        );
        let registration = Registration {
            tunnels: self.clone(),
            id,
        };
        Ok((registration, stopped))
    }

    /// Makes `generation` the current one and ends the tunnels that `policy` would refuse. Returns how many.
    pub(in crate::server) fn review(
        &self,
        generation: u64,
        policy: &Policy,
        now: Timestamp,
    ) -> usize {
        let mut open = self.lock();
        open.generation = generation;
        let mut ended = 0;
        for entry in open.tunnels.values_mut() {
            if !entry.grounds.hold(policy, now) && entry.stop(ClosedBy::PolicyRevoked) {
                ended += 1;
            }
        }
        ended
    }

    /// Ends every tunnel. Returns how many.
    pub(in crate::server) fn stop_all(&self, why: ClosedBy) -> usize {
        let mut open = self.lock();
        open.tunnels
            .values_mut()
            .filter_map(|entry| entry.stop(why).then_some(()))
            .count()
    }

    pub(in crate::server) fn count(&self) -> usize {
        self.lock().tunnels.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic in policy would leave a tunnel unreviewed, not a broken map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Adds what the ClientHello said to the grounds. `generation` is the one that the name was checked under.
    pub(in crate::server) fn named(
        &self,
        generation: u64,
        name: ServerName,
    ) -> Result<(), Outdated> {
        let mut open = self.tunnels.lock();
        let current = open.generation;
        if let Some(entry) = open.tunnels.get_mut(&self.id) {
            entry.grounds.server_name = Some(name);
        }
        if generation < current {
            Err(Outdated)
        } else {
            Ok(())
        }
    }

    /// Whether `policy` would allow the tunnel as it stands.
    pub(in crate::server) fn holds(&self, policy: &Policy, now: Timestamp) -> bool {
        let open = self.tunnels.lock();
        open.tunnels
            .get(&self.id)
            .is_some_and(|entry| entry.grounds.hold(policy, now))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tunnels.lock().tunnels.remove(&self.id);
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

impl Entry {
    /// Tells the tunnel to end; false when it had been told before.
    fn stop(&mut self, why: ClosedBy) -> bool {
        // A receiver that is gone belongs to a tunnel that is ending by itself.
        self.stop.take().is_some_and(|stop| stop.send(why).is_ok())
    }
}
