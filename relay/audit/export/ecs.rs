//! The Elastic Common Schema: its fields where it has one that means the same, and `callhome_relay.*` for the rest.

use serde_json::{Map, Value, json};

use super::word;
use crate::audit::entry::Entry;
use crate::audit::record::{Decision, Event, Outcome};
use crate::audit::text;

pub(super) fn line(entry: &Entry) -> Option<String> {
    let mut document = json!({
        "@timestamp": format!("{:.6}", entry.time),
        "ecs": {"version": VERSION},
        "event": event(entry),
        "observer": {"name": entry.relay, "product": "callhome-relay", "type": "proxy"},
        "callhome_relay": {"trail": entry.trail},
    });
    match entry.client {
        Some(_) => add_session(&mut document, entry),
        None => document["callhome_relay"]["data"] = entry.data.clone().unwrap_or_default(),
    }
    prune(&mut document);
    text::json_line(&document).ok()
}

fn event(entry: &Entry) -> Value {
    let (category, types) = classify(entry);
    let is_session = entry.client.is_some();
    json!({
        "kind": "event",
        "module": "callhome_relay",
        "dataset": "callhome_relay.audit",
        "action": word(&entry.event),
        "category": [category],
        "type": types,
        "outcome": outcome(entry),
        "reason": entry.reason,
        "duration": is_session.then(|| nanoseconds(entry.duration_ms)),
        "sequence": entry.seq,
        "hash": entry.hash,
    })
}

/// The allowed values of `event.category`, and of `event.type` for it.
fn classify(entry: &Entry) -> (&'static str, Vec<&'static str>) {
    let verdict = match entry.decision {
        Some(Decision::Allow) => Some("allowed"),
        Some(Decision::Deny) => Some("denied"),
        None => None,
    };
    let session = |kind| {
        let types = ["connection", kind].into_iter().chain(verdict).collect();
        ("network", types)
    };
    match entry.event {
        Event::TunnelOpened => session("start"),
        Event::TunnelProgress => session("info"),
        Event::TunnelClosed | Event::TunnelLost | Event::RequestDenied | Event::RequestFailed => {
            session("end")
        }
        Event::Refusals => ("network", vec!["connection", "denied"]),
        Event::RelayStarted => ("process", vec!["start"]),
        Event::RelayStopped => ("process", vec!["end"]),
        Event::ConfigLoaded => ("configuration", vec!["change"]),
        Event::ConfigRejected => ("configuration", vec!["info"]),
        Event::Checkpoint | Event::AuditGap => ("file", vec!["info"]),
        Event::TrailPruned => ("file", vec!["deletion"]),
        Event::ClockStepped => ("host", vec!["change"]),
    }
}

fn outcome(entry: &Entry) -> &'static str {
    match (entry.event, entry.outcome) {
        (_, Some(Outcome::Refused | Outcome::Failed | Outcome::Abandoned))
        | (Event::ConfigRejected | Event::AuditGap | Event::Refusals, _) => "failure",
        (_, Some(Outcome::Lost)) => "unknown",
        _ => "success",
    }
}

fn add_session(document: &mut Value, entry: &Entry) {
    let Some(client) = &entry.client else { return };
    let target = &entry.target;
    // A host that is an address is no domain.
    let domain = target
        .host
        .as_deref()
        .filter(|_| target.literal().is_none());
    document["source"] = json!({
        "address": client.address,
        "ip": client.address,
        "port": client.port,
        "bytes": entry.bytes_up,
    });
    document["destination"] = json!({
        "address": target.host,
        "domain": domain,
        "ip": target.address,
        "port": target.port,
        "bytes": entry.bytes_down,
    });
    document["network"] = json!({
        "transport": "tcp",
        "direction": "outbound",
        "bytes": entry.bytes_up.saturating_add(entry.bytes_down),
    });
    document["url"] = json!({"original": target.raw, "domain": domain, "port": target.port});
    document["tls"]["client"]["server_name"] =
        json!(entry.tls.as_ref().and_then(|tls| tls.sni.as_deref()));
    document["rule"] = json!({"name": entry.destination, "version": entry.policy});
    document["error"] = json!({"message": entry.error});
    let ips: Vec<_> = [Some(client.address), client.via, target.address]
        .into_iter()
        .flatten()
        .collect();
    document["related"] = json!({"ip": ips, "hosts": domain.map(|domain| [domain])});
    let own = &mut document["callhome_relay"];
    own["session"] = json!(entry.session);
    own["listener"] = json!(entry.listener);
    own["client"] = json!({
        "name": client.name,
        "role": client.role,
        "certificate": client.certificate,
        "via": client.via,
    });
    own["target"] = json!({
        "raw_length": target.raw_length,
        "address_source": target.address_source,
    });
    own["upstream_local"] = json!(entry.upstream_local);
    own["decision"] = json!(entry.decision);
    own["enforced"] = json!(entry.enforced);
    own["outcome"] = json!(entry.outcome);
    own["closed_by"] = json!(entry.closed_by);
    own["dns_ms"] = json!(entry.dns_ms);
    own["connect_ms"] = json!(entry.connect_ms);
    if let Some(tls) = &entry.tls {
        own["tls"] = json!({"alpn": tls.alpn, "versions": tls.versions, "ech": tls.ech});
    }
}

/// Takes out what is null, and objects that have nothing left: ECS has no fields without a value.
fn prune(value: &mut Value) {
    if let Value::Object(members) = value {
        for member in members.values_mut() {
            prune(member);
        }
        members.retain(|_, member| !member.is_null() && member.as_object().is_none_or(has_any));
    }
}

fn has_any(members: &Map<String, Value>) -> bool {
    !members.is_empty()
}

/// `event.duration` is in nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and no duration is negative"
)]
fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6).round() as u64
}

const VERSION: &str = "8.17.0";
