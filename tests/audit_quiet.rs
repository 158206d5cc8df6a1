//! `audit quiet`: which machines are quiet, since when, and why.

use std::path::Path;
use std::process::Output;

use callhome_trail::TextPart;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::trail::{Trail, audit, event, session};

/// The time so many hours ago, as the trail has it.
fn ago(hours: i64) -> String {
    let time = Timestamp::now() - SignedDuration::from_hours(hours);
    format!("{time:.6}")
}

fn client(name: &str, address: &str, every: Option<u64>) -> Value {
    let since = ago(if name == "zvm-failing" { 90 } else { 2000 });
    json!({
        "name": name, "formerly": [], "role": "zvm", "version": "9.7", "since": since,
        "sources": [address], "certificate_names": [], "expect_every": every, "calls_home": true,
    })
}

fn push_inventory(trail: &mut Trail, time: &str, clients: &[Value]) {
    let billing = json!({
        "name": "billing", "hosts": ["ch3.zerto.com"], "purpose": "billing", "versions": null,
        "upload_min_bytes": 1024,
    });
    let text = json!({"clients": clients, "destinations": [billing]}).to_string();
    for part in TextPart::of(&text) {
        let mut record = event("inventory", time);
        record["data"] = serde_json::to_value(part).unwrap();
        trail.push(record);
    }
}

fn closed(name: &str, address: &str, time: &str, upload: &str) -> Value {
    let mut record = session("tunnel_closed", time, None);
    record["client"]["name"] = name.into();
    record["client"]["address"] = address.into();
    record["billing"] = true.into();
    record["upload"] = upload.into();
    record
}

/// Has the trail of a site with a machine in most of the states.
fn site() -> Trail {
    let mut trail = Trail::new();
    let day = Some(86_400);
    let mut clients = vec![
        client("zvm-ok", "10.0.0.1", day),
        client("zvm-quiet", "10.0.0.2", day),
        client("zvm-overdue", "10.0.0.3", None),
        client("zvm-late", "10.0.0.5", None),
    ];
    push_inventory(&mut trail, &ago(600), &clients);
    trail.push(closed("zvm-overdue", "10.0.0.3", &ago(500), "probable"));
    trail.push(closed("zvm-quiet", "10.0.0.2", &ago(100), "probable"));
    clients.push(client("zvm-failing", "10.0.0.4", day));
    push_inventory(&mut trail, &ago(90), &clients);
    trail.push(closed("zvm-late", "10.0.0.5", &ago(80), "probable"));
    let mut stranger = session("request_denied", &ago(76), Some("client_not_allowed"));
    stranger["client"]["name"] = Value::Null;
    stranger["client"]["address"] = "10.0.0.99".into();
    stranger["billing"] = true.into();
    trail.push(stranger);
    for hours in [4, 3, 2] {
        trail.push(closed("zvm-failing", "10.0.0.4", &ago(hours), "distrusted"));
    }
    trail.push(closed("zvm-ok", "10.0.0.1", &ago(1), "probable"));
    trail
}

fn quiet(trails: &[&Path], more: &[&str]) -> (i32, String) {
    let trails = trails.iter().map(|trail| trail.to_str().unwrap());
    let args = ["quiet"]
        .into_iter()
        .chain(trails)
        .chain(more.iter().copied());
    let Output {
        status,
        stdout,
        stderr,
    } = audit(args);
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

fn rows(trails: &[&Path], more: &[&str]) -> (i32, Value) {
    let (code, text) = quiet(trails, &[more, &["--json"]].concat());
    (code, serde_json::from_str(&text).unwrap())
}

fn states(rows: &Value, key: &str) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = rows[key].as_array().unwrap();
    rows.iter()
        .map(|row| (text(row, "name"), text(row, "state")))
        .collect()
}

#[test]
fn the_worst_comes_first_with_its_cause_and_the_next_step() {
    let trail = site();
    let (code, text) = quiet(&[&trail.file()], &[]);
    assert_eq!(code, 1);
    let mut rest = text.as_str();
    for part in [
        "3 of 5 clients quiet or worse at ",
        "access.jsonl of dmz-1: ",
        "STATE",
        "overdue  zvm-overdue  ",
        "  (20d20h ago)  dmz-1, billing  0",
        "why   no try since",
        "next  is the machine up, does it use the relay",
        "failing  zvm-failing  ",
        "why   it leaves when it sees the certificate: 3 times since ",
        "next  it doesn't trust the certificate that it gets",
        "quiet    zvm-quiet  ",
        "(4d04h ago)",
        "late     zvm-late  ",
        "ok       zvm-ok  ",
        "found, and in no inventory:",
        "new    10.0.0.99",
        "why   no try since this one: refused: once, at ",
        "same? maybe zvm-quiet: one came about when the other was last seen",
        "sources = [\"10.0.0.99\"]",
    ] {
        let at = rest.find(part.trim());
        let at = at.unwrap_or_else(|| panic!("{part:?} doesn't come next in\n{text}"));
        rest = &rest[at + part.trim().len()..];
    }
}

