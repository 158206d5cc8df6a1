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

use crate::support::trail::{Trail, audit, event, options, printed, session};

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
    let text = std::fs::read_to_string(trail.file()).unwrap();
    let directory = trail.beside("segments");
    std::fs::create_dir(&directory).unwrap();
    for (n, line) in text.split_inclusive('\n').enumerate() {
        let name = format!("access-{:012}.jsonl.zst", n + 1);
        std::fs::write(
            directory.join(name),
            zstd::encode_all(line.as_bytes(), 3).unwrap(),
        )
        .unwrap();
    }
    // The first segment is cut, so a command that reads it notices.
    let first = directory.join("access-000000000001.jsonl.zst");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..bytes.len() - 5]).unwrap();
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
