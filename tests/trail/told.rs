//! What a trail tells of the relay's own doings: under which configuration it ran, and why records
//! were deleted.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::forger::segmented;
use crate::support::process::{Process, write_config};
use crate::support::tls::digest;
use crate::support::written::{records, whole};

#[test]
fn a_past_configuration_can_be_read_from_the_trail() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    // More than one part of 4 KiB.
    let mut keys = String::new();
    for n in 0..60 {
        _ = write!(
            keys,
            "[[destination]]\nname = \"d-{n}\"\nhosts = [\"host-{n}.example\"]\nports = [443]\n\
             purpose = \"billing\"\naddresses = [\"10.0.{n}.1\"]\nip_ranges = [\"10.0.{n}.0/24\"]\n"
        );
    }
    write_config(directory.path(), &keys, "");
    let mut process = Process::serve(directory.path());
    let changed = keys.replace("host-7.example", "host-seven.example");
    write_config(directory.path(), &changed, "");
    process.signal(Signal::HUP);
    let start = std::time::Instant::now();
    let loaded = || {
        let all = records(&audit);
        let loaded = all.into_iter().filter(|it| it["event"] == "config_loaded");
        loaded.map(|it| it["data"].clone()).collect::<Vec<_>>()
    };
    while !loaded()
        .iter()
        .any(|it| it["text"].to_string().contains("host-seven"))
    {
        assert!(start.elapsed() < Duration::from_secs(10), "never loaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    process.signal(Signal::INT);
    assert!(process.wait().success());
    whole(&audit);
    let mut texts: Vec<(String, String)> = Vec::new();
    for part in loaded() {
        let digest = part["digest"].as_str().unwrap();
        let text = part["text"].as_str().unwrap();
        match texts.last_mut() {
            Some((last, all)) if last == digest => all.push_str(text),
            _ => texts.push((digest.to_owned(), text.to_owned())),
        }
        assert!(part["part"].as_u64() <= part["parts"].as_u64());
    }
    assert_eq!(texts.len(), 2);
    for (whole, text) in &texts {
        assert_eq!(whole, &digest(text.as_bytes()), "the whole SHA-256");
    }
    assert!(texts[0].1.contains("host-7.example") && texts[1].1.contains("host-seven.example"));
    assert!(!texts[1].1.contains("host-7.example"));
}

#[test]
fn a_pruning_says_why_and_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    segmented(&audit);
    write_config(directory.path(), "", "keep = \"1s\"");
    std::thread::sleep(Duration::from_millis(1100));
    let mut process = Process::serve(directory.path());
    let pruning = || -> Option<Value> {
        let all = records(&audit);
        all.into_iter().find(|it| it["event"] == "trail_pruned")
    };
    let start = std::time::Instant::now();
    while pruning().is_none() {
        assert!(start.elapsed() < Duration::from_secs(15), "never pruned");
        std::thread::sleep(Duration::from_millis(20));
    }
    process.signal(Signal::INT);
    assert!(process.wait().success());
    whole(&audit);
    assert_eq!(pruning().unwrap()["data"]["reason"], "keep");
    let log = process.said();
    let line = log
        .lines()
        .find(|line| line.contains("old records of the audit trail are deleted"));
    assert!(line.is_some_and(|line| line.contains("keep")), "{log}");
}
