//! The metrics of each client. Their label is the name of a listed client, or `unlisted` for all
//! others, so that the configuration bounds them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::ClientLabels;

#[derive(Debug, Default)]
pub struct ClientMetrics {
    listed: Mutex<BTreeSet<String>>,
    tunnels: Family<ClientLabels, Counter>,
    uploads: Family<ClientLabels, Counter>,
    refusals: Family<ClientLabels, Counter>,
    last_upload: Family<ClientLabels, Gauge>,
}

impl ClientMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "client_tunnels",
            "Tunnels opened, by client",
            self.tunnels.clone(),
        );
        registry.register(
            "client_uploads",
            "Tunnels that probably carried an upload, by client",
            self.uploads.clone(),
        );
        registry.register(
            "client_refusals",
            "Requests denied or failed, by client",
            self.refusals.clone(),
        );
        registry.register_with_unit(
            "client_last_upload",
            "When the last probable upload of a client began, since 1970; 0 if none is known",
            Unit::Seconds,
            self.last_upload.clone(),
        );
    }

    /// Takes the names of a configuration. The series of other clients end.
    pub fn list<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut listed = self.listed();
        let before = std::mem::replace(&mut *listed, names.map(str::to_owned).collect());
        for gone in before.difference(&listed) {
            let labels = labels_of(gone);
            for family in [&self.tunnels, &self.uploads, &self.refusals] {
                family.remove(&labels);
            }
            self.last_upload.remove(&labels);
        }
        // A series that exists from the start can have an alert before its first event.
        for name in listed.iter().map(String::as_str).chain([UNLISTED]) {
            for family in [&self.tunnels, &self.uploads, &self.refusals] {
                let _ = family.get_or_create(&labels_of(name));
            }
        }
    }

    pub fn lists(&self, client: &str) -> bool {
        self.listed().contains(client)
    }

    pub fn tunnel(&self, client: Option<&str>) {
        count(&self.tunnels, &self.labels(client));
    }

    pub fn upload(&self, client: Option<&str>) {
        count(&self.uploads, &self.labels(client));
    }

    pub fn refused(&self, client: Option<&str>) {
        count(&self.refusals, &self.labels(client));
    }

    /// Notes the time of an upload, in seconds since 1970, unless a later one is known.
    ///
    /// A time in the future came from a wrong clock, and would hide all uploads until then.
    pub fn uploaded(&self, client: Option<&str>, at: i64, now: i64) {
        let last = self.last_upload.get_or_create(&self.labels(client));
        let known = last.get();
        if known < at || known > now {
            last.set(at);
        }
    }

    /// Whether a time is known, or it is known that there was none.
    pub fn knows_last_upload(&self, client: &str) -> bool {
        self.last_upload.get(&labels_of(client)).is_some()
    }

    fn labels(&self, client: Option<&str>) -> ClientLabels {
        let listed = self.listed();
        labels_of(
            client
                .filter(|name| listed.contains(*name))
                .unwrap_or(UNLISTED),
        )
    }

    fn listed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // No code panics under the lock.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(family: &Family<ClientLabels, Counter>, labels: &ClientLabels) {
    family.get_or_create(labels).inc();
}

fn labels_of(client: &str) -> ClientLabels {
    ClientLabels {
        client: client.to_owned(),
    }
}

/// The label of every client that the configuration doesn't list.
const UNLISTED: &str = "unlisted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_outside_of_the_configuration_becomes_a_label() {
        let metrics = ClientMetrics::default();
        metrics.list(["a", "b"].into_iter());
        for name in [Some("a"), Some("stranger"), None] {
            metrics.tunnel(name);
        }
        metrics.list(["b"].into_iter());
        // Its tunnel may outlive the client in the configuration.
        metrics.upload(Some("a"));
        let count = |family: &Family<ClientLabels, Counter>, name| {
            family.get(&labels_of(name)).map(|counter| counter.get())
        };
        assert_eq!(count(&metrics.tunnels, "a"), None);
        assert_eq!(count(&metrics.uploads, "a"), None);
        assert_eq!(count(&metrics.tunnels, "b"), Some(0));
        assert_eq!(count(&metrics.tunnels, UNLISTED), Some(2));
        assert_eq!(count(&metrics.uploads, UNLISTED), Some(1));
    }

    #[test]
    fn a_wrong_clock_hides_no_later_upload() {
        let metrics = ClientMetrics::default();
        metrics.list(["a"].into_iter());
        let last = || metrics.last_upload.get(&labels_of("a")).unwrap().get();
        metrics.uploaded(Some("a"), 1000, 1000);
        metrics.uploaded(Some("a"), 900, 1001);
        assert_eq!(last(), 1000);
        metrics.uploaded(Some("a"), 90_000, 90_000);
        metrics.uploaded(Some("a"), 1100, 1100);
        assert_eq!(last(), 1100);
    }
}
