//! Histories of clients, made of records in memory. Each test says what time it is.

mod histories;
mod property;
mod rows;
mod trails;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::clock::plus;
use super::*;
use crate::data::TextPart;

/// The time so many hours after the begin of these histories.
pub(super) fn at(hours: f64) -> Timestamp {
    let begin = "2026-11-01T00:00:00Z".parse().unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "these histories last a few years"
    )]
    let milliseconds = (hours * 3_600_000.0).round() as i64;
    plus(begin, SignedDuration::from_millis(milliseconds))
}

pub(super) fn day(days: f64) -> Timestamp {
    at(days * 24.0)
}

pub(super) const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A relay, which writes a trail as the test tells it.
pub(super) struct Relay {
    pub(super) trail: &'static str,
    pub(super) name: &'static str,
    pub(super) seq: u64,
    pub(super) records: Vec<Record>,
}

/// A client as an inventory has it.
pub(super) fn listed(name: &str, since: Timestamp) -> Value {
    json!({
        "name": name, "formerly": [], "role": "zvm", "version": "9.7", "since": since,
        "sources": ["10.0.0.1/32"], "certificate_names": [], "expect_every": 86400,
        "calls_home": true,
    })
}

pub(super) fn with(mut value: Value, key: &str, member: impl Into<Value>) -> Value {
    value[key] = member.into();
    value
}

impl Relay {
    pub(super) fn new(trail: &'static str, name: &'static str) -> Self {
        Self {
            trail,
            name,
            seq: 1,
            records: Vec::new(),
        }
    }

    /// A relay that lists `zvm`, which calls home daily, since day 0.
    pub(super) fn of_zvm() -> Self {
        let mut relay = Self::new("t-1", "dmz-1");
        relay.inventory(day(0.0), &[listed("zvm", day(0.0))]);
        relay
    }

    pub(super) fn event(&mut self, event: &str, time: Timestamp, members: &Value) -> &mut Self {
        let mut record = json!({
            "trail": self.trail, "seq": self.seq, "time": time, "relay": self.name,
            "event": event, "hash": "",
        });
        let members = members.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(members);
        self.records.push(serde_json::from_value(record).unwrap());
        self.seq += 1;
        self
    }

    pub(super) fn inventory(&mut self, time: Timestamp, clients: &[Value]) -> &mut Self {
        let billing = |name: &str, host: &str, versions: &str| {
            json!({
                "name": name, "hosts": [host], "purpose": "billing", "versions": versions,
                "upload_min_bytes": 1024,
            })
        };
        let destinations = [
            billing("billing-9", "ch3.zerto.com", ">=9"),
            billing("billing-8", "autologs.zerto.com", "<9"),
            json!({"name": "licensing", "hosts": ["zapps.zerto.com"], "purpose": "other", "versions": null, "upload_min_bytes": 1024}),
        ];
        let text = json!({"clients": clients, "destinations": destinations}).to_string();
        for part in TextPart::of(&text) {
            let data = serde_json::to_value(part).unwrap();
            self.event("inventory", time, &json!({"data": data}));
        }
        self
    }

    /// A session of `zvm` to its billing host. `members` replace what it has.
    pub(super) fn session(&mut self, event: &str, time: Timestamp, members: &Value) -> &mut Self {
        let mut session = json!({
            "session": format!("s-{:08}", self.seq),
            "client": {"address": "10.0.0.1", "port": 1, "via": null, "certificate": null, "name": "zvm", "role": "zvm"},
            "target": {"raw": null, "raw_length": 0, "host": "ch3.zerto.com", "port": 443, "address": null, "address_source": null},
            "destination": "billing-9", "decision": "allow", "enforced": true, "billing": true,
            "duration_ms": 0.0,
        });
        merge(&mut session, members);
        self.event(event, time, &session)
    }

    pub(super) fn closed(&mut self, time: Timestamp, upload: &str) -> &mut Self {
        let members =
            json!({"upload": upload, "bytes_up": 5123, "bytes_down": 2211, "outcome": "closed"});
        self.session("tunnel_closed", time, &members)
    }

    pub(super) fn upload(&mut self, time: Timestamp) -> &mut Self {
        self.closed(time, "probable")
    }

    pub(super) fn denied(&mut self, time: Timestamp, reason: &str) -> &mut Self {
        let members = json!({"decision": "deny", "reason": reason, "outcome": "refused"});
        self.session("request_denied", time, &members)
    }

    pub(super) fn failed(&mut self, time: Timestamp, reason: &str) -> &mut Self {
        let members = json!({"reason": reason, "outcome": "failed"});
        self.session("request_failed", time, &members)
    }

    /// Uploads once a day from one day to another, both included.
    pub(super) fn daily(&mut self, from: u32, to: u32) -> &mut Self {
        for n in from..=to {
            self.upload(day(f64::from(n)));
        }
        self
    }

    /// The relay writes its hourly checkpoint at this time, so that it isn't silent then.
    pub(super) fn runs(&mut self, time: Timestamp) -> &mut Self {
        self.event("checkpoint", time, &json!({"data": {}}))
    }
}

pub(super) fn merge(value: &mut Value, members: &Value) {
    for (key, member) in members.as_object().unwrap() {
        if member.is_object() && value[key].is_object() {
            merge(&mut value[key], member);
        } else {
            value[key] = member.clone();
        }
    }
}

/// A member `client` that has no name.
pub(super) fn stranger(address: &str) -> Value {
    json!({"address": address, "port": 1, "via": null, "certificate": null, "name": null, "role": null})
}

/// Reads trails, one after the other, at one time. On the way it is stored and loaded, as a reader
/// that goes on later does.
pub(super) fn facts(relays: &[&Relay], now: Timestamp) -> Vec<Facts> {
    let mut fleet = Fleet::default();
    for relay in relays {
        for (record, n) in relay.records.iter().zip(0..) {
            if n == relay.records.len() / 2 {
                let snapshot = serde_json::to_string(&fleet).unwrap();
                fleet = serde_json::from_str(&snapshot).unwrap();
            }
            fleet.take(record, now);
        }
    }
    fleet.facts(now)
}

/// What is known of one client, while every relay runs.
pub(super) fn of(name: &str, relays: &mut [Relay], now: Timestamp) -> Facts {
    for relay in &mut *relays {
        relay.runs(now);
    }
    let relays: Vec<_> = relays.iter().collect();
    let all = facts(&relays, now);
    let found = all.iter().find(|facts| facts.name == name);
    let found = found.unwrap_or_else(|| panic!("no {name}: {all:#?}"));
    let json = serde_json::to_string(found).unwrap();
    assert_eq!(&serde_json::from_str::<Facts>(&json).unwrap(), found);
    found.clone()
}

/// The state and the cause of `zvm`, while its relay runs.
pub(super) fn zvm(mut relay: Relay, now: Timestamp) -> (State, String) {
    let facts = of("zvm", std::slice::from_mut(&mut relay), now);
    judged(&facts, now)
}

pub(super) fn judged(facts: &Facts, now: Timestamp) -> (State, String) {
    (state(facts, now), cause(facts, now).to_string())
}

/// Asserts a state, and a part of the cause.
#[track_caller]
pub(super) fn assert_is((state, cause): (State, String), expected: State, words: &str) {
    assert_eq!(state, expected, "{cause}");
    assert!(cause.contains(words), "{words:?} isn't in {cause:?}");
}
