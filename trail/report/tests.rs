use serde_json::{Value, json};

use super::*;
use crate::words::Decision;

fn record(event: &str, time: &str, members: &Value) -> Record {
    let mut record = json!({
        "trail": "t", "seq": 1, "time": time, "relay": "dmz-1", "event": event, "hash": "",
    });
    let members = members.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(members);
    serde_json::from_value(record).unwrap()
}

fn client(name: Option<&str>, address: &str) -> Value {
    json!({"address": address, "port": 1, "via": null, "certificate": null, "name": name, "role": null})
}

fn tunnel(time: &str, bytes_up: u64) -> Record {
    let members = json!({
        "client": client(Some("zvm-1"), "10.0.0.1"),
        "destination": "billing",
        "decision": "allow",
        "enforced": true,
        "bytes_up": bytes_up,
        "bytes_down": 7,
    });
    record("tunnel_closed", time, &members)
}

fn refusal(name: Option<&str>, address: &str, reason: &str) -> Record {
    let members = json!({"client": client(name, address), "decision": "deny", "reason": reason});
    record("request_denied", "2026-11-10T00:00:00Z", &members)
}

fn bulk(address: &str, count: u64) -> Record {
    let data = json!({"address": address, "since": "", "count": count, "reasons": {"rate_limited": count}});
    record("refusals", "2026-11-10T00:00:00Z", &json!({"data": data}))
}

/// A record of requests that policy allowed and that were counted together.
fn bulk_of_failures(address: &str, count: u64) -> Record {
    let reasons = json!({"connection_refused": count, "port_not_allowed": 1});
    let data = json!({"address": address, "since": "", "count": count + 1, "reasons": reasons});
    record("refusals", "2026-11-10T00:00:00Z", &json!({"data": data}))
}

fn report(trails: &[&[Record]]) -> Report {
    let mut builder = Builder::new("2026-11".parse().unwrap());
    for entries in trails {
        builder.begin(String::new());
        entries.iter().for_each(|record| builder.add(record));
    }
    builder.finish()
}

#[test]
fn an_upload_is_a_tunnel_that_carried_bytes_up() {
    let report = report(&[&[
        tunnel("2026-10-31T23:59:59.999Z", 1),
        tunnel("2026-11-02T10:00:00Z", 100),
        tunnel("2026-11-02T11:00:00Z", 0),
        tunnel("2026-11-05T12:00:00Z", 50),
        tunnel("2026-12-01T00:00:00Z", 1),
    ]]);
    let [row] = report.rows.as_slice() else {
        panic!("{:#?}", report.rows);
    };
    assert_eq!((row.tunnels, row.uploads), (3, 2));
    assert_eq!((row.bytes_up, row.bytes_down), (150, 21));
    assert_eq!(row.first_upload, "2026-11-02T10:00:00Z".parse().ok());
    assert_eq!(row.last_upload, "2026-11-05T12:00:00Z".parse().ok());
    assert_eq!(report.days_covered, 30);
    assert_eq!(row.days_without_upload.as_ref().unwrap().len(), 28);
    assert_eq!(row.longest_without_upload, Some(25));
    assert_eq!(row.days.len(), 2);
    assert_eq!(row.days[0].bytes_up, 100);
    let trail = &report.trails[0];
    assert_eq!((trail.all.records, trail.in_month.records), (5, 3));
}

#[test]
fn a_day_that_no_trail_covers_is_no_day_without() {
    let first = [
        tunnel("2026-11-03T00:00:00Z", 1),
        tunnel("2026-11-05T00:00:00Z", 1),
    ];
    // The second relay took over after a week of which neither has records.
    let second = [
        tunnel("2026-11-12T00:00:00Z", 0),
        tunnel("2026-11-13T00:00:00Z", 1),
    ];
    let report = report(&[&second, &first]);
    assert_eq!(report.days_covered, 5);
    let row = &report.rows[0];
    let without: Vec<_> = row.days_without_upload.iter().flatten().collect();
    assert_eq!(
        without.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["2026-11-04", "2026-11-12"]
    );
    assert_eq!(row.longest_without_upload, Some(1));
    assert_eq!(row.first_upload, "2026-11-03T00:00:00Z".parse().ok());
    assert_eq!(row.last_upload, "2026-11-13T00:00:00Z".parse().ok());
}

