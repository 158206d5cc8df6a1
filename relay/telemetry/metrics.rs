//! The metrics of `/metrics` (OpenMetrics text), in one table.

use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::clients::ClientMetrics;
use super::labels::{
    ByteDirection, ClosedLabels, DirectionLabels, ListenerLabels, NoLabels, ReasonLabel,
    ReasonLabels, ReloadLabels, ServerLabels,
};
use crate::proxy_error::Reason;

/// Every metric of the relay.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub connections: Counter,
    pub connections_open: Gauge,
    pub connections_silent: Counter,
    pub connections_turned_away: Counter,
    pub accept_errors: Counter,
    pub pages: Counter,
    pub tunnels: Counter,
    pub tunnels_open: Gauge,
    tunnels_closed: Family<ClosedLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    pub clients: ClientMetrics,
    bytes: Family<DirectionLabels, Counter>,
    resolve: Histogram,
    connect: Histogram,
    duration: Histogram,
    pub audit_records: Counter,
    pub audit_failures: Counter,
    pub audit_available: Gauge,
    audit_capacity: Family<NoLabels, Gauge>,
    shipped: Family<ServerLabels, Counter>,
    ship_lag: Family<ServerLabels, Gauge>,
    ship_missed: Family<ServerLabels, Counter>,
    ship_unconfirmed: Family<ServerLabels, Gauge>,
    ship_up: Family<ServerLabels, Gauge>,
    certificate_not_after: Family<ListenerLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    pub policy_generation: Gauge,
    pub draining: Gauge,
    pub session_panics: Counter,
}

