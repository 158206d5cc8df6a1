//! The relay as a whole: it is built from a configuration, runs until an instruction ends it, and
//! drains.
//!
//! Nothing is bound before the configuration has been checked. The relay isn't ready before
//! everything is bound.

mod health;
mod inventory;
mod running;
mod signals;
mod supervision;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use callhome_trail::{Data, RelayStopped};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::admin::{Admin, AdminError};
use crate::audit::{self, Audit};
use crate::config::{Config, ConfigSource};
use crate::dns::{Resolver, ResolverError, SystemFiles};
use crate::os::sandbox::{Files, InForce, Sandbox, SandboxError};
use crate::os::{self, ActivationError, PassedSockets, ServiceManager};
use crate::server::{CertificateError, Certificates, Ports, Server, SetupError};
use crate::telemetry::Metrics;
use crate::tls;
use health::Health;
use running::{Running, settings};
use supervision::Supervision;

pub use signals::instructions;

/// An instruction to a running relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Read the configuration again.
    Reload,
    /// Accept for a moment more, so that a load balancer can notice, then let the tunnels end.
    Drain,
    /// Stop accepting now, then let the tunnels end.
    Stop,
    /// End what is still open.
    End,
}

/// A relay whose ports are bound.
#[derive(Debug)]
pub struct App {
    config: Config,
    server: Server,
    admin: Admin,
    audit: Audit,
    writer: audit::WriterHandle,
    metrics: Arc<Metrics>,
    manager: ServiceManager,
    sandbox: InForce,
}

/// Why a relay doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Activation(#[from] ActivationError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the audit trail can't be opened: {0}")]
    Audit(io::Error),
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error(transparent)]
    Dns(#[from] ResolverError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Server(#[from] SetupError),
    #[error(
        "the limits need {needed} descriptors and the process may have {allowed}: raise the limit (systemd: LimitNOFILE=) or \
         lower [limits] connections and tunnels"
    )]
    Descriptors { needed: u64, allowed: u64 },
}

/// Why a relay ended without an instruction to end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

impl App {
    /// Binds everything and connects the parts.
    ///
    /// It must run in the runtime that will run the relay, on the process's only thread. The
    /// sandbox confines only the calling thread and the threads that it starts.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        Self::build_on(config, PassedSockets::default()).await
    }

    /// Does the same on sockets that were passed in, where there are any.
    pub async fn build_on(config: Config, passed: PassedSockets) -> Result<Self, StartError> {
        check_descriptors(&config)?;
        // First comes what takes privileges, and what is read only once.
        let ports = Ports::bind(&config.listeners, passed)?;
        let admin = Admin::bind(&config.admin).await?;
        let sandbox = Sandbox::prepare(&config.sandbox)?;
        let owner = sandbox.account().map(|it| (it.user(), it.group()));
        let trail = audit::prepare(&config.audit, owner).map_err(StartError::Audit)?;
        let sandbox = confine(sandbox, &config)?;

        // A reload reads these again. So they are read from inside the sandbox, and the start fails
        // where a reload would fail.
        let certificates = Certificates::load(&config.listeners)?;
        let metrics = Arc::new(Metrics::new());
        report_expiry(&certificates, &metrics);
        let resolver = Resolver::new(config.dns.clone())?;
        let (audit, writer) =
            Audit::start_prepared(trail, &config.audit, &config.name, metrics.clone())
                .map_err(StartError::Audit)?;
        let settings = settings(&config, certificates, resolver, 1);
        let own = [admin.address()];
        let server = Server::new(ports, settings, &own, audit.clone(), metrics.clone())?;
        metrics.policy_generation.set(1);
        Ok(Self {
            config,
            server,
            admin,
            audit,
            writer,
            metrics,
            manager: ServiceManager::default(),
            sandbox,
        })
    }

    /// Connects the relay to a service manager, which it tells how it is.
    #[must_use]
    pub fn under(mut self, manager: ServiceManager) -> Self {
        self.manager = manager;
        self
    }

    /// Lists name and address of each listener.
    pub fn listeners(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.server.addresses()
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Serves until an instruction ends it, and then until the tunnels have ended or `drain` has
    /// passed.
    pub async fn run(self, mut instructions: mpsc::Receiver<Instruction>) -> Result<(), RunError> {
        let listeners = self.server.addresses();
        let handle = self.server.handle();
        let health = Health::default();
        let supervision = Supervision::new(
            self.manager,
            &listeners,
            health.clone(),
            self.audit.clone(),
            handle.clone(),
        );
        let mut running = Running {
            handle,
            accepting: self.server.accept(),
            config: self.config,
            audit: self.audit,
            metrics: self.metrics,
            health: health.clone(),
            supervision,
            sandbox: self.sandbox,
        };
        let status = {
            let (audit, health) = (running.audit.clone(), running.health.clone());
            move || health.status(&audit)
        };
        let mut admin = tokio::spawn(self.admin.serve(running.metrics.clone(), status));
        running.record_start(&listeners);
        running.supervision.serving();
        let pulse = running.accepting.pulse();
        let watch = tokio::spawn(running.supervision.clone().watch(pulse));

        let mut hurried = false;
        let failure = loop {
            let end_of_report_only = running.end_of_report_only();
            tokio::select! {
                instruction = instructions.recv() => match instruction {
                    Some(Instruction::Reload) => running.reload(),
                    // Where connections wait for the successor, no load balancer has to notice.
                    Some(Instruction::Drain) if !running.accepting.keeps_backlog() => {
                        hurried = running.announce_drain(&mut instructions).await;
                        break None;
                    }
                    Some(Instruction::End) => {
                        hurried = true;
                        break None;
                    }
                    Some(Instruction::Drain | Instruction::Stop) | None => break None,
                },
                () = at(end_of_report_only) => running.enforce(),
                failure = running.accepting.failed() => break Some(failure),
                ended = &mut admin => break Some(format!("the admin listener ended: {ended:?}")),
            }
        };
        watch.abort();
        let cut = running.drain(&mut instructions, hurried).await;
        let cause = if failure.is_some() {
            "failure"
        } else {
            "signal"
        };
        running.audit.relay_event(Data::RelayStopped(RelayStopped {
            cause: cause.into(),
            tunnels_cut: cut,
        }));
        admin.abort();
        // The guards of the last sessions write their records when the workers end. So the workers
        // must end before the writer.
        drop(running);
        self.writer.close();
        failure.map_or(Ok(()), |failure| Err(RunError(failure)))
    }
}

