use serde_json::{Value, json};

use super::*;
use crate::data::{InventoryPart, TextPart};
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
        "upload": (bytes_up > 0).then_some("probable"),
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
fn an_upload_is_a_tunnel_that_the_relay_judged_one() {
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

/// Makes a record of a tunnel, as a session of this id has it.
fn of_session(id: &str, event: &str, time: &str, bytes_up: u64, upload: Option<&str>) -> Record {
    let members = json!({
        "session": id,
        "client": client(Some("zvm-1"), "10.0.0.1"),
        "destination": "billing",
        "decision": "allow",
        "enforced": true,
        "upload": upload,
        "bytes_up": bytes_up,
        "bytes_down": 7,
    });
    record(event, time, &members)
}

fn start(time: &str) -> Record {
    record("relay_started", time, &json!({}))
}

fn stop(time: &str) -> Record {
    record("relay_stopped", time, &json!({}))
}

fn checkpoint(time: &str) -> Record {
    record("checkpoint", time, &json!({}))
}

fn inventory(time: &str, clients: &[(&str, &[&str], bool)]) -> Record {
    let clients: Vec<_> = clients
        .iter()
        .map(|(name, formerly, calls_home)| {
            json!({
                "name": name, "formerly": formerly, "role": "zvm", "version": null,
                "since": "2026-01-01T00:00:00Z", "expect_every": null, "calls_home": calls_home,
            })
        })
        .collect();
    let text = json!({"clients": clients, "destinations": []}).to_string();
    let [part] = TextPart::of(&text).try_into().unwrap();
    let data = json!(InventoryPart { inventory: part });
    record("inventory", time, &json!({"data": data}))
}

fn without(row: &Row) -> Vec<String> {
    let days = row.days_without_upload.iter().flatten();
    days.map(|date| date.strftime("%d").to_string()).collect()
}

#[test]
fn a_listed_client_without_a_request_has_a_row() {
    let report = report(&[&[
        start("2026-10-05T00:00:00Z"),
        inventory("2026-10-05T00:00:00Z", &[("gone", &[], true)]),
        stop("2026-10-06T00:00:00Z"),
        start("2026-11-02T00:00:00Z"),
        inventory(
            "2026-11-02T00:00:01Z",
            &[
                ("zvm-1", &[], true),
                ("zvm-2", &[], true),
                ("vra", &[], false),
            ],
        ),
        refusal(Some("zvm-1"), "10.0.0.1", "destination_not_allowed"),
        stop("2026-11-30T00:00:00Z"),
        start("2026-12-05T00:00:00Z"),
        inventory("2026-12-05T00:00:00Z", &[("later", &[], true)]),
        stop("2026-12-06T00:00:00Z"),
    ]]);
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            (
                row.client.as_str(),
                row.calls_home,
                row.tunnels,
                without(row).len(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            // The relay was down on the first of the month, and it may still have been listed then.
            ("gone", Some(true), 0, 0),
            ("vra", Some(false), 0, 0),
            ("zvm-1", Some(true), 0, 29),
            ("zvm-2", Some(true), 0, 29),
        ]
    );
    assert_eq!(report.rows[3].role.as_deref(), Some("zvm"));
    assert_eq!(report.rows[1].days_without_upload, None);
}

#[test]
fn a_client_that_distrusts_the_certificate_uploads_nothing() {
    let tunnel = |n: &str, upload, bytes| {
        of_session(n, "tunnel_closed", "2026-11-10T00:00:00Z", bytes, upload)
    };
    let report = report(&[&[
        tunnel("1", Some("distrusted"), 524),
        tunnel("2", Some("distrusted"), 524),
        tunnel("3", Some("small"), 740),
        tunnel("4", Some("unanswered"), 9000),
        // This one went where no upload counts.
        tunnel("5", None, 9000),
    ]]);
    let row = &report.rows[0];
    assert_eq!((row.tunnels, row.uploads, row.last_upload), (5, 0, None));
    let kinds: Vec<_> = row
        .not_uploads
        .iter()
        .map(|(kind, n)| (kind.as_str(), *n))
        .collect();
    assert_eq!(kinds, [("distrusted", 2), ("small", 1), ("unanswered", 1)]);
    assert_eq!(without(row), ["10"]);
}

#[test]
fn what_an_older_relay_recorded_counts_and_is_marked() {
    let mut old = of_session("1", "tunnel_closed", "2026-11-10T00:00:00Z", 524, None);
    old.unjudged = true;
    let report = report(&[&[old]]);
    let row = &report.rows[0];
    assert_eq!((row.uploads, row.unjudged), (1, 1));
}

#[test]
fn a_client_is_silent_only_where_a_relay_ran() {
    // It runs for a day, is killed at rest, and starts again on the last day of the month. Before
    // that, starts that failed left their checkpoints.
    let report = report(&[&[
        start("2026-11-01T10:00:00Z"),
        tunnel("2026-11-01T11:00:00Z", 1),
        checkpoint("2026-11-01T12:00:00Z"),
        checkpoint("2026-11-01T13:00:00Z"),
        record("audit_gap", "2026-11-20T00:00:00Z", &json!({})),
        checkpoint("2026-11-20T00:00:01Z"),
        checkpoint("2026-11-20T00:05:00Z"),
        record("tunnel_lost", "2026-11-30T22:00:00Z", &json!({})),
        start("2026-11-30T22:00:01Z"),
        checkpoint("2026-11-30T23:00:01Z"),
    ]]);
    assert_eq!(report.days_covered, 2);
    assert_eq!(without(&report.rows[0]), ["30"]);
    let trail = &report.trails[0];
    assert_eq!((trail.days_run, trail.seconds_run), (2, 3 * 3600 + 3600));
}

#[test]
fn a_tunnel_is_of_the_day_on_which_it_last_carried_more() {
    let report = report(&[
        // The first trail: over the beginning of the month, with and without bytes in it.
        &[
            of_session("1", "tunnel_opened", "2026-10-31T23:50:00Z", 0, None),
            of_session("2", "tunnel_opened", "2026-10-31T23:50:00Z", 0, None),
            of_session(
                "2",
                "tunnel_progress",
                "2026-11-01T00:50:00Z",
                10,
                Some("probable"),
            ),
            of_session(
                "2",
                "tunnel_progress",
                "2026-11-01T01:50:00Z",
                10,
                Some("probable"),
            ),
            of_session(
                "1",
                "tunnel_closed",
                "2026-11-01T02:00:00Z",
                100,
                Some("probable"),
            ),
            of_session(
                "2",
                "tunnel_closed",
                "2026-11-02T02:00:00Z",
                10,
                Some("probable"),
            ),
        ],
        // The second: lost, over the end of the month, and left open.
        &[
            of_session("3", "tunnel_opened", "2026-11-05T12:00:00Z", 0, None),
            of_session(
                "3",
                "tunnel_progress",
                "2026-11-05T13:00:00Z",
                10,
                Some("probable"),
            ),
            of_session(
                "3",
                "tunnel_lost",
                "2026-11-09T00:00:00Z",
                10,
                Some("probable"),
            ),
            of_session("4", "tunnel_opened", "2026-11-28T12:00:00Z", 0, None),
            of_session(
                "4",
                "tunnel_progress",
                "2026-11-29T12:00:00Z",
                10,
                Some("probable"),
            ),
            of_session("5", "tunnel_opened", "2026-11-30T12:00:00Z", 0, None),
            of_session(
                "5",
                "tunnel_closed",
                "2026-12-01T12:00:00Z",
                10,
                Some("probable"),
            ),
        ],
    ]);
    let row = &report.rows[0];
    assert_eq!((row.tunnels, row.uploads, row.lost, row.open), (4, 4, 1, 1));
    assert_eq!(row.bytes_up, 40);
    assert_eq!(row.first_upload, "2026-11-01T00:50:00Z".parse().ok());
    assert_eq!(row.last_upload, "2026-11-30T12:00:00Z".parse().ok());
    let days: Vec<_> = row
        .days
        .iter()
        .map(|day| (day.date.day(), day.uploads))
        .collect();
    assert_eq!(days, [(1, 1), (5, 1), (28, 0), (29, 1), (30, 1)]);
    assert!(without(row).contains(&"06".to_owned()));
    assert!(
        !without(row).contains(&"28".to_owned()),
        "it was open and not silent"
    );
}

#[test]
fn a_tunnel_without_its_opening_is_dated_by_how_long_it_lasted() {
    let mut closed = of_session(
        "1",
        "tunnel_closed",
        "2026-11-02T01:00:00Z",
        10,
        Some("probable"),
    );
    closed.duration_ms.0 = 2.0 * 3_600_000.0;
    // Only the next start tells of this one.
    let lost = of_session(
        "2",
        "tunnel_lost",
        "2026-11-09T00:00:00Z",
        10,
        Some("probable"),
    );
    let report = report(&[&[closed, lost]]);
    let row = &report.rows[0];
    assert_eq!((row.tunnels, row.lost, row.uploads), (2, 1, 1));
    assert_eq!(row.last_upload, "2026-11-01T23:00:00Z".parse().ok());
}

#[test]
fn each_address_has_its_own_last_upload() {
    let mut other = tunnel("2026-11-20T00:00:00Z", 5);
    other.client.as_mut().unwrap().address = "10.0.0.2".parse().unwrap();
    let report = report(&[&[
        tunnel("2026-11-02T00:00:00Z", 5),
        other,
        refusal(Some("zvm-1"), "10.0.0.3", "rate_limited"),
    ]]);
    let last: Vec<_> = report
        .addresses
        .iter()
        .map(|it| {
            (
                it.address.to_string(),
                it.uploads,
                it.last_upload.map(|it| it.to_string()),
                it.refused,
            )
        })
        .collect();
    assert_eq!(
        last,
        [
            ("10.0.0.1".into(), 1, Some("2026-11-02T00:00:00Z".into()), 0),
            ("10.0.0.2".into(), 1, Some("2026-11-20T00:00:00Z".into()), 0),
            ("10.0.0.3".into(), 0, None, 1),
        ]
    );
}

#[test]
fn a_wrong_clock_covers_no_day() {
    let step = |time, seconds| {
        record(
            "clock_stepped",
            time,
            &json!({"data": {"seconds": seconds}}),
        )
    };
    let two_years = 2.0 * 365.0 * 86_400.0;
    let report = report(&[&[
        start("2026-11-01T00:00:00Z"),
        tunnel("2026-11-02T12:00:00Z", 5),
        // This one took its time before the step was noticed.
        tunnel("2028-11-01T12:00:00Z", 5),
        step("2028-11-01T12:00:01Z", two_years),
        tunnel("2028-11-01T13:00:00Z", 5),
        step("2026-11-02T13:00:01Z", -two_years),
        tunnel("2026-11-03T00:00:00Z", 5),
        stop("2026-11-04T00:00:00Z"),
    ]]);
    assert_eq!(report.days_covered, 4);
    assert_eq!(
        report.trails[0].clock_steps.len(),
        2,
        "out of the month and back"
    );
    let row = &report.rows[0];
    assert_eq!(
        (row.uploads, without(row)),
        (2, vec!["01".into(), "04".into()])
    );
}

#[test]
fn a_renamed_client_is_one() {
    let mut before = tunnel("2026-11-02T00:00:00Z", 5);
    before.client.as_mut().unwrap().name = Some("old".into());
    let report = report(&[&[
        start("2026-11-01T00:00:00Z"),
        inventory("2026-11-01T00:00:00Z", &[("old", &[], true)]),
        before,
        inventory("2026-11-03T00:00:00Z", &[("zvm-1", &["old"], true)]),
        tunnel("2026-11-04T00:00:00Z", 5),
        stop("2026-11-05T00:00:00Z"),
    ]]);
    let [row] = report.rows.as_slice() else {
        panic!("{:#?}", report.rows);
    };
    assert_eq!((row.client.as_str(), row.uploads), ("zvm-1", 2));
    assert_eq!(without(row), ["01", "03", "05"]);
    assert_eq!(
        (report.addresses.len(), report.addresses[0].uploads),
        (1, 2)
    );
}

#[test]
fn only_the_relays_of_a_client_count_for_it() {
    let one = [
        start("2026-11-01T00:00:00Z"),
        inventory("2026-11-01T00:00:00Z", &[("zvm-1", &[], true)]),
        stop("2026-11-02T00:00:00Z"),
    ];
    let other = [
        start("2026-11-01T00:00:00Z"),
        inventory("2026-11-01T00:00:00Z", &[("zvm-2", &[], true)]),
        // It comes into this inventory in the middle of a run.
        inventory(
            "2026-11-08T00:00:00Z",
            &[("zvm-1", &[], true), ("zvm-2", &[], true)],
        ),
        stop("2026-11-09T00:00:00Z"),
    ];
    let report = report(&[&one, &other]);
    assert_eq!(report.days_covered, 9);
    assert_eq!(without(&report.rows[0]), ["01", "02", "08", "09"]);
    assert_eq!(without(&report.rows[1]).len(), 9);
}

#[test]
fn two_destinations_are_no_silence() {
    let mut newer = tunnel("2026-11-02T00:00:00Z", 5);
    newer.destination = Some("billing-9".into());
    let report = report(&[&[tunnel("2026-11-01T00:00:00Z", 5), newer]]);
    assert_eq!(report.rows.len(), 2);
    assert!(report.rows.iter().all(|row| without(row).is_empty()));
}