/// The metrics of shipping the trail to one server.
#[derive(Clone, Debug, Default)]
pub struct Shipping {
    /// Records sent, repeats included.
    pub shipped: Counter,
    /// Records that wait to be sent.
    pub lag: Gauge,
    /// Records that can't be sent.
    pub missed: Counter,
    /// Records sent that may not have arrived.
    pub unconfirmed: Gauge,
    pub up: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let seconds = |bounds: &[f64]| Histogram::new(bounds.iter().copied());
        let mut metrics = Self {
            registry: Registry::with_prefix("callhome_relay"),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            connections_silent: Counter::default(),
            connections_turned_away: Counter::default(),
            accept_errors: Counter::default(),
            pages: Counter::default(),
            tunnels: Counter::default(),
            tunnels_open: Gauge::default(),
            tunnels_closed: Family::default(),
            refusals: Family::default(),
            clients: ClientMetrics::default(),
            bytes: Family::default(),
            resolve: seconds(NETWORK_SECONDS),
            connect: seconds(NETWORK_SECONDS),
            duration: seconds(TUNNEL_SECONDS),
            audit_records: Counter::default(),
            audit_failures: Counter::default(),
            audit_available: Gauge::default(),
            audit_capacity: Family::default(),
            shipped: Family::default(),
            ship_lag: Family::default(),
            ship_missed: Family::default(),
            ship_unconfirmed: Family::default(),
            ship_up: Family::default(),
            certificate_not_after: Family::default(),
            reloads: Family::default(),
            policy_generation: Gauge::default(),
            draining: Gauge::default(),
            session_panics: Counter::default(),
        };
        metrics.register();
        metrics
    }

    #[expect(clippy::too_many_lines, reason = "one table: name, help and metric")]
    fn register(&mut self) {
        let r = &mut self.registry;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        r.register("build", "The running version", Info::new(version.to_vec()));
        r.register(
            "connections",
            "Connections accepted",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Connections in any state",
            self.connections_open.clone(),
        );
        r.register(
            "connections_silent",
            "Connections that ended without a byte, as health probes do",
            self.connections_silent.clone(),
        );
        r.register(
            "connections_turned_away",
            "Connections over a connection limit",
            self.connections_turned_away.clone(),
        );
        r.register(
            "accept_errors",
            "Failed accept calls",
            self.accept_errors.clone(),
        );
        r.register("pages", "Answers to GET and HEAD", self.pages.clone());
        r.register("tunnels", "Tunnels opened", self.tunnels.clone());
        r.register(
            "tunnels_open",
            "Tunnels open now",
            self.tunnels_open.clone(),
        );
        r.register(
            "tunnels_closed",
            "Tunnels closed, by what closed them",
            self.tunnels_closed.clone(),
        );
        r.register(
            "refusals",
            "Requests denied or failed, by reason",
            self.refusals.clone(),
        );
        self.clients.register(r);
        r.register_with_unit("relayed", "Bytes relayed", Unit::Bytes, self.bytes.clone());
        r.register_with_unit(
            "resolve",
            "Name resolution",
            Unit::Seconds,
            self.resolve.clone(),
        );
        r.register_with_unit(
            "connect",
            "Connecting upstream",
            Unit::Seconds,
            self.connect.clone(),
        );
        r.register_with_unit(
            "tunnel_duration",
            "Life of a tunnel",
            Unit::Seconds,
            self.duration.clone(),
        );
        r.register(
            "audit_records",
            "Records written to the trail",
            self.audit_records.clone(),
        );
        r.register(
            "audit_failures",
            "Failed writes to the trail",
            self.audit_failures.clone(),
        );
        r.register(
            "audit_available",
            "1 while the trail takes records",
            self.audit_available.clone(),
        );
        r.register_with_unit(
            "audit_capacity",
            "How long the trail holds at the last week's rate, once it has a day of history",
            Unit::Seconds,
            self.audit_capacity.clone(),
        );
        r.register(
            "audit_shipped",
            "Records sent to the syslog server, repeats included",
            self.shipped.clone(),
        );
        r.register(
            "audit_ship_lag",
            "Records that wait to be sent to the syslog server",
            self.ship_lag.clone(),
        );
        r.register(
            "audit_ship_missed",
            "Records that can't be sent to the syslog server: pruned before, unreadable, or too long for a datagram",
            self.ship_missed.clone(),
        );
        r.register(
            "audit_ship_unconfirmed",
            "Records sent of which it isn't known that the syslog server read them",
            self.ship_unconfirmed.clone(),
        );
        r.register(
            "audit_ship_up",
            "1 while the syslog server takes records",
            self.ship_up.clone(),
        );
        r.register_with_unit(
            "listener_certificate_not_after",
            "When the certificate of a listener ends, since 1970",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        r.register("config_reloads", "Reloads by result", self.reloads.clone());
        r.register(
            "policy_generation",
            "Counts up with each policy",
            self.policy_generation.clone(),
        );
        r.register(
            "draining",
            "1 from the signal to the end",
            self.draining.clone(),
        );
        r.register(
            "session_panics",
            "Sessions ended by a defect",
            self.session_panics.clone(),
        );
        // A series that exists from the start can have an alert before its first event.
        for reason in Reason::ALL {
            let labels = ReasonLabels {
                reason: ReasonLabel(*reason),
            };
            let _ = self.refusals.get_or_create(&labels);
        }
        for result in [true, false] {
            let _ = self.reloads.get_or_create(&ReloadLabels::from(result));
        }
    }

    pub fn refused(&self, reason: Reason) {
        let labels = ReasonLabels {
            reason: ReasonLabel(reason),
        };
        self.refusals.get_or_create(&labels).inc();
    }

    pub fn tunnel_closed(&self, by: &'static str, duration: Duration) {
        self.tunnels_closed
            .get_or_create(&ClosedLabels { by })
            .inc();
        self.duration.observe(duration.as_secs_f64());
    }

    pub fn relayed(&self, direction: ByteDirection, bytes: u64) {
        self.bytes.get_or_create(&direction.into()).inc_by(bytes);
    }

    pub fn resolved(&self, took: Duration) {
        self.resolve.observe(took.as_secs_f64());
    }

    pub fn connected(&self, took: Duration) {
        self.connect.observe(took.as_secs_f64());
    }

    /// Records when the certificate of a listener ends, in seconds since 1970.
    pub fn certificate(&self, listener: &str, not_after: i64) {
        let labels = ListenerLabels {
            listener: listener.to_owned(),
        };
        self.certificate_not_after
            .get_or_create(&labels)
            .set(not_after);
    }

    /// Records how long the trail holds. Until then there is no series, which would look like an
    /// empty trail or an endless one.
    pub fn audit_capacity(&self, holds: Duration) {
        let seconds = i64::try_from(holds.as_secs()).unwrap_or(i64::MAX);
        self.audit_capacity.get_or_create(&[]).set(seconds);
    }

    /// Gives the metrics of a syslog server. Without a server there are none.
    pub fn shipping(&self, server: &str) -> Shipping {
        let labels = ServerLabels {
            server: server.to_owned(),
        };
        Shipping {
            shipped: self.shipped.get_or_create(&labels).clone(),
            lag: self.ship_lag.get_or_create(&labels).clone(),
            missed: self.ship_missed.get_or_create(&labels).clone(),
            unconfirmed: self.ship_unconfirmed.get_or_create(&labels).clone(),
            up: self.ship_up.get_or_create(&labels).clone(),
        }
    }

    pub fn reloaded(&self, accepted: bool) {
        self.reloads
            .get_or_create(&ReloadLabels::from(accepted))
            .inc();
    }

    /// Writes the text of `/metrics`.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a `String` fails only when an encoder does. The text until then is still true.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

const NETWORK_SECONDS: &[f64] = &[
    0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const TUNNEL_SECONDS: &[f64] = &[0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_under_their_names() {
        let metrics = Metrics::new();
        metrics.refused(Reason::PortNotAllowed);
        metrics.relayed(ByteDirection::Up, 42);
        metrics.tunnel_closed("client", Duration::from_secs(2));
        metrics.reloaded(false);
        assert!(!metrics.encode().contains("audit_capacity_seconds "));
        metrics.audit_capacity(Duration::from_hours(24));
        let text = metrics.encode();
        for line in [
            "callhome_relay_refusals_total{reason=\"port_not_allowed\"} 1",
            "callhome_relay_refusals_total{reason=\"sni_mismatch\"} 0",
            "callhome_relay_relayed_bytes_total{direction=\"up\"} 42",
            "callhome_relay_tunnels_closed_total{by=\"client\"} 1",
            "callhome_relay_audit_capacity_seconds 86400",
            "callhome_relay_config_reloads_total{result=\"rejected\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
