//! Trails of a relay from before heads were signed (`tests/data/old-trails`): they are proved as
//! they are, and continued.

use std::fs;
use std::path::{Path, PathBuf};

use callhome_trail::verify::{Evidence, Verification};
use callhome_trail::{HEAD, Head, HeadFile, PublicKey};
use rustix::process::Signal;
use tempfile::TempDir;

use super::forger::{Forger, broken, copy, proved, trail, with_key};
use crate::support::process::{Process, write_config};
use crate::support::schema;

/// A copy of the trail in a folder of the data, to be written to.
pub(super) fn copy_of(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(&data(name).join("audit"), directory.path());
    directory
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/old-trails")
        .join(name)
}

fn key(name: &str) -> PublicKey {
    let text = fs::read_to_string(data(name).join("first.key")).unwrap();
    PublicKey::parse(text.trim()).unwrap()
}

/// Proves a trail, goes on with it twice, and proves it each time.
fn go_on(name: &str) -> [Verification; 3] {
    let (directory, key) = (copy_of(name), key(name));
    let mut before = Forger::of(directory.path()).lines;
    // The last line may be torn.
    before.retain(|line| line.ends_with("\"}"));
    schema::validate(directory.path());
    let reports = [0, 1, 2].map(|run| {
        if run > 0 {
            trail(directory.path(), 5);
            schema::validate(directory.path());
            let after = Forger::of(directory.path()).lines;
            assert_eq!(after[..before.len()], before, "the past stays as it was");
        }
        proved(directory.path(), &with_key(&key))
    });
    let [_, second, third] = &reports;
    for report in [second, third] {
        assert_eq!(report.sealed_to, Some(report.to));
        assert_eq!(report.signed_to, Some(report.to));
    }
    assert!(
        matches!(Head::load(directory.path()).unwrap(), HeadFile::Read(head) if head.is_signed())
    );
    reports
}

#[test]
fn a_trail_that_was_stopped_goes_on_whole() {
    let reports = go_on("stopped");
    for report in &reports {
        assert!(report.gaps.is_empty(), "{report:#?}");
        assert!(report.unsealed.is_empty(), "{report:#?}");
    }
    assert_eq!(reports[0].sealed_to, Some(reports[0].to));
    assert_eq!(reports[0].signed_to, None);
}

#[test]
fn a_trail_that_was_killed_goes_on_whole_with_its_lost_tunnels() {
    let reports = go_on("killed");
    for report in &reports {
        assert!(report.gaps.is_empty(), "{report:#?}");
    }
    assert_eq!(reports[0].sealed_to, Some(1));
    let [unsealed] = reports[2].unsealed.as_slice() else {
        panic!("{reports:#?}");
    };
    assert_eq!((unsealed.from, unsealed.to), (2, reports[0].to));
    let directory = copy_of("killed");
    trail(directory.path(), 1);
    let lines = Forger::of(directory.path()).lines;
    let lost = lines.iter().filter(|line| line.contains("\"tunnel_lost\""));
    assert_eq!(lost.count(), 2);
}

#[test]
fn a_trail_that_was_torn_goes_on_with_a_declared_gap() {
    let reports = go_on("torn");
    assert_eq!((reports[0].torn, reports[0].gaps.len()), (1, 0));
    for report in &reports[1..] {
        let [gap] = report.gaps.as_slice() else {
            panic!("{report:#?}");
        };
        assert!(gap.cause.contains("torn-"), "{gap:?}");
        assert_eq!((gap.from, gap.to), (None, None));
    }
}

#[test]
fn a_trail_that_was_pruned_goes_on_whole() {
    let reports = go_on("pruned");
    for report in &reports {
        assert!(report.gaps.is_empty(), "{report:#?}");
        assert_eq!(report.from, reports[0].from);
    }
    assert!(reports[0].from > 1);
}

#[test]
fn a_whole_relay_goes_on_with_each_of_them() {
    for name in ["stopped", "killed", "torn", "pruned"] {
        let directory = tempfile::tempdir().unwrap();
        copy(&data(name).join("audit"), &directory.path().join("audit"));
        write_config(directory.path(), "", "");
        let mut process = Process::serve(directory.path());
        process.signal(Signal::INT);
        assert!(process.wait().success());
        let report = proved(&directory.path().join("audit"), &with_key(&key(name)));
        assert_eq!(
            report.gaps.len(),
            usize::from(name == "torn"),
            "{report:#?}"
        );
    }
}

/// Where an older relay didn't sign its head, the one that a forger makes is worth nothing more.
/// From the first start of the present relay on, it is.
#[test]
fn a_trail_that_went_on_cant_be_turned_into_an_old_one() {
    let directory = copy_of("stopped");
    let old = fs::read(directory.path().join(HEAD)).unwrap();
    trail(directory.path(), 5);
    proved(directory.path(), &Evidence::default());
    fs::write(directory.path().join(HEAD), old).unwrap();
    for evidence in [Evidence::default(), with_key(&key("stopped"))] {
        let why = broken(directory.path(), &evidence);
        assert!(
            why.contains("head.json is older than the checkpoints"),
            "{why}"
        );
    }
}

/// A pruning that an older relay didn't seal before it deleted may be honest, so it is a gap.
#[test]
fn an_older_relays_unsealed_pruning_is_a_declared_gap() {
    let directory = copy_of("pruned");
    let mut forger = Forger::of(directory.path());
    // The last records are a pruning, a checkpoint, a stop and a checkpoint. Cut behind the
    // pruning, as a kill there leaves the trail.
    let pruning = forger
        .lines
        .iter()
        .rposition(|line| line.contains("\"trail_pruned\""));
    forger.lines.truncate(pruning.unwrap() + 1);
    forger.write();
    forger.mend_head();
    let seals = directory.path().join("seals.jsonl");
    let kept = fs::read_to_string(&seals).unwrap();
    let kept: Vec<_> = kept.split_inclusive('\n').collect();
    fs::write(&seals, kept[..kept.len() - 2].concat()).unwrap();
    let report = proved(directory.path(), &with_key(&key("pruned")));
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:#?}");
    };
    assert!(
        !gap.vouched && gap.cause.starts_with("pruned, as record"),
        "{gap:?}"
    );
    assert_eq!((gap.from, gap.to), (Some(1), Some(report.from - 1)));
}
