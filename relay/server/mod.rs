//! The server: it accepts connections on the relay's listeners and makes a session of each.
//!
//! The way of one CONNECT through these files:
//!
//! 1. `listeners/listener.rs` accepts the connection.
//! 2. `intake.rs` counts it and deals it to a thread of `workers.rs`, or turns it away.
//! 3. `session/mod.rs` takes it from the first byte to the record of its end, a method a step.
//!
//! `guards/` has what the sessions are held to: limits, the registry of tunnels, the loop check.
//! All of them share one `common.rs`.
//!
//! The program takes four values in turn. [`Ports`] binds, with privileges. [`Server`] starts
//! threads. [`Accepting`] serves and stops. [`Handle`] reloads, counts and ends tunnels meanwhile.

mod accepting;
mod caller;
mod common;
mod guards;
mod handle;
mod intake;
mod listeners;
mod options;
mod ports;
mod session;
mod settings;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use self::common::Common;
use self::guards::{Loops, Warnings};
use self::intake::Intake;
use self::listeners::Listener;
use self::workers::Workers;
use crate::audit::Audit;
use crate::telemetry::Metrics;

pub use self::accepting::Accepting;
pub use self::guards::without_own;
pub use self::handle::Handle;
pub use self::listeners::{BindError, CertificateError, Certificates, PassedError};
pub use self::options::{Limits, ListenerMode, ListenerOptions, Timeouts, TlsOptions};
pub use self::ports::{Ports, SetupError};
pub use self::settings::Settings;
pub use self::workers::Pulse;

/// Bound listeners that don't accept yet, and the threads that will serve.
#[derive(Debug)]
pub struct Server {
    handle: Handle,
    listeners: Vec<Listener>,
    workers: Workers,
    kept: bool,
}

impl Server {
    /// Starts the threads. `own` are further ports of this process, to which the relay must never
    /// connect.
    pub fn new(
        ports: Ports,
        settings: Settings,
        own: &[SocketAddr],
        audit: Audit,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        let listening = ports.listeners.iter().map(|listener| listener.address);
        let loops = Loops::new(own.iter().copied().chain(listening).collect());
        let warnings = Warnings::new(ports.gateways);
        let handle = Handle(Arc::new(Common::new(
            settings, loops, warnings, audit, metrics,
        )));
        handle.review();
        Ok(Self {
            handle,
            listeners: ports.listeners,
            workers: Workers::start(ports.cores)?,
            kept: ports.kept,
        })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Name and address of each listener.
    pub fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.listeners
            .iter()
            .map(|listener| (listener.options.name.clone(), listener.address))
            .collect()
    }

    /// Starts to accept.
    pub fn accept(self) -> Accepting {
        let common = &self.handle.0;
        let intake = Intake::new(common.clone(), self.workers.dealer());
        // Any worker will do. It ends with the worker's runtime.
        self.workers
            .for_listener(0)
            .spawn(common.audit.clone().watch());
        let mut listeners = JoinSet::new();
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let intake = intake.clone();
            let accept = listener.accept(common.metrics.clone(), move |socket, peer, options| {
                intake.take(socket, peer, options);
            });
            listeners.spawn_on(accept, self.workers.for_listener(number));
        }
        Accepting {
            handle: self.handle,
            listeners,
            workers: self.workers,
            kept: self.kept,
        }
    }
}
