//! The relay's listeners, and the sessions they begin.

mod caller;
mod guards;
mod listeners;
mod options;
mod session;
mod settings;
mod workers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::audit::Audit;
use crate::authority::Host;
use crate::dial::Outgoing;
use crate::os::{self, PassedSockets};
use crate::policy::{Client, PermittedAddrs, Policy};
use crate::proxy_error::{Reason, Refusal};
use crate::telemetry::Metrics;
use crate::tunnel::ClosedBy;

use guards::{Hourly, Limiter, Passing, Tunnels};
use listeners::Listener;
use workers::Workers;

pub use listeners::{BindError, CertificateError, Certificates, PassedError};
pub use options::{Limits, ListenerMode, ListenerOptions, Timeouts, TlsOptions};
pub use settings::Settings;
pub use workers::Pulse;

/// What a server takes from the machine: its ports, and what there is to know of it.
#[derive(Debug)]
pub struct Ports {
    listeners: Vec<Listener>,
    /// Whether the sockets are kept by who passed them in.
    kept: bool,
    gateways: Vec<IpAddr>,
    cores: usize,
}

/// Bound listeners that don't accept yet.
#[derive(Debug)]
pub struct Server {
    handle: Handle,
    listeners: Vec<Listener>,
    workers: Workers,
    /// Whether the sockets are kept by who passed them in.
    kept: bool,
}

/// What the rest of the program can ask of a server that runs.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

/// What every session uses.
#[derive(Debug)]
struct Shared {
    settings: ArcSwap<Settings>,
    limiter: Limiter,
    tunnels: Tunnels,
    outgoing: Outgoing,
    passing: Passing,
    audit: Audit,
    metrics: Arc<Metrics>,
    /// The relay's own ports: its listeners', and whatever else it serves.
    own: Vec<SocketAddr>,
    draining: AtomicBool,
    /// Behind one of these, many machines have one address.
    gateways: Vec<IpAddr>,
    gateway_told: AtomicBool,
    /// Whose bypass list was said to be missing.
    without_bypass: Hourly,
    /// From where the relay was said to reach itself.
    looping: Hourly,
}

/// Counts a connection as open while it lives.
struct OpenConnection<'a>(&'a Metrics);

/// Why the server can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error("threads or descriptors can't be had")]
    Resources(#[from] io::Error),
}

