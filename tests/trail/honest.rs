//! Honest trails are never broken: live, copied, pruned, at rest, as a log server keeps them.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callhome_relay::audit::{AuditOptions, Sync, generate};
use callhome_trail::verify::{Evidence, verify};
use callhome_trail::{HEAD, seals::SEALS};

use super::forger::{
    Forger, broken, copy, proved, record, segmented, stopped, text, trail, whole, with_key, witness,
};
use crate::support::trail::{options, start};

/// Verifies a trail again and again while it is written fast, rotated and pruned.
fn live(change: impl FnOnce(AuditOptions) -> AuditOptions) {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    trail(directory.path(), 1);
    let options = change(options(directory.path(), 20_000));
    let (audit, writer) = start(&options);
    let done = AtomicBool::new(false);
    let must_prune = options.max_size <= 1 << 30;
    let started = Instant::now();
    let mut rounds = 0;
    let mut pruned = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..12_000 {
                audit.relay_event(stopped(n));
                if n % 8 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        // The disk's thread prunes when it has time, so a busy machine may take longer.
        let is_due = |from| must_prune && from <= 1 && started.elapsed() < PATIENCE;
        while !done.load(Ordering::Relaxed) || is_due(pruned) {
            let report = whole(directory.path(), &with_key(&key));
            assert!(report.signed_to.is_some(), "{report:#?}");
            pruned = report.from;
            rounds += 1;
        }
    });
    writer.close();
    assert!(rounds > 5, "{rounds}");
    assert!(!must_prune || pruned > 1, "nothing was pruned");
    let report = whole(directory.path(), &with_key(&key));
    assert_eq!(report.sealed_to, Some(report.to));
}

#[test]
fn a_trail_that_is_written_fast_is_whole_at_any_moment() {
    live(|options| options);
}

#[test]
fn a_trail_that_is_pruned_meanwhile_is_whole_at_any_moment() {
    live(|options| AuditOptions {
        max_size: 60_000,
        seal_every: Duration::from_millis(100),
        ..options
    });
}

#[test]
fn a_trail_that_is_never_synced_is_whole_at_any_moment() {
    live(|options| AuditOptions {
        sync: Sync::Never,
        seal_every: Duration::from_millis(50),
        ..options
    });
}

#[test]
fn a_whole_copy_is_whole_and_one_of_the_segments_alone_lacks_what_lies_beside_them() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, full) = (
        directory.path().join("audit"),
        directory.path().join("full"),
    );
    let key = generate(&audit).unwrap();
    segmented(&audit);
    copy(&audit, &full);
    for name in ["lock", "seal.key"] {
        fs::remove_file(full.join(name)).unwrap();
    }
    assert_eq!(
        whole(&full, &with_key(&key)),
        whole(&audit, &with_key(&key))
    );
    fs::remove_file(full.join(SEALS)).unwrap();
    let why = broken(&full, &with_key(&key));
    assert!(why.contains("seals.jsonl lacks the checkpoint"), "{why}");
    fs::remove_file(full.join(HEAD)).unwrap();
    let why = broken(&full, &with_key(&key));
    assert!(why.contains("head.json is missing"), "{why}");
    // As one file, where nothing lies beside it, the same records are whole.
    let file = directory.path().join("all.jsonl");
    witness(&audit, &file);
    whole(&file, &with_key(&key));
}