/// Confines the process to what it goes on using, and logs the result.
fn confine(sandbox: Sandbox, config: &Config) -> Result<InForce, SandboxError> {
    let system = SystemFiles::default();
    let mut files = Files {
        written: config.audit.directory.iter().cloned().collect(),
        read: vec![system.resolv_conf, system.hosts],
    };
    if config.audit.syslog.is_some() {
        // The C library looks up the name of the syslog server.
        let names = ["/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];
        files.read.extend(names.map(Into::into));
    }
    if let ConfigSource::File(path) = &config.source {
        files.read.push(path.clone());
    }
    for tls in config.listeners.iter().filter_map(|it| it.tls.as_ref()) {
        files
            .read
            .extend([tls.certificate.clone(), tls.key.clone()]);
        files.read.extend(tls.client_ca.clone());
    }
    let force = sandbox.enter(&files)?;
    tracing::info!("confined: {force}");
    for warning in &force.warnings {
        tracing::warn!("[sandbox] {warning}");
    }
    Ok(force)
}

/// Logs the listeners' certificates that end soon, and sets their metrics.
fn report_expiry(certificates: &Certificates, metrics: &Metrics) {
    let now = Timestamp::now().as_second();
    for (listener, end) in certificates.ends() {
        metrics.certificate(listener, end);
        if let Some(left) = tls::ends_soon(end, now) {
            tracing::warn!("the certificate of the listener \"{listener}\" {left}");
        }
    }
}

/// Checks that the process may open as many descriptors as the limits need. First it raises the
/// limit as far as it goes.
fn check_descriptors(config: &Config) -> Result<(), StartError> {
    let allowed = os::raise_descriptor_limit().map_err(SetupError::Resources)?;
    let limits = &config.limits;
    // A connection has one descriptor, and a tunnel another for its destination. A name lookup or a
    // second attempt at dialling needs one only for a short time.
    let needed = u64::from(limits.connections) + u64::from(limits.tunnels) + SPARE_DESCRIPTORS;
    if needed > allowed {
        return Err(StartError::Descriptors { needed, allowed });
    }
    Ok(())
}

/// Completes at the given moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The descriptors for listeners, runtimes, trail, resolver and admin port, and for the pipes that
/// bulk transfers borrow.
const SPARE_DESCRIPTORS: u64 = 1024;
