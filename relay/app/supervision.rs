//! The messages to the service manager: when the relay serves, reloads and stops, and that it is
//! alive.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::health::Health;
use crate::audit::Audit;
use crate::os::ServiceManager;
use crate::server::{Handle, Pulse};

/// The connection to the service manager, with the last status sent. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Supervision(Arc<SupervisionInner>);

#[derive(Debug)]
struct SupervisionInner {
    manager: ServiceManager,
    /// Names and addresses of the listeners, for the status.
    listeners: String,
    health: Health,
    audit: Audit,
    handle: Handle,
    said: Mutex<String>,
}

impl Supervision {
    pub(super) fn new(
        manager: ServiceManager,
        listeners: &[(Arc<str>, SocketAddr)],
        health: Health,
        audit: Audit,
        handle: Handle,
    ) -> Self {
        let listeners: Vec<_> = listeners
            .iter()
            .map(|(name, address)| format!("{name} {address}"))
            .collect();
        Self(Arc::new(SupervisionInner {
            manager,
            listeners: listeners.join(", "),
            health,
            audit,
            handle,
            said: Mutex::default(),
        }))
    }

    /// Tells the manager that the relay serves, for the first time or after a reload. A rejected
    /// reload is in the status, and no reason to stop.
    pub(super) fn serving(&self) {
        if self.0.manager.is_there() {
            let line = self.line();
            self.0.manager.ready(&line);
            self.said(line);
        }
    }

    pub(super) fn reloading(&self) {
        self.0.manager.reloading();
    }

    /// Tells the manager that the relay stops accepting, and ends `within` that time.
    pub(super) fn draining(&self, within: Duration) {
        if self.0.manager.is_there() {
            self.0.manager.stopping(&self.line(), within);
        }
    }

    /// Tells the manager at its intervals that the relay is alive, if it is.
    ///
    /// It is alive when each worker has run a task, the trail's writer works, and the thread that
    /// this runs on works too. What doesn't work is in the log before the manager acts on the
    /// silence.
    pub(super) async fn watch(self, pulse: Pulse) {
        let manager = &self.0.manager;
        if !manager.is_there() {
            return;
        }
        let period = manager.watchdog().unwrap_or(STATUS_EVERY);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let stuck = if self.0.audit.is_stuck() {
                "the audit trail's writer"
            } else if timeout(period, pulse.beat()).await != Ok(true) {
                "a thread that serves sessions"
            } else {
                manager.alive();
                self.say();
                continue;
            };
            tracing::error!("{stuck} doesn't respond: the watchdog gets no sign of life");
        }
    }

    /// Sends the status if it has changed.
    fn say(&self) {
        let line = self.line();
        if self.said(line.clone()) {
            self.0.manager.status(&line);
        }
    }

    /// Remembers the status. Tells whether it differs from the last one.
    fn said(&self, line: String) -> bool {
        // Nothing panics under the lock.
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *said != line;
        *said = line;
        new
    }

    /// Writes the status: what is wrong, and what the relay does.
    fn line(&self) -> String {
        let status = self.0.health.status(&self.0.audit);
        let mut line = String::new();
        for (kind, causes) in [("down", status.down), ("degraded", status.degraded)] {
            for cause in causes {
                // Writing to a `String` can't fail.
                let _ = write!(line, "{kind}: {cause}; ");
            }
        }
        let open = match self.0.handle.open_tunnels() {
            1 => "1 tunnel".to_owned(),
            count => format!("{count} tunnels"),
        };
        let _ = write!(line, "{open} open, listening on {}", self.0.listeners);
        line
    }
}

/// How often the status is updated where there is no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(30);