#[test]
fn a_period_for_all_replaces_their_own() {
    let trail = site();
    let file = trail.file();
    let state = |rows: &Value, name: &str| {
        let all = states(rows, "clients");
        all.into_iter().find(|(it, _)| it == name).unwrap().1
    };
    let (code, all) = rows(&[&file], &[]);
    assert_eq!(code, 1);
    assert_eq!(state(&all, "zvm-quiet"), "quiet");
    assert_eq!(
        state(&all, "zvm-late"),
        "late",
        "3 days without `expect_every`"
    );
    let (_, all) = rows(&[&file], &["--for", "7d"]);
    assert_eq!(state(&all, "zvm-quiet"), "ok");
    let (_, all) = rows(&[&file], &["--for", "1d"]);
    assert_eq!(state(&all, "zvm-late"), "quiet");
    let wrong = audit(["quiet", file.to_str().unwrap(), "--for", "3 days"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn the_exit_code_is_0_where_all_is_well() {
    let mut trail = Trail::new();
    push_inventory(&mut trail, &ago(30), &[client("zvm-ok", "10.0.0.1", None)]);
    trail.push(closed("zvm-ok", "10.0.0.1", &ago(1), "probable"));
    let (code, all) = rows(&[&trail.file()], &[]);
    assert_eq!(code, 0, "{all}");
    let row = &all["clients"][0];
    assert_eq!(
        (&row["state"], &row["days_left"]),
        (&"ok".into(), &14.into())
    );
    assert_eq!(row["upload"]["relay"], "dmz-1");
    assert_eq!(row["addresses"], json!([]));
}

#[test]
fn a_broken_trail_is_named_and_still_has_rows() {
    let trail = site();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replacen("\"name\":\"zvm-late\"", "\"name\":\"zvm-fine\"", 1),
    )
    .unwrap();
    let (code, text) = quiet(&[&file], &[]);
    assert_eq!(code, 1);
    assert!(
        text.contains("broken: ") && text.contains("access.jsonl:"),
        "{text}"
    );
    assert!(text.contains("overdue  zvm-overdue"), "{text}");
}

#[test]
fn the_trail_of_an_older_relay_is_read_and_says_so() {
    let mut trail = Trail::new();
    trail.push(session("tunnel_closed", &ago(30), None));
    trail.push(session("tunnel_closed", &ago(1), None));
    let (code, text) = quiet(&[&trail.file()], &[]);
    assert_eq!(code, 1);
    for part in [
        "no client is listed at ",
        "no inventory: it doesn't say who is expected",
        "found, and in no inventory:",
        "unknown  zvm-1",
        "its last tunnel was to ch3.zerto.com",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_clock_that_is_ahead_now_is_told_and_makes_no_machine_well() {
    let mut trail = Trail::new();
    push_inventory(&mut trail, &ago(500), &[client("zvm-1", "10.0.0.1", None)]);
    trail.push(closed("zvm-1", "10.0.0.1", &ago(490), "probable"));
    // Two years ahead, it goes on for 400 hours in silence.
    let ahead = 2 * 365 * 24;
    trail.push(closed("zvm-1", "10.0.0.1", &ago(400 - ahead), "probable"));
    trail.push(event("tunnel_opened", &ago(-ahead)));
    let (code, text) = quiet(&[&trail.file()], &[]);
    assert_eq!(code, 1);
    assert!(
        text.contains("clock: 730d00h ahead") || text.contains("clock: 729d23h"),
        "{text}"
    );
    assert!(
        text.contains("overdue  zvm-1") && text.contains("(16d16h ago)"),
        "{text}"
    );
}

/// A log server may have the trails of two relays in one file.
#[test]
fn a_file_may_have_two_trails() {
    let mut one = Trail::new();
    push_inventory(&mut one, &ago(40), &[client("zvm-1", "10.0.0.1", None)]);
    one.push(closed("zvm-1", "10.0.0.1", &ago(1), "probable"));
    let mut two = Trail::named("t-2");
    push_inventory(&mut two, &ago(40), &[client("zvm-2", "10.0.0.2", None)]);
    two.push(closed("zvm-2", "10.0.0.2", &ago(1), "probable"));
    let [first, second] = [one.file(), two.file()].map(|it| std::fs::read_to_string(it).unwrap());
    // They come mixed.
    let lines = first.lines().zip(second.lines()).flat_map(|(a, b)| [a, b]);
    let both = one.beside("both.jsonl");
    std::fs::write(
        &both,
        lines.flat_map(|line| [line, "\n"]).collect::<String>(),
    )
    .unwrap();
    let (code, all) = rows(&[&both], &[]);
    assert_eq!(code, 0, "{all}");
    assert_eq!(all["trails"].as_array().unwrap().len(), 2);
    assert_eq!(states(&all, "clients").len(), 2);
    let twice = audit([Path::new("quiet"), &both, &one.file()]);
    assert_eq!(twice.status.code(), Some(70));
    let error = String::from_utf8(twice.stderr).unwrap();
    assert!(error.contains("have the same trail"), "{error}");
}

#[test]
fn machines_of_a_network_are_judged_one_by_one() {
    let mut trail = Trail::new();
    push_inventory(
        &mut trail,
        &ago(300),
        &[client("branch", "10.5.0.0/16", None)],
    );
    trail.push(closed("branch", "10.5.0.1", &ago(200), "probable"));
    trail.push(closed("branch", "10.5.0.2", &ago(200), "probable"));
    trail.push(closed("branch", "10.5.0.2", &ago(1), "probable"));
    let (code, text) = quiet(&[&trail.file()], &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("1 of 1 clients quiet or worse"), "{text}");
    assert!(text.contains("ok     branch"), "{text}");
    assert!(text.contains("from  10.5.0.1 quiet: last upload"), "{text}");
}

#[test]
fn text_of_a_trail_controls_no_terminal() {
    let trail = Trail::hostile();
    let (_, text) = quiet(&[&trail.file()], &[]);
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    let (_, _) = rows(&[&trail.file()], &[]);
}
