//! A relay at work: what it is told while it serves, and how it comes to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::health::Health;
use super::supervision::Supervision;
use super::{Instruction, check_descriptors, tell_ends};
use crate::audit::{Audit, Data, Event};
use crate::config::Config;
use crate::dns::Resolver;
use crate::os;
use crate::os::sandbox::InForce;
use crate::policy::Enforcement;
use crate::server::{Accepting, Certificates, Handle, Settings};
use crate::telemetry::Metrics;

/// A relay at work.
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) accepting: Accepting,
    pub(super) config: Config,
    pub(super) audit: Audit,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sandbox: InForce,
    pub(super) health: Health,
    pub(super) supervision: Supervision,
}

impl Running {
    pub(super) fn record_start(&self, listeners: &[(Arc<str>, SocketAddr)]) {
        let started = Data::Started {
            version: env!("CARGO_PKG_VERSION"),
            boot: os::boot_id().map(String::into_boxed_str),
            uptime_ms: os::uptime_ms(),
            listeners: listeners
                .iter()
                .map(|(name, address)| format!("{name} {address}"))
                .collect(),
            sandbox: self.sandbox.measures.clone(),
        };
        self.audit.relay_event(Event::RelayStarted, &started);
        self.record_config();
    }

    fn record_config(&self) {
        let loaded = Data::Loaded {
            policy: self.handle.settings().policy_id.clone(),
            source: self.config.source.to_string(),
            warnings: self.config.warnings.clone(),
        };
        self.audit.relay_event(Event::ConfigLoaded, &loaded);
    }

    /// Reads the configuration and takes it whole, or not at all.
    pub(super) fn reload(&mut self) {
        self.supervision.reloading();
        match self.try_reload() {
            Ok(ended) => {
                tracing::info!(policy = %self.handle.settings().policy_id, tunnels_ended = ended, "configuration loaded");
                for warning in &self.config.warnings {
                    tracing::warn!("{warning}");
                }
                self.health.reloaded(None);
                self.metrics.reloaded(true);
                self.record_config();
            }
            Err(error) => {
                let error = error + &self.why_unreadable();
                tracing::error!("the configuration stays as it was: {error}");
                let rejected = Data::Rejected {
                    source: self.config.source.to_string(),
                    error: error.clone(),
                };
                self.health.reloaded(Some(error));
                self.metrics.reloaded(false);
                self.audit.relay_event(Event::ConfigRejected, &rejected);
            }
        }
        self.supervision.serving();
    }

    /// What an error of a reload leaves out: that a file is another one now.
    fn why_unreadable(&self) -> String {
        self.sandbox.replaced().map_or_else(String::new, |path| {
            format!(
                " ({} isn't the file that was there at the start, and [sandbox] lets no other be read from a directory that others \
                 use too: restart the relay, and give it a directory of its own)",
                path.display()
            )
        })
    }

    fn try_reload(&mut self) -> Result<usize, String> {
        let new = Config::load(&self.config.source).map_err(|error| {
            // The report, with its excerpt of the file, is for whoever reads the log; the rest gets one line.
            tracing::error!("{error}");
            error.summary()
        })?;
        let fixed = self.config.changes_needing_restart(&new);
        if !fixed.is_empty() {
            return Err(format!("a change of {} needs a restart", fixed.join(", ")));
        }
        let old = self.handle.settings();
        let resolver = old
            .resolver
            .reloaded(new.dns.clone())
            .map_err(|error| error.to_string())?;
        check_descriptors(&new).map_err(|error| error.to_string())?;
        let certificates = Certificates::load(&new.listeners).map_err(|error| error.to_string())?;
        tell_ends(&certificates, &self.metrics);
        self.config = new;
        Ok(self.apply(certificates, resolver, old.generation + 1))
    }

    /// The end of report-only: the same policy, which from now on refuses what it let through.
    pub(super) fn enforce(&mut self) {
        let old = self.handle.settings();
        let ended = self.apply(
            old.certificates.clone(),
            old.resolver.clone(),
            old.generation + 1,
        );
        tracing::warn!(
            tunnels_ended = ended,
            "report-only has ended: the policy is enforced"
        );
        self.record_config();
    }

    fn apply(&self, certificates: Certificates, resolver: Resolver, generation: u64) -> usize {
        self.metrics
            .policy_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.handle
            .apply(settings(&self.config, certificates, resolver, generation))
    }

    pub(super) fn end_of_report_only(&self) -> Option<Instant> {
        let Enforcement::ReportOnly { until } = self.config.policy.mode() else {
            return None;
        };
        let left = Duration::try_from(until.duration_since(Timestamp::now())).ok()?;
        // A moment later, so that the clock that decides has passed it.
        Some(Instant::now() + left + Duration::from_millis(10))
    }

    /// Tells everybody, once.
    pub(super) fn draining(&self) {
        if self.health.draining() {
            self.metrics.draining.set(1);
            let around = ANNOUNCE + AFTERMATH + LAST_WORDS;
            let within = around.saturating_add(self.config.timeouts.drain);
            self.supervision.draining(within);
        }
    }

    /// Red on /readyz, and still accepting: a load balancer needs a moment to notice. Whether the tunnels are to be ended at once.
    pub(super) async fn announce_drain(
        &self,
        instructions: &mut mpsc::Receiver<Instruction>,
    ) -> bool {
        self.draining();
        tracing::info!(
            "draining: accepting for {} seconds more",
            ANNOUNCE.as_secs()
        );
        let hurried = async {
            while let Some(instruction) = instructions.recv().await {
                if instruction != Instruction::Reload {
                    return instruction == Instruction::End;
                }
            }
            false
        };
        timeout(ANNOUNCE, hurried).await.unwrap_or(false)
    }

    /// Lets the tunnels end by themselves, unless it is `hurried`, then ends them. Returns how many had to be.
    pub(super) async fn drain(
        &mut self,
        instructions: &mut mpsc::Receiver<Instruction>,
        hurried: bool,
    ) -> usize {
        self.draining();
        self.accepting.stop_listening().await;
        let within = if hurried {
            Duration::ZERO
        } else {
            self.config.timeouts.drain
        };
        tracing::info!(
            tunnels = self.handle.open_tunnels(),
            ?within,
            "draining: waiting for the tunnels to end"
        );
        let hurried = async {
            loop {
                match instructions.recv().await {
                    Some(Instruction::Reload) => {}
                    Some(_) => return,
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = self.accepting.idle() => return 0,
            () = sleep(within) => {}
            () = hurried => {}
        }
        let cut = self.handle.stop_tunnels();
        tracing::warn!(tunnels = cut, "draining: ended the tunnels that were left");
        let _ = timeout(AFTERMATH, self.accepting.idle()).await;
        cut
    }
}

/// The part of the configuration that a reload replaces.
pub(super) fn settings(
    config: &Config,
    certificates: Certificates,
    resolver: Resolver,
    generation: u64,
) -> Settings {
    Settings {
        generation,
        policy_id: format!("{generation}:{}", config.digest).into(),
        policy: config.policy.clone(),
        self_addresses: config.self_addresses.clone(),
        pac_relays: config.pac_relays.clone(),
        certificates,
        resolver,
        timeouts: config.timeouts.clone(),
        limits: config.limits.clone(),
    }
}

/// How long a draining relay goes on accepting.
const ANNOUNCE: Duration = Duration::from_secs(5);
/// How long the tunnels that were ended may take to close.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How long the end of the trail may take to be written, and shipped.
const LAST_WORDS: Duration = Duration::from_secs(10);