impl Ports {
    /// Binds every listener, or takes the sockets that were passed in for them.
    pub fn bind(listeners: &[ListenerOptions], passed: PassedSockets) -> Result<Self, ServerError> {
        let kept = !passed.is_empty();
        let listeners = if kept {
            listeners::adopt(listeners, passed)?
        } else {
            let bound = listeners.iter().map(Listener::bind);
            bound.collect::<Result<Vec<_>, _>>()?
        };
        Ok(Self {
            listeners,
            kept,
            gateways: os::default_gateways(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

impl Server {
    /// Starts the threads. `own` are further ports of this process, which the relay must never connect to.
    pub fn new(
        ports: Ports,
        settings: Settings,
        own: &[SocketAddr],
        audit: Audit,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServerError> {
        let own = own
            .iter()
            .copied()
            .chain(ports.listeners.iter().map(|l| l.address))
            .collect();
        let shared = Shared {
            settings: ArcSwap::from_pointee(settings),
            limiter: Limiter::default(),
            tunnels: Tunnels::default(),
            outgoing: Outgoing::default(),
            passing: Passing::default(),
            audit,
            metrics,
            own,
            draining: AtomicBool::new(false),
            gateways: ports.gateways,
            gateway_told: AtomicBool::new(false),
            without_bypass: Hourly::default(),
            looping: Hourly::default(),
        };
        let handle = Handle(Arc::new(shared));
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
            .map(|l| (l.options.name.clone(), l.address))
            .collect()
    }

    /// Starts to accept.
    pub fn accept(self) -> Accepting {
        let mut listeners = JoinSet::new();
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let accept = listener.accept(self.handle.0.clone(), self.workers.dealer());
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

/// A server at work.
#[derive(Debug)]
pub struct Accepting {
    handle: Handle,
    listeners: JoinSet<io::Result<()>>,
    workers: Workers,
    kept: bool,
}

impl Accepting {
    /// Completes when a listener has ended, which none does by itself.
    pub async fn failed(&mut self) -> String {
        match self.listeners.join_next().await {
            Some(Ok(Ok(()))) => "a listener ended".into(),
            Some(Ok(Err(error))) => format!("a listener failed: {error}"),
            Some(Err(error)) => format!("a listener failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Asks the threads that serve the sessions for a sign of life.
    pub fn pulse(&self) -> Pulse {
        self.workers.pulse()
    }

    /// Whether connections wait for a successor when this server has stopped to listen.
    pub fn keeps_backlog(&self) -> bool {
        self.kept
    }

    /// Closes the listeners: from now on the port is refused, and a session that isn't a tunnel yet won't become one. Where the
    /// sockets are kept for a successor no attempt is lost: what comes now waits for it, and what was accepted is served.
    pub async fn stop_listening(&mut self) {
        // First, so that whoever finds the port closed knows that no other session becomes a tunnel.
        if !self.kept {
            self.handle.refuse_new();
        }
        self.listeners.shutdown().await;
    }

    /// Completes when the last session has ended.
    pub async fn idle(&self) {
        self.workers.idle().await;
    }
}

impl Handle {
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    /// Replaces the settings, and ends the tunnels that the new policy would refuse. Returns how many.
    pub fn apply(&self, settings: Settings) -> usize {
        self.0.settings.store(Arc::new(settings));
        self.review()
    }

    /// Holds every open tunnel against the current policy, at this moment.
    fn review(&self) -> usize {
        let settings = self.0.settings.load();
        self.0
            .tunnels
            .review(settings.generation, &settings.policy, Timestamp::now())
    }

    /// From now on a session that isn't a tunnel yet won't become one.
    fn refuse_new(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every tunnel, and lets no other begin. Returns how many.
    pub fn stop_tunnels(&self) -> usize {
        self.refuse_new();
        self.0.tunnels.stop_all(ClosedBy::Shutdown)
    }

    pub fn open_tunnels(&self) -> usize {
        self.0.tunnels.count()
    }
}

impl Shared {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn open_connection(&self) -> OpenConnection<'_> {
        self.metrics.connections_open.inc();
        OpenConnection(&self.metrics)
    }

    /// Says once that clients seem to be behind source NAT, where their addresses tell them apart no more.
    fn look_for_nat(&self, source: IpAddr) {
        if self.gateways.contains(&source) && !self.gateway_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %source,
                "a client has the default gateway's address: behind source NAT all clients are one, and `unlisted = \"private\"` \
                 means nothing"
            );
        }
    }

    /// Says of a client that asks for a host of the inside which no destination has, once an hour, what is likely wrong with it.
    fn look_for_bypass(&self, source: IpAddr, client: &Client, asked: &Host, policy: &Policy) {
        if guards::is_inside(asked, policy.nat64_prefixes())
            && self.without_bypass.is_due(source, Instant::now())
        {
            let name = client.name.as_deref();
            tracing::warn!(
                %source,
                name,
                %asked,
                "a client asks the relay for a host of the inside: its bypass list is missing, or its proxy should be the relay's \
                 proxy.pac (`callhome-relay zvm setup`)"
            );
        }
    }

    /// Says, once an hour for where it comes from, that the relay has reached itself on a way that it couldn't know.
    fn report_loop(&self, source: IpAddr, asked: &Host) {
        if self.looping.is_due(source, Instant::now()) {
            tracing::warn!(
                %source,
                %asked,
                "the relay has reached itself: a translator (NAT) on the way, or a name server's answer for this host, leads back \
                 to it; give the relay a name server that has the host's own addresses (`dns.servers`), and list every address \
                 that leads to the relay (`policy.self_addresses`)"
            );
        }
    }

    /// Takes out the addresses that lead back to this relay.
    fn without_own(
        &self,
        addresses: PermittedAddrs,
        port: u16,
        settings: &Settings,
    ) -> Result<PermittedAddrs, Refusal> {
        without_own(
            addresses,
            port,
            &self.own,
            &settings.self_addresses,
            &settings.policy,
        )
    }
}

/// Takes out the addresses that lead back to a relay with these ports of its own.
///
/// # Errors
///
/// `LoopDetected` when none is left.
pub fn without_own(
    addresses: PermittedAddrs,
    port: u16,
    own: &[SocketAddr],
    self_addresses: &[IpAddr],
    policy: &Policy,
) -> Result<PermittedAddrs, Refusal> {
    addresses
        .excluding(|address| {
            // A translator (NAT64) brings a connection back as well as a wire does.
            let reached = policy.reached_by(address);
            let listens = |own: &SocketAddr| {
                own.port() == port
                    && (own.ip().is_unspecified() || own.ip().to_canonical() == reached)
            };
            self_addresses.contains(&address)
                || self_addresses.contains(&reached)
                || (own.iter().any(listens) && os::is_local_address(reached))
        })
        .ok_or_else(|| Refusal::new(Reason::LoopDetected, "every address is this relay's own"))
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections_open.dec();
    }
}