#[test]
fn pruning_by_age_and_by_size_leaves_a_whole_trail_and_says_why() {
    for (reason, keep, max_size) in [
        ("keep", Duration::ZERO, 1 << 40),
        ("max_size", Duration::from_hours(24), 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (audit, all) = (directory.path().join("audit"), directory.path().join("all"));
        let key = generate(&audit).unwrap();
        segmented(&audit);
        witness(&audit, &all);
        let options = AuditOptions {
            keep,
            max_size,
            ..options(&audit, 4_000)
        };
        for run in 0..3 {
            let (handle, writer) = start(&options);
            handle.relay_event(stopped(run));
            // The directory is tended soon after a start.
            std::thread::sleep(Duration::from_millis(100));
            writer.close();
            let evidence = Evidence {
                witness: Some(&all),
                ..with_key(&key)
            };
            // What the witness has, and the trail no more, is said and not held against it.
            match verify(&audit, &evidence, |_| ()) {
                Ok(report) => {
                    let before = report.witness_before.unwrap();
                    assert_eq!((before.from, before.to), (1, report.from - 1));
                }
                Err(error) => assert!(error.to_string().contains("has none of"), "{error}"),
            }
            let report = whole(&audit, &with_key(&key));
            assert!(report.from > 10);
        }
        let lines = Forger::of(&audit).lines;
        let pruning = lines.iter().rfind(|line| line.contains("\"trail_pruned\""));
        let pruning: serde_json::Value = serde_json::from_str(pruning.unwrap()).unwrap();
        let data = &pruning["data"];
        assert_eq!(data["reason"], reason);
        let (from, to) = (data["from"].as_u64().unwrap(), data["to"].as_u64().unwrap());
        assert_eq!(data["records"], to - from + 1);
        assert!(data["first_time"].is_string() && data["kept_from"].is_string());
    }
}

#[test]
fn a_trail_at_rest_is_whole_and_takes_no_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = AuditOptions {
        seal_every: Duration::from_millis(20),
        ..options(directory.path(), 64 << 20)
    };
    let (audit, writer) = start(&options);
    audit.relay_event(stopped(1));
    std::thread::sleep(Duration::from_millis(700));
    let report = whole(directory.path(), &with_key(&key));
    // One begins the run, and one covers the record.
    assert_eq!((report.records, report.checkpoints), (3, 2));
    writer.close();
    assert_eq!(whole(directory.path(), &with_key(&key)).checkpoints, 2);
}

/// A log server began to keep the records late, got some twice, and lacks those that were pruned
/// before they were sent.
#[test]
fn a_log_servers_copy_is_a_witness_and_a_trail() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let key = generate(&audit).unwrap();
    segmented(&audit);
    let lines = Forger::of(&audit).lines;
    let log = |lines: &[String]| -> Vec<String> {
        let header = "<110>1 2026-11-28T12:00:00Z dmz-1 callhome-relay - audit - ";
        lines.iter().map(|line| format!("{header}{line}")).collect()
    };
    let file = directory.path().join("log");
    let held = |lines: &[String], compared: u64| {
        fs::write(&file, text(lines)).unwrap();
        let evidence = Evidence {
            witness: Some(&file),
            ..with_key(&key)
        };
        assert_eq!(whole(&audit, &evidence).witnessed, Some(compared));
    };
    let count = lines.len() as u64;
    held(&log(&lines), count);
    held(&log(&lines[20..]), count - 20);
    held(&log(&[&lines[..10], &lines[5..]].concat()), count);
    held(&log(&[&lines[..10], &lines[30..]].concat()), count - 20);
    // The whole log is a trail of its own too.
    fs::write(&file, text(&log(&[&lines[..10], &lines[5..]].concat()))).unwrap();
    assert_eq!(whole(&file, &with_key(&key)).records, count);
}

#[test]
fn a_copy_that_lacks_what_was_pruned_has_a_declared_gap() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let key = generate(&audit).unwrap();
    segmented(&audit);
    let before = Forger::of(&audit).lines;
    let pruning = AuditOptions {
        max_size: 1,
        ..options(&audit, 4_000)
    };
    record(&pruning, 0, 5);
    let after = Forger::of(&audit).lines;
    let first = super::forger::parsed(&after[0]).seq;
    assert!(first > 20);
    // The server was away between record 10 and the pruning.
    let file = directory.path().join("log");
    fs::write(&file, text(before[..10].iter().chain(&after))).unwrap();
    let report = proved(&file, &with_key(&key));
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:#?}");
    };
    assert_eq!((gap.from, gap.to), (Some(11), Some(first - 1)));
    assert!(gap.cause.contains("pruned before"), "{gap:?}");
}

/// How long a pruning may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
