//! `audit tail`: what people see of the trail, and how it follows one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use callhome_relay::audit::{Audit, WriterHandle};
use callhome_relay::proxy_error::Reason;
use callhome_relay::tunnel::{Closed, ClosedBy};
use serde_json::{Value, json};

use crate::support::trail::{
    Trail, audit, event, options, printed, refusals, segment, session, spoil,
};

fn sample() -> Trail {
    let mut trail = Trail::new();
    let mut started = event("relay_started", "2026-11-24T13:00:00Z");
    started["data"] =
        json!({"version": "0.1.0", "boot": null, "uptime_ms": 5, "listeners": ["proxy"]});
    trail.push(started);
    trail.push(event("checkpoint", "2026-11-24T13:00:00Z"));
    trail.push(session("tunnel_opened", "2026-11-24T14:03:06Z", None));
    trail.push(session(
        "tunnel_closed",
        "2026-11-24T14:03:07.123456Z",
        None,
    ));
    let mut denied = session(
        "request_denied",
        "2026-11-24T15:00:00Z",
        Some("port_not_allowed"),
    );
    denied["client"]["name"] = Value::Null;
    denied["client"]["address"] = "10.30.0.5".into();
    denied["target"]["port"] = 80.into();
    trail.push(denied);
    trail
}

fn tail(file: &Path, more: &[&str]) -> Vec<String> {
    let args = [&["tail", file.to_str().unwrap()], more].concat();
    printed(args).lines().map(str::to_owned).collect()
}

#[test]
fn a_line_says_who_what_and_how_much() {
    let trail = sample();
    let file = trail.file();
    assert_eq!(
        tail(&file, &[]),
        [
            "2026-11-24 13:00:00Z  dmz-1                relay_started version=0.1.0 uptime_ms=5 listeners=[\"proxy\"]",
            "2026-11-24 14:03:06Z  zvm-1                ch3.zerto.com:443                allow     5.0 KiB up    2.2 KiB down    841ms  opened",
            "2026-11-24 14:03:07Z  zvm-1                ch3.zerto.com:443                allow     5.0 KiB up    2.2 KiB down    841ms  client",
            "2026-11-24 15:00:00Z  10.30.0.5            ch3.zerto.com:80                 deny          0 B up        0 B down    841ms  port_not_allowed",
        ]
    );
}

