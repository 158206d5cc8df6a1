//! The Elastic Common Schema (ECS): its own field where one means the same, and `callhome_relay.*`
//! for the rest.

use serde_json::{Map, Value, json};

use super::word;
use crate::counted::Counted;
use crate::harmless;
use crate::record::Record;
use crate::words::{Decision, Event, Outcome};

pub(super) fn line(record: &Record) -> Option<String> {
    let mut document = json!({
        "@timestamp": format!("{:.6}", record.time),
        "ecs": {"version": VERSION},
        "event": event(record),
        "observer": {"name": record.relay, "product": "callhome-relay", "type": "proxy"},
        "callhome_relay": {"trail": record.trail},
    });
    if record.client.is_some() {
        add_session(&mut document, record);
    } else {
        document["callhome_relay"]["data"] = record.data().unwrap_or_default();
        add_counted(&mut document, record);
    }
    prune(&mut document);
    harmless::json_line(&document).ok()
}

fn event(record: &Record) -> Value {
    let (category, types) = classify(record);
    let is_session = record.client.is_some();
    json!({
        "kind": "event",
        "module": "callhome_relay",
        "dataset": "callhome_relay.audit",
        "action": word(&record.event),
        "category": [category],
        "type": types,
        "outcome": outcome(record),
        "reason": record.reason,
        "duration": is_session.then(|| nanoseconds(record.duration_ms.0)),
        "sequence": record.seq,
        "hash": record.hash,
    })
}

/// The allowed values of `event.category`, and of `event.type` for it.
fn classify(record: &Record) -> (&'static str, Vec<&'static str>) {
    let verdict = match record.decision {
        Some(Decision::Allow) => Some("allowed"),
        Some(Decision::Deny) => Some("denied"),
        None => None,
    };
    let session = |kind| {
        let types = ["connection", kind].into_iter().chain(verdict).collect();
        ("network", types)
    };
    match record.event {
        Event::TunnelOpened => session("start"),
        Event::TunnelProgress => session("info"),
        Event::TunnelClosed | Event::TunnelLost | Event::RequestDenied | Event::RequestFailed => {
            session("end")
        }
        Event::Refusals => ("network", vec!["connection", "denied"]),
        Event::RelayStarted => ("process", vec!["start"]),
        Event::RelayStopped => ("process", vec!["end"]),
        Event::ConfigLoaded => ("configuration", vec!["change"]),
        Event::ConfigRejected | Event::Inventory => ("configuration", vec!["info"]),
        Event::Checkpoint | Event::AuditGap => ("file", vec!["info"]),
        Event::TrailPruned => ("file", vec!["deletion"]),
        Event::ClockStepped | Event::ClockConfirmed => ("host", vec!["change"]),
    }
}

fn outcome(record: &Record) -> &'static str {
    match (record.event, record.outcome) {
        (_, Some(Outcome::Refused | Outcome::Failed | Outcome::Abandoned))
        | (Event::ConfigRejected | Event::AuditGap | Event::Refusals, _) => "failure",
        (_, Some(Outcome::Lost)) => "unknown",
        _ => "success",
    }
}

fn add_session(document: &mut Value, record: &Record) {
    let Some(client) = &record.client else { return };
    let target = &record.target;
    // A host that is an address isn't a domain.
    let domain = target
        .host
        .as_deref()
        .filter(|_| target.literal().is_none());
    document["source"] = json!({
        "address": client.address,
        "ip": client.address,
        "port": client.port,
        "bytes": record.bytes_up,
    });
    document["destination"] = json!({
        "address": target.host,
        "domain": domain,
        "ip": target.address,
        "port": target.port,
        "bytes": record.bytes_down,
    });
    document["network"] = json!({
        "transport": "tcp",
        "direction": "outbound",
        "bytes": record.bytes_up.saturating_add(record.bytes_down),
    });
    document["url"] = json!({"original": target.raw, "domain": domain, "port": target.port});
    document["tls"]["client"]["server_name"] =
        json!(record.tls.as_ref().and_then(|tls| tls.sni.as_deref()));
    document["rule"] = json!({"name": record.destination, "version": record.policy});
    document["error"] = json!({"message": record.error});
    let ips: Vec<_> = [Some(client.address), client.via, target.address]
        .into_iter()
        .flatten()
        .collect();
    document["related"] = json!({"ip": ips, "hosts": domain.map(|domain| [domain])});
    let own = &mut document["callhome_relay"];
    own["session"] = json!(record.session);
    own["listener"] = json!(record.listener);
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
    own["upstream_local"] = json!(record.upstream_local);
    own["decision"] = json!(record.decision);
    own["enforced"] = json!(record.enforced);
    own["outcome"] = json!(record.outcome);
    own["closed_by"] = json!(record.closed_by);
    own["dns_ms"] = json!(record.dns_ms);
    own["connect_ms"] = json!(record.connect_ms);
    if let Some(tls) = &record.tls {
        own["tls"] = json!({"alpn": tls.alpn, "versions": tls.versions, "ech": tls.ech});
    }
}

/// Adds whose requests were counted together, so that a search for the address finds them.
fn add_counted(document: &mut Value, record: &Record) {
    let Some(counted) = Counted::of(record) else {
        return;
    };
    document["source"] = json!({"address": counted.address, "ip": counted.address});
    document["related"] = json!({"ip": [counted.address]});
    document["callhome_relay"]["client"] = json!({"name": counted.client});
}

/// Removes members that are null and objects that are then empty, because ECS has no fields without
/// a value.
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
