//! A relay at work: how it carries out instructions, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callhome_trail::{ConfigLoaded, ConfigRejected, Data, RelayStarted, TextPart};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::health::Health;
use super::supervision::Supervision;
use super::{Instruction, check_descriptors, inventory, report_expiry};
use crate::audit::Audit;
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
        let started = RelayStarted {
            version: env!("CARGO_PKG_VERSION").into(),
            boot: os::boot_id().map(Into::into),
            uptime_ms: os::uptime_ms(),
            listeners: listeners
                .iter()
                .map(|(name, address)| format!("{name} {address}"))
                .collect(),
            sandbox: self
                .sandbox
                .measures
                .iter()
                .cloned()
                .map(Into::into)
                .collect(),
            unsealed: self.audit.unsealed(),
        };
        self.audit.relay_event(Data::RelayStarted(started));
        self.record_config();
    }

    /// Records the effective configuration, in as many records as it takes, and then the inventory
    /// if it is another one. The warnings are in the first.
    fn record_config(&self) {
        let mut warnings = self.config.warnings.clone();
        for part in TextPart::of(&self.config.show()) {
            self.audit.relay_event(Data::ConfigLoaded(ConfigLoaded {
                policy: self.handle.settings().policy_id.clone().into(),
                source: self.config.source.to_string(),
                warnings: std::mem::take(&mut warnings),
                effective: Some(part),
            }));
        }
        self.audit
            .record_inventory(inventory::of(&self.config.policy, Timestamp::now()));
    }

    /// Reads the configuration, and takes the whole of it or nothing.
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
                let rejected = ConfigRejected {
                    source: self.config.source.to_string(),
                    error: error.clone(),
                };
                self.health.reloaded(Some(error));
                self.metrics.reloaded(false);
                self.audit.relay_event(Data::ConfigRejected(rejected));
            }
        }
        self.supervision.serving();
    }

    /// Adds to the error of a reload that a file was replaced and can't be read in the sandbox,
    /// where that is so.
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
            // The log gets the report with its excerpt of the file. Record and status get one line.
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
        // All that can fail is done. From here on the new configuration replaces the old one.
        report_expiry(&certificates, &self.metrics);
        self.config = new;
        Ok(self.apply(certificates, resolver, old.generation + 1))
    }

    /// Ends report-only: the same policy now refuses what it let through.
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
        // It waits a moment longer, so that the clock which decides has passed `until`.
        Some(Instant::now() + left + Duration::from_millis(10))
    }

    /// Announces, once, that the relay is draining: on /readyz, in the metrics, and to the service
    /// manager.
    pub(super) fn draining(&self) {
        if self.health.draining() {
            self.metrics.draining.set(1);
            let around = ANNOUNCE + TUNNELS_CLOSE + TRAIL_ENDS;
            let within = around.saturating_add(self.config.timeouts.drain);
            self.supervision.draining(within);
        }
    }

    /// Announces the end, and goes on accepting for a while, because a load balancer needs a moment
    /// to notice. Tells whether an instruction came to end the tunnels at once.
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

    /// Lets the tunnels end by themselves within `drain`, or at once when `hurried`, and then ends
    /// the rest. Gives the number of tunnels that it ended.
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
        let _ = timeout(TUNNELS_CLOSE, self.accepting.idle()).await;
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
const TUNNELS_CLOSE: Duration = Duration::from_secs(2);
/// How long the end of the trail may take to be written and shipped.
const TRAIL_ENDS: Duration = Duration::from_secs(10);