#[test]
fn filters_say_which() {
    let trail = sample();
    let file = trail.file();
    for (filter, count) in [
        (&["--client", "zvm-1"][..], 2),
        (&["--client", "10.20.0.11"], 2),
        (&["--client", "10.0.0.0/8"], 3),
        (&["--client", "zvm-2"], 0),
        (&["--decision", "deny"], 1),
        (&["--destination", "billing"], 3),
        (&["--destination", "other"], 0),
        (&["--since", "2026-11-24T14:03:07Z"], 2),
        (&["--until", "2026-11-24T14:03:07Z"], 2),
        (&["--since", "2026-11-25"], 0),
        (&["--decision", "allow", "-n", "1"], 1),
        (&["-n", "0"], 0),
    ] {
        assert_eq!(tail(&file, filter).len(), count, "{filter:?}");
    }
    for wrong in ["--since=yesterday", "--decision=maybe"] {
        let output = audit(["tail", file.to_str().unwrap(), wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn the_past_isnt_read_for_the_present() {
    let mut trail = Trail::new();
    for day in 20..25 {
        let time = format!("2026-11-{day}T08:00:00Z");
        trail.push(session("tunnel_closed", &time, None));
    }
    let directory = trail.segments();
    // The first segment is cut, so a command that reads it notices.
    cut(&directory.join(segment(1)));
    for (since, count) in [
        ("2026-11-24T09:00:00Z", 0),
        ("2026-11-24T08:00:00Z", 1),
        ("2026-11-22T08:00:00Z", 3),
    ] {
        let lines = tail(&directory, &["--since", since]);
        assert_eq!(lines.len(), count, "{since}: {lines:?}");
    }
    let all = tail(&directory, &["--since", "2026-11-20"]);
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all[0].starts_with("not shown  "), "{all:?}");
    assert!(
        all[0].contains("access-000000000001.jsonl.zst: "),
        "{all:?}"
    );
    assert_eq!(tail(&directory, &["-n", "2"]).len(), 2);
}

/// A clock that was set back puts a record into a later segment than its time would.
#[test]
fn the_present_isnt_read_for_the_past() {
    let mut trail = Trail::new();
    let back = 7;
    for day in [1, 2, 11, 12, 14, 20, 21, 11, 22, 23, 24] {
        let time = format!("2026-11-{day:02}T08:00:00Z");
        trail.push(session("tunnel_closed", &time, None));
    }
    assert!(trail.lines().nth(back).unwrap().contains("2026-11-11T"));
    let directory = trail.segments();
    for not_read in [1, 5, 6, 9, 10] {
        spoil(&directory.join(segment(not_read)));
    }
    let lines = tail(
        &directory,
        &["--since", "2026-11-11T07:00:00Z", "--until", "2026-11-12"],
    );
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.starts_with("2026-11-11 ")),
        "{lines:#?}"
    );
    let lines = tail(&directory, &["--until", "2026-11-12T09:00:00Z", "-n", "2"]);
    let days: Vec<_> = lines.iter().map(|line| &line[..10]).collect();
    assert_eq!(days, ["2026-11-12", "2026-11-11"], "{lines:#?}");
}

#[test]
fn refusals_that_were_counted_are_refusals_of_their_client() {
    let mut trail = Trail::new();
    let time = "2026-11-24T14:00:00Z";
    trail.push(session("tunnel_opened", time, None));
    trail.push(refusals(
        time,
        "10.20.0.11",
        &json!({"rate_limited": 40, "dns_failed": 2}),
    ));
    trail.push(refusals(
        time,
        "10.20.0.12",
        &json!({"port_not_allowed": 7}),
    ));
    trail.push(refusals(
        time,
        "10.20.0.13",
        &json!({"dns_failed": 3, "abandoned": 1}),
    ));
    // A later relay notes the client's name and the destinations.
    let mut named = refusals(time, "10.20.0.14", &json!({"rate_limited": 5}));
    named["data"]["client"] = "zvm-2".into();
    named["data"]["destinations"] = json!([
        {"destination": null, "reason": "rate_limited", "count": 4},
        {"destination": "billing", "reason": "rate_limited", "count": 1},
    ]);
    trail.push(named);
    let file = trail.file();
    for (filter, addresses) in [
        (
            &["--decision", "deny"][..],
            &["10.20.0.11", "10.20.0.12", "10.20.0.14"][..],
        ),
        (&["--decision", "allow"], &[]),
        (&["--client", "10.20.0.12"], &["10.20.0.12"]),
        (&["--client", "zvm-1"], &["10.20.0.11"]),
        (
            &["--client", "zvm-1", "--decision", "deny"],
            &["10.20.0.11"],
        ),
        (&["--client", "zvm-2"], &["10.20.0.14"]),
        (&["--client", "zvm-3"], &[]),
        (&["--destination", "billing"], &["10.20.0.14"]),
        (&["--destination", "other"], &[]),
    ] {
        let lines = tail(&file, filter);
        let counted: Vec<_> = lines
            .iter()
            .filter(|line| line.contains(" refusals "))
            .collect();
        assert_eq!(counted.len(), addresses.len(), "{filter:?}: {lines:#?}");
        for (line, address) in counted.iter().zip(addresses) {
            assert!(
                line.contains(&format!("address={address}")),
                "{filter:?}: {line}"
            );
        }
    }
}

#[test]
fn a_session_is_found_by_the_id_that_its_client_got() {
    let mut trail = Trail::new();
    // The first begins in the millisecond 1795528986000, as its id says.
    let ids = [
        "01a20dde-0d90-7000-8000-000000000001",
        "01a20dde-0d90-7000-8000-000000000002",
    ];
    for (event, reason, id) in [
        ("tunnel_opened", None, ids[0]),
        ("request_denied", Some("port_not_allowed"), ids[1]),
        ("tunnel_closed", None, ids[0]),
    ] {
        let mut record = session(event, "2026-11-24T14:03:06Z", reason);
        record["session"] = id.into();
        trail.push(record);
    }
    let file = trail.file();
    let lines = tail(&file, &["--session", ids[0]]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].ends_with("opened") && lines[1].ends_with("client"),
        "{lines:?}"
    );
    let lines = tail(&file, &["--session", ids[1]]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("port_not_allowed"), "{lines:?}");
    let none = audit(["tail", file.to_str().unwrap(), "--session", "0197-9"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    let error = String::from_utf8(none.stderr).unwrap();
    assert!(error.contains("no record of the session 0197-9"), "{error}");
}

/// The id of a session has its time, so what was written before that isn't read.
#[test]
fn a_session_is_looked_for_from_its_beginning_on() {
    let mut trail = Trail::new();
    let id = "01a20dde-0d90-7000-8000-000000000001";
    for day in 18..27 {
        let mut record = session("tunnel_progress", &format!("2026-11-{day}T14:03:06Z"), None);
        if day >= 24 {
            record["session"] = id.into();
        }
        trail.push(record);
    }
    let directory = trail.segments();
    for not_read in 1..5 {
        spoil(&directory.join(segment(not_read)));
    }
    let lines = tail(&directory, &["--session", id]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[test]
fn a_server_name_that_isnt_the_targets_is_shown() {
    let mut trail = Trail::new();
    let mut late = session(
        "tunnel_closed",
        "2026-11-24T14:03:09Z",
        Some("sni_mismatch"),
    );
    late["decision"] = "deny".into();
    late["tls"]["sni"] = "other.\u{1b}example".into();
    trail.push(late);
    let lines = tail(&trail.file(), &[]);
    assert!(
        lines[0].ends_with(r"sni_mismatch sni=other.\u{1b}example"),
        "{lines:?}"
    );
}

#[test]
fn what_json_leaves_out_is_said() {
    let mut trail = sample();
    trail.push(event("tunnel_folded", "2026-11-24T16:00:00Z"));
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    // A record of a later version is a record, so a witness needs it.
    let shown = printed(["tail", "--json", file.to_str().unwrap()]);
    assert_eq!(shown, text);
    let output = audit([
        "tail",
        "--json",
        file.to_str().unwrap(),
        "--client",
        "zvm-1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("record 6 is of a kind"), "{error}");
    std::fs::write(&file, text.replacen("\"allow\"", "\"deny\"", 1)).unwrap();
    let output = audit(["tail", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("it was changed"), "{error}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().count(),
        trail.len() - 1
    );
}

#[test]
fn json_is_the_record_byte_for_byte() {
    let trail = sample();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    let shown = printed(["tail", "--json", file.to_str().unwrap()]);
    assert_eq!(shown, text);
}

#[test]
fn what_is_no_record_is_said() {
    let trail = sample();
    let file = trail.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"allow\"", "\"deny\"", 1)).unwrap();
    let lines = tail(&file, &[]);
    assert!(
        lines.iter().any(|line| line.contains("it was changed")),
        "{lines:?}"
    );
}

#[test]
fn what_a_later_version_wrote_is_said() {
    let mut trail = sample();
    trail.push(event("tunnel_folded", "2026-11-24T16:00:00Z"));
    let lines = tail(&trail.file(), &["--client", "zvm-2"]);
    assert_eq!(
        lines,
        ["not shown  record 6 is of a kind that this version doesn't know"]
    );
}

#[test]
fn a_trail_that_is_not_there_is_an_error() {
    let output = audit(["tail", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/nowhere/at/all")
    );
}

#[test]
fn it_follows_over_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(directory.path(), 64 << 10);
    refuse(&audit, "before.example:443");
    wait_for_file(directory.path());
    let mut child = follow(directory.path(), &["--client", "10.0.0.1"]);
    let lines = lines_of(&mut child);
    assert!(next(&lines).contains("before.example"));
    for n in 0..100 {
        tunnel(&audit, &format!("host-{n}.example:443"));
        if n % 10 == 0 {
            thread::sleep(Duration::from_millis(3));
        }
    }
    for n in 0..100 {
        for what in ["opened", "client"] {
            let line = next(&lines);
            let target = format!(" host-{n}.example:443 ");
            assert!(
                line.contains(&target) && line.ends_with(what),
                "{n}: {line}"
            );
        }
    }
    let segments = std::fs::read_dir(directory.path()).unwrap();
    let closed = segments
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("access-")
        })
        .count();
    assert!(closed >= 1, "nothing was rotated");
    writer.close();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn it_ends_with_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(directory.path(), 1 << 20);
    refuse(&audit, "only.example:443");
    wait_for_file(directory.path());
    let mut child = follow(directory.path(), &["--decision", "deny"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    // No further record comes, so the command can't notice by a failing write.
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "it goes on");
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    writer.close();
}

/// A directory that was put away for a new trail has another under its name soon after.
#[test]
fn it_follows_into_a_new_trail() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("audit");
    let (audit, writer) = start(&directory, 1 << 26);
    for n in 0..20 {
        refuse(&audit, &format!("old-{n}.example:443"));
    }
    wait_for_file(&directory);
    let mut child = follow(&directory, &["-n", "1000", "--decision", "deny"]);
    let lines = lines_of(&mut child);
    for n in 0..20 {
        assert!(next(&lines).contains(&format!("old-{n}.example")));
    }
    writer.close();
    std::fs::rename(&directory, parent.path().join("old")).unwrap();
    let (audit, writer) = start(&directory, 1 << 26);
    for n in 0..3 {
        refuse(&audit, &format!("new-{n}.example:443"));
    }
    for n in 0..3 {
        let line = next(&lines);
        assert!(line.contains(&format!("new-{n}.example")), "{line}");
    }
    writer.close();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Cuts the end of a file off, so that a command which reads it notices.
fn cut(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 5]).unwrap();
}

fn start(directory: &Path, rotate_size: u64) -> (Audit, WriterHandle) {
    Audit::start(&options(directory, rotate_size), "test", Arc::default()).unwrap()
}

fn refuse(audit: &Audit, target: &str) {
    let peer = ([10, 0, 0, 1], 4000).into();
    let mut session = audit.session("proxy".into(), "1:p".into(), peer);
    session.sent(target.as_bytes());
    session.refused(&Reason::DestinationNotAllowed.into());
}

fn tunnel(audit: &Audit, target: &str) {
    let peer = ([10, 0, 0, 1], 4000).into();
    let mut session = audit.session("proxy".into(), "1:p".into(), peer);
    session.sent(target.as_bytes());
    session.allowed(true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(session.opened()).unwrap();
    session.closed(Closed {
        by: ClosedBy::Client,
        error: None,
    });
}

fn wait_for_file(directory: &Path) {
    let start = Instant::now();
    let written = || {
        let text = std::fs::read_to_string(directory.join("access.jsonl")).unwrap_or_default();
        text.contains("request_denied")
    };
    while !written() {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
}

fn follow(directory: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_callhome-relay"))
        .args(["audit", "tail", "-f"])
        .arg(directory)
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the child's lines in a thread, so that a line that never comes is a failure.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

fn next(lines: &mpsc::Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line in time")
}

const PATIENCE: Duration = Duration::from_secs(10);
