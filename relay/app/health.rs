//! The relay's health, for `/readyz` and the service manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::Readiness;
use crate::audit::Audit;

/// What is known of it beside the state of the trail. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<HealthState>>);

#[derive(Debug, Default)]
struct HealthState {
    draining: bool,
    /// Why the last reload was rejected, until one is accepted.
    rejected: Option<String>,
}

impl Health {
    /// Keeps why the last reload was rejected, or that it was accepted.
    pub(super) fn reloaded(&self, rejected: Option<String>) {
        self.lock().rejected = rejected;
    }

    /// Keeps that the relay is draining. Tells whether it is the first time.
    pub(super) fn draining(&self) -> bool {
        !std::mem::replace(&mut self.lock().draining, true)
    }

    pub(super) fn status(&self, audit: &Audit) -> Readiness {
        let state = self.lock();
        let mut status = Readiness::default();
        if state.draining {
            status.down.push("draining".into());
        }
        if !audit.is_available() {
            // Where requests are served without a trail, a load balancer must not take the relay
            // out.
            let list = if audit.admits() {
                &mut status.degraded
            } else {
                &mut status.down
            };
            list.push("the audit trail can't be written".into());
        }
        if let Some(error) = &state.rejected {
            status
                .degraded
                .push(format!("the last reload was rejected: {error}"));
        }
        status
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