#[test]
fn what_was_not_served_is_counted_by_reason() {
    let abandoned = record(
        "request_failed",
        "2026-11-10T00:00:00Z",
        &json!({"client": client(Some("zvm-1"), "10.0.0.1"), "decision": "allow", "outcome": "abandoned"}),
    );
    let report = report(&[&[
        refusal(Some("zvm-1"), "10.0.0.1", "port_not_allowed"),
        refusal(Some("zvm-1"), "10.0.0.1", "port_not_allowed"),
        refusal(None, "10.0.0.9", "destination_not_allowed"),
        abandoned,
        bulk("10.0.0.1", 500),
        bulk_of_failures("10.0.0.1", 7),
        bulk("10.0.0.1", 500),
        bulk("0.0.0.0", u64::MAX),
        bulk("0.0.0.0", 1),
    ]]);
    let row = |client: &str| {
        let found = report.rows.iter().find(|row| row.client == client);
        found.unwrap_or_else(|| panic!("{:#?}", report.rows))
    };
    let listed = row("zvm-1");
    assert!(listed.listed);
    assert_eq!(listed.refusals["port_not_allowed"], 3);
    assert_eq!(
        listed.refusals["rate_limited"], 1000,
        "the address is the client's alone"
    );
    assert_eq!(listed.failures["abandoned"], 1);
    assert_eq!(listed.failures["connection_refused"], 7);
    assert_eq!((listed.tunnels, &listed.days_without_upload), (0, &None));
    assert!(!row("10.0.0.9").listed);
    assert_eq!(
        row("0.0.0.0").refused(),
        u64::MAX,
        "the sum is held at the end"
    );
}

#[test]
fn counts_of_a_shared_address_are_nobodys() {
    let report = report(&[&[
        refusal(Some("zvm-1"), "10.0.0.1", "rate_limited"),
        refusal(Some("zvm-2"), "10.0.0.1", "rate_limited"),
        bulk("10.0.0.1", 9),
    ]]);
    let clients: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.client.as_str(), row.refused()))
        .collect();
    assert_eq!(clients, [("zvm-1", 1), ("zvm-2", 1), ("10.0.0.1", 9)]);
}

#[test]
fn a_tunnel_refused_after_it_was_opened_is_no_tunnel() {
    let mut late = tunnel("2026-11-10T00:00:00Z", 0);
    late.decision = Some(Decision::Deny);
    late.reason = Some("sni_mismatch".into());
    let mut lost = tunnel("2026-11-10T00:00:00Z", 5);
    lost.event = Event::TunnelLost;
    lost.enforced = Some(false);
    let report = report(&[&[late, lost]]);
    let row = &report.rows[0];
    assert_eq!((row.tunnels, row.lost, row.not_enforced), (1, 1, 1));
    assert_eq!(row.refusals["sni_mismatch"], 1);
}

#[test]
fn gaps_and_clock_steps_of_the_month_are_told() {
    let gap = |time| {
        let data = json!({"from": 3, "to": 5, "count": null, "cause": "torn"});
        record("audit_gap", time, &json!({"data": data}))
    };
    let step = record(
        "clock_stepped",
        "2026-11-04T00:00:00Z",
        &json!({"data": {"seconds": -3.5}}),
    );
    let report = report(&[&[
        gap("2026-11-03T00:00:00Z"),
        gap("2026-12-03T00:00:00Z"),
        step,
    ]]);
    let trail = &report.trails[0];
    assert_eq!(trail.gaps.len(), 1);
    assert_eq!((trail.gaps[0].from, trail.gaps[0].to), (Some(3), Some(5)));
    assert_eq!(trail.clock_steps.len(), 1);
    assert!((trail.clock_steps[0].seconds + 3.5).abs() < f64::EPSILON);
}
