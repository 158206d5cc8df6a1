//! Copies of trails, as a log server keeps them: of two trails, with records that come again, late
//! or under a number that had another, and with other line ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::trail::{Trail, audit, export, printed, session};

/// A trail of so many sessions, each with a target of its own.
fn sessions(id: &'static str, count: usize) -> Trail {
    let mut trail = Trail::named(id);
    for n in 0..count {
        let mut record = session("tunnel_closed", "2026-11-24T14:03:07Z", None);
        record["target"]["host"] = format!("{id}-{n}.example").into();
        trail.push(record);
    }
    trail
}

/// Writes lines behind a log server's prefix, and returns the file.
fn keep<'a>(trail: &Trail, lines: impl IntoIterator<Item = &'a str>) -> PathBuf {
    let copy = trail.beside("messages");
    let lines = lines.into_iter();
    let kept: Vec<_> = lines
        .map(|line| format!("<109>1 - dmz-1 - - - {line}"))
        .collect();
    fs::write(&copy, kept.concat()).unwrap();
    copy
}

/// How often each target is in what a command prints.
fn targets(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.'));
    words.filter(|word| word.ends_with(".example")).collect()
}

#[track_caller]
fn assert_each_once(copy: &Path, count: usize) {
    let copy_text = copy.to_str().unwrap();
    let shown = printed(["tail", "-n", "1000000", copy_text]);
    let json = printed(["tail", "--json", "-n", "1000000", copy_text]);
    for (what, text) in [
        ("tail", shown),
        ("tail --json", json),
        ("squid", export("squid", copy)),
        ("csv", export("csv", copy)),
    ] {
        let targets = targets(&text);
        let distinct: BTreeSet<_> = targets.iter().collect();
        assert_eq!(distinct.len(), count, "{what}");
        assert_eq!(targets.len(), count, "{what}: none comes twice");
    }
    assert_eq!(export("ecs", copy).lines().count(), count, "ecs");
}

#[test]
fn both_trails_of_a_file_are_shown_and_converted() {
    let (one, two) = (sessions("t-1", 300), sessions("t-2", 70));
    // A new trail begins with 1 behind the old one.
    assert_each_once(&keep(&one, one.lines().chain(two.lines())), 370);
    // Two relays log at one server, and each sends some of its records again.
    let (ones, twos): (Vec<_>, Vec<_>) = (one.lines().collect(), two.lines().collect());
    let mut mixed = Vec::new();
    for n in 0..300 {
        mixed.push(ones[n]);
        mixed.extend(twos.get(n));
        if n % 100 == 99 {
            mixed.extend(&ones[n - 50..=n]);
            mixed.extend(twos.iter().take(n));
        }
    }
    assert_each_once(&keep(&one, mixed), 370);
}

/// A trail whose end was cut off gives the numbers out again.
#[test]
fn two_records_under_one_number_are_both_shown() {
    let mut old = sessions("t-1", 20);
    let mut new = sessions("t-1", 10);
    for (trail, host) in [(&mut old, "cut.example"), (&mut new, "put.example")] {
        let mut record = session("tunnel_closed", "2026-11-24T14:03:07Z", None);
        record["target"]["host"] = host.into();
        trail.push(record);
    }
    let lines = old.lines().chain(new.lines());
    let copy = keep(&old, lines);
    // Those of the new trail but its last are the same as the old one's.
    assert_each_once(&copy, 22);
}

#[test]
fn a_record_that_comes_late_is_shown() {
    let trail = sessions("t-1", 9);
    let mut lines: Vec<_> = trail.lines().collect();
    lines.swap(3, 6);
    assert_each_once(&keep(&trail, lines), 9);
}

#[test]
fn a_last_record_without_a_line_feed_is_shown() {
    let trail = sessions("t-1", 5);
    let copy = trail.beside("copy");
    let text: String = trail.lines().collect();
    fs::write(&copy, text.trim_end()).unwrap();
    assert_each_once(&copy, 5);
    fs::write(&copy, &text[..text.len() - 90]).unwrap();
    assert_each_once(&copy, 4);
}

#[test]
fn verify_names_both_trails_of_a_file_and_how_to_prove_each() {
    let (one, two) = (sessions("t-1", 30), sessions("t-2", 20));
    let copy = keep(&one, one.lines().chain(two.lines()));
    let output = audit(["verify", copy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(":31: record 1: "), "{text}");
    assert!(
        text.contains("of the trail t-2, and those before it of the trail t-1"),
        "{text}"
    );
    let (_, command) = text
        .trim_end()
        .split_once("by itself: ")
        .expect("a command");
    let command = command.replace("callhome-relay", &program());
    for (id, records) in [("t-1", 30), ("t-2", 20)] {
        let command = command.replace("TRAIL", id);
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", &command])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.starts_with(&format!("whole    {records} records\n")),
            "{command}: {text}"
        );
    }
    let json = audit(["verify", "--json", copy.to_str().unwrap()]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["verdict"], "broken");
    assert!(
        json["what"].as_str().unwrap().contains("two trails"),
        "{json}"
    );
}

#[test]
fn lines_of_a_copy_may_end_like_those_of_windows() {
    let trail = sessions("t-1", 5);
    let file = trail.file();
    let copy = trail.beside("copy");
    let text: String = trail.lines().collect();
    let crlf = text.replace('\n', "\r\n");
    fs::write(&copy, &crlf).unwrap();
    let path = copy.to_str().unwrap();
    assert!(printed(["verify", path]).starts_with("whole    5 records\n"));
    let witness = printed(["verify", file.to_str().unwrap(), "--witness", path]);
    assert!(
        witness.contains("witness  5 records are the same\n"),
        "{witness}"
    );
    assert_eq!(printed(["tail", "--json", path]), text);
    assert_each_once(&copy, 5);
    for format in ["squid", "csv", "ecs"] {
        assert_eq!(export(format, &copy), export(format, &file), "{format}");
    }
    let report = printed(["report", "--month", "2026-11", "--json", path]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["trails"][0]["verdict"], "whole");
    assert_eq!(report["trails"][0]["unread"], 0);
    let compressed = trail.beside("copy.zst");
    fs::write(&compressed, zstd::encode_all(crlf.as_bytes(), 3).unwrap()).unwrap();
    assert_each_once(&compressed, 5);

    // The relay's own directory has no such lines, unless somebody has edited it.
    fs::write(&file, &crlf).unwrap();
    let output = audit(["verify", file.parent().unwrap().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

fn program() -> String {
    env!("CARGO_BIN_EXE_callhome-relay").to_owned()
}
