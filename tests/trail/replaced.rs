//! An older copy of a whole trail, keys and all, laid over the trail that went on. Nothing inside
//! can show it. A pin and a witness do.

use std::path::PathBuf;

use callhome_relay::audit::generate;
use callhome_trail::PublicKey;
use callhome_trail::verify::{Evidence, Pin};
use rustix::process::Signal;
use tempfile::TempDir;

use super::forger::{broken, copy, record, trail, whole, with_key, witness};
use crate::support::process::{Process, write_config};
use crate::support::trail::{audit, options};

struct Replaced {
    _directory: TempDir,
    audit: PathBuf,
    key: PublicKey,
    /// Of the trail that went on.
    pin: Pin,
    witness: PathBuf,
}

fn replaced() -> Replaced {
    let directory = tempfile::tempdir().unwrap();
    let (audit, older) = (
        directory.path().join("audit"),
        directory.path().join("older"),
    );
    let key = generate(&audit).unwrap();
    trail(&audit, 20);
    copy(&audit, &older);
    record(&options(&audit, 64 << 20), 20, 20);
    let pin = whole(&audit, &with_key(&key)).pin;
    let witness_file = directory.path().join("witness");
    witness(&audit, &witness_file);
    std::fs::remove_dir_all(&audit).unwrap();
    copy(&older, &audit);
    Replaced {
        audit,
        key,
        pin,
        witness: witness_file,
        _directory: directory,
    }
}

#[test]
fn an_older_copy_is_found_by_a_pin_and_by_a_witness_only() {
    let it = replaced();
    for started in [false, true] {
        if started {
            record(&options(&it.audit, 64 << 20), 90, 30);
        }
        let report = whole(&it.audit, &with_key(&it.key));
        assert_eq!(report.sealed_to, Some(report.to));
        let pinned = |key: Option<PublicKey>| Evidence {
            key,
            pin: Some(it.pin.clone()),
            ..Evidence::default()
        };
        for key in [None, Some(it.key.clone())] {
            let why = broken(&it.audit, &pinned(key));
            let expected = if started {
                "the pin names another record"
            } else {
                "record 44"
            };
            assert!(why.contains(expected) && why.contains("the pin"), "{why}");
        }
        let why = broken(
            &it.audit,
            &Evidence {
                witness: Some(&it.witness),
                ..with_key(&it.key)
            },
        );
        let expected = if started {
            "the witness kept another record"
        } else {
            "the witness has record 23, and the trail doesn't"
        };
        assert!(why.contains(expected), "{why}");
    }
}

/// The pin that one run of `verify` prints is what the next one takes, with and without its key.
#[test]
fn a_pin_that_was_printed_holds_for_the_trail_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let key = generate(&path).unwrap();
    trail(&path, 20);
    let verify = |more: &[&str]| {
        let arguments = ["verify", path.to_str().unwrap()];
        let output = audit(arguments.iter().chain(more));
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = verify(&["--key", key.as_str()]);
    assert_eq!(code, Some(0), "{text}");
    let pin = text.lines().find_map(|line| line.strip_prefix("pin      "));
    let pin = pin.unwrap().to_owned();
    let short = pin.rsplit_once(':').unwrap().0.to_owned();
    assert_eq!(pin.split(':').count(), 3);
    for runs in 0..3 {
        for pin in [&pin, &short] {
            for key in [&[][..], &["--key", key.as_str()]] {
                let (code, text) = verify(&[&["--expect", pin], key].concat());
                assert_eq!(code, Some(0), "{runs}: {text}");
            }
        }
        record(&options(&path, 64 << 20), 100 * runs, 10);
    }
    let changed = pin.replacen("22:", "21:", 1);
    let (code, text) = verify(&["--expect", &changed]);
    assert_eq!(code, Some(1));
    assert!(text.contains("the pin names another record"), "{text}");
    for wrong in ["22", "22:abc", "x:y:z", "", "22:"] {
        assert_eq!(verify(&["--expect", wrong]).0, Some(2), "{wrong}");
    }
}

/// A start and a stop log the end of the trail, so that the log is a witness too.
#[test]
fn a_relay_logs_a_pin_when_it_starts_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    write_config(directory.path(), "", "");
    let mut logs = Vec::new();
    for _ in 0..2 {
        let mut process = Process::serve(directory.path());
        process.signal(Signal::INT);
        assert!(process.wait().success());
        logs.push(process.said());
    }
    let pins = |log: &str| -> Vec<String> {
        let words = log.split_whitespace();
        let pins = words.filter_map(|word| word.strip_prefix("pin="));
        pins.map(str::to_owned).collect()
    };
    let (first, second) = (pins(&logs[0]), pins(&logs[1]));
    assert_eq!((first.len(), second.len()), (2, 2), "{logs:?}");
    assert_eq!(
        first[1], second[0],
        "a start goes on where the last run stopped"
    );
    for pin in [&first[1], &second[1]] {
        let report = whole(
            &path,
            &Evidence {
                pin: Some(pin.parse().unwrap()),
                ..Evidence::default()
            },
        );
        assert!(report.to >= 2);
    }
    let end = whole(&path, &Evidence::default()).pin;
    assert_eq!(end.to_string(), second[1]);
}

/// A file that begins behind the pinned record is proved from there on.
#[test]
fn a_copy_that_was_begun_late_is_proved_from_its_pin_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let key = generate(&path).unwrap();
    trail(&path, 20);
    let pin = whole(&path, &with_key(&key)).pin;
    record(&options(&path, 64 << 20), 20, 5);
    let file = directory.path().join("late.jsonl");
    let lines = super::forger::Forger::of(&path).lines;
    std::fs::write(&file, super::forger::text(&lines[22..])).unwrap();
    let pinned = Evidence {
        pin: Some(pin.clone()),
        ..Evidence::default()
    };
    let report = whole(&file, &pinned);
    assert_eq!((report.from, report.sealed_to), (23, Some(report.to)));
    // Its first record alone has no checkpoint yet.
    std::fs::write(&file, super::forger::text(&lines[22..23])).unwrap();
    whole(&file, &pinned);
    // Another pin, and none.
    broken(&file, &Evidence::default());
    let other = Pin {
        hash: Some(callhome_trail::Hash::GENESIS),
        ..pin
    };
    let why = broken(
        &file,
        &Evidence {
            pin: Some(other),
            ..Evidence::default()
        },
    );
    assert!(why.contains("it follows another record"), "{why}");
}
