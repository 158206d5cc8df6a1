//! Whatever lies in the directory, a start and a `verify` end, and the relay's own records leave
//! nothing worse than it was.

use std::fs;
use std::path::Path;

use callhome_relay::audit::generate;
use callhome_trail::segments::MAX_LINE;
use callhome_trail::verify::{Evidence, VerifyError, verify};
use callhome_trail::{HEAD, Hash, Head, Line, Reader, seals::SEALS};

use super::forger::{Forger, proved, trail, whole, with_key, write_head};

/// The numbers of the records of a directory, in the order of its files.
fn numbers(directory: &Path) -> Vec<u64> {
    let mut reader = Reader::open(directory).unwrap();
    let mut numbers = Vec::new();
    loop {
        match reader.next_line() {
            Ok(Some(raw)) => numbers.extend(Line::parse(raw.bytes).map(|line| line.seq)),
            Ok(None) => return numbers,
            // A compressed file that is none can't be read on.
            Err(_) => reader.skip_file(),
        }
    }
}

/// A tunnel without an end gets a closing record, and that one is longer than what it is made from.
#[test]
fn an_over_long_opening_makes_no_record_that_breaks_the_trail() {
    // 262,143 bytes is the longest line that a reader takes.
    for length in [0, 60_000, 66_000, 200_000, usize::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let key = generate(directory.path()).unwrap();
        trail(directory.path(), 3);
        let mut forger = Forger::of(directory.path());
        forger.append_session(length);
        let line = forger.lines.last().unwrap().len() as u64;
        assert!(line < MAX_LINE);
        assert!(length != usize::MAX || line == MAX_LINE - 1);
        forger.append_last();
        for run in 0..2 {
            trail(directory.path(), 1);
            let report = whole(directory.path(), &with_key(&key));
            assert_eq!(report.sealed_to, Some(report.to), "{length}, {run}");
            let all = Forger::of(directory.path()).lines;
            assert!(all.iter().all(|it| (it.len() as u64) < MAX_LINE));
        }
    }
}

#[test]
fn a_head_with_any_number_breaks_no_start() {
    let numbers_near = [
        0,
        1,
        (1 << 52) - 2,
        (1 << 52) - 1,
        1 << 52,
        (1 << 53) - 2,
        (1 << 53) - 1,
        1 << 53,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    for seq in numbers_near {
        let directory = tempfile::tempdir().unwrap();
        let key = generate(directory.path()).unwrap();
        trail(directory.path(), 3);
        let id = whole(directory.path(), &with_key(&key)).trail;
        write_head(directory.path(), &Head::new(&id, seq, &Hash::of(b"x")));
        for run in 1..=3 {
            trail(directory.path(), 1);
            let report = proved(directory.path(), &with_key(&key));
            // Each run has its records: a checkpoint, one of the test's, and a checkpoint.
            assert_eq!(report.to, 5 + 3 * run + 1, "{seq}");
            let [gap] = report.gaps.as_slice() else {
                panic!("{seq}: {:?}", report.gaps);
            };
            assert!(gap.cause.contains("isn't signed"), "{gap:?}");
        }
    }
}

/// Of an older relay's trail any head is believed, because none was signed.
#[test]
fn an_unsigned_head_with_any_number_leaves_numbers_for_the_records_behind_it() {
    for seq in [
        (1 << 52) - 1,
        1 << 52,
        (1 << 53) - 1,
        1 << 53,
        1 << 63,
        u64::MAX,
    ] {
        let directory = super::old::copy_of("stopped");
        let id = whole(directory.path(), &Evidence::default()).trail;
        write_head(directory.path(), &Head::new(&id, seq, &Hash::of(b"x")));
        for _ in 0..3 {
            trail(directory.path(), 1);
            let report = proved(directory.path(), &Evidence::default());
            assert!(report.to < 1 << 53, "{seq}: {}", report.to);
            assert!(report.gaps.len() <= 1, "{seq}: {:?}", report.gaps);
        }
        let all = numbers(directory.path());
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    }
}

#[test]
fn garbage_in_any_file_stops_no_start_and_no_verify() {
    let long = vec![b'x'; 3 << 20];
    let nul = vec![0; 100_000];
    let texts: [&[u8]; 7] = [
        b"",
        b"\n",
        b"{}\n",
        b"{\"v\":1,\"trail\":\"",
        b"\xff\xfe\x00",
        &long,
        &nul,
    ];
    for name in [
        HEAD,
        SEALS,
        "ship.json",
        "access.jsonl",
        "access-000000000001.jsonl.zst",
        "access-.jsonl",
    ] {
        for text in texts {
            let directory = tempfile::tempdir().unwrap();
            trail(directory.path(), 3);
            fs::write(directory.path().join(name), text).unwrap();
            for _ in 0..2 {
                match verify(directory.path(), &Evidence::default(), |_| ()) {
                    Ok(_) | Err(VerifyError::Broken(_)) => {}
                    Err(VerifyError::Io(error)) => panic!("{name}: {error}"),
                }
                trail(directory.path(), 1);
            }
            let all = numbers(directory.path());
            assert!(!all.is_empty(), "{name}");
        }
    }
}

/// Forged checkpoints, prunings and gaps in the tail, with members of any size.
#[test]
fn forged_records_of_the_relay_stop_no_start() {
    let huge = u64::MAX;
    let text = "x".repeat(100_000);
    for (event, data) in [
        (
            "checkpoint",
            serde_json::json!({"records": huge, "boot": text, "uptime_ms": huge, "key": text, "next": text, "heads": true, "first": {"seq": huge, "prev": text}, "unsealed": {"from": huge, "to": 0}}),
        ),
        ("checkpoint", serde_json::json!({})),
        ("checkpoint", serde_json::json!([1])),
        (
            "trail_pruned",
            serde_json::json!({"from": 0, "to": huge, "hash": text, "segments": huge, "bytes": huge}),
        ),
        ("trail_pruned", serde_json::json!(null)),
        (
            "audit_gap",
            serde_json::json!({"from": huge, "to": 0, "count": huge, "cause": text}),
        ),
        (
            "relay_started",
            serde_json::json!({"version": text, "boot": null, "uptime_ms": huge, "listeners": [], "sandbox": [], "unsealed": {"from": huge, "to": huge}}),
        ),
        ("tunnel_opened", serde_json::json!(7)),
        ("unheard_of", serde_json::json!({"a": [[[[[[]]]]]]})),
    ] {
        let directory = tempfile::tempdir().unwrap();
        trail(directory.path(), 3);
        let mut forger = Forger::of(directory.path());
        forger.append(event, &data).append_last();
        for _ in 0..2 {
            let before = numbers(directory.path());
            let _ = verify(directory.path(), &Evidence::default(), |_| ());
            trail(directory.path(), 1);
            let after = numbers(directory.path());
            assert_eq!(after[..before.len()], before, "{event}");
            assert!(
                after.is_sorted_by(|one, next| one < next),
                "{event}: {after:?}"
            );
        }
    }
}
