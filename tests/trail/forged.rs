//! Forgeries by someone who can write every file of a trail, and has no key that sealed it. Each is
//! broken, with the reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callhome_relay::audit::generate;
use callhome_trail::segments::ACTIVE;
use callhome_trail::verify::Evidence;
use callhome_trail::{HEAD, Hash, Head, HeadFile, PublicKey, seals::SEALS};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::forger::{
    Forger, broken, copy, delete_oldest, proved, record, segmented, stopped, trail, whole,
    with_key, witness, write_head,
};
use crate::support::process::{Process, write_config};
use crate::support::trail::{options, start};

/// A trail with its first key and a whole copy of it, which a forger doesn't reach.
struct Scene {
    directory: TempDir,
    audit: PathBuf,
    key: PublicKey,
}

impl Scene {
    fn new(write: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let audit = directory.path().join("audit");
        let key = generate(&audit).unwrap();
        write(&audit);
        let scene = Self {
            directory,
            audit,
            key,
        };
        witness(&scene.audit, &scene.witness());
        whole(&scene.audit, &with_key(&scene.key));
        scene
    }

    fn witness(&self) -> PathBuf {
        self.directory.path().join("witness")
    }

    fn broken(&self) -> String {
        broken(&self.audit, &with_key(&self.key))
    }

    /// Starts a relay on the trail and stops it. Returns its log.
    fn restart(&self) -> String {
        write_config(self.directory.path(), "", "");
        let mut process = Process::serve(self.directory.path());
        process.signal(Signal::INT);
        assert!(process.wait().success());
        process.said()
    }

    /// Deletes the oldest segments, and appends a record that says that they were pruned.
    fn forge_pruning(&self) {
        let (first, prev) = delete_oldest(&self.audit, 2);
        let mut forger = Forger::of(&self.audit);
        forger.append("trail_pruned", &pruning(first, &prev));
        forger.append_last();
    }
}

fn pruning(first: u64, prev: &Hash) -> serde_json::Value {
    json!({"from": 1, "to": first - 1, "hash": prev.as_str(), "segments": 3, "bytes": 9000})
}

#[test]
fn a_pruning_that_no_checkpoint_covers_hides_nothing() {
    let scene = Scene::new(segmented);
    scene.forge_pruning();
    let witness = scene.witness();
    let evidence = Evidence {
        witness: Some(&witness),
        ..with_key(&scene.key)
    };
    let why = broken(&scene.audit, &evidence);
    assert!(why.contains("the last checkpoint has them"), "{why}");
    let why = broken(&scene.audit, &Evidence::default());
    assert!(why.contains("the last checkpoint has them"), "{why}");
}

#[test]
fn a_start_doesnt_seal_a_forged_pruning_and_says_that_it_found_one() {
    let scene = Scene::new(segmented);
    scene.forge_pruning();
    let log = scene.restart();
    assert!(log.contains("a pruning that no checkpoint covers"), "{log}");
    for _ in 0..2 {
        let why = scene.broken();
        assert!(why.contains("no checkpoint vouches for it"), "{why}");
        broken(&scene.audit, &Evidence::default());
        scene.restart();
    }
}

#[test]
fn oldest_segments_that_are_gone_without_a_pruning_stay_missing_after_a_start() {
    let scene = Scene::new(segmented);
    delete_oldest(&scene.audit, 2);
    let why = scene.broken();
    assert!(why.contains("the last checkpoint has them"), "{why}");
    scene.restart();
    let why = scene.broken();
    assert!(why.contains("no pruning says so"), "{why}");
}

#[test]
fn a_forged_gap_explains_no_segment_that_is_gone() {
    let scene = Scene::new(segmented);
    let (first, _) = delete_oldest(&scene.audit, 2);
    let mut forger = Forger::of(&scene.audit);
    // The first record that is left becomes a gap. Its hash changes, and so do all behind it.
    let gap = json!({"from": 1, "to": first - 1, "count": null, "cause": "lost"});
    forger.append("audit_gap", &gap);
    let gap = forger.lines.pop().unwrap();
    forger.lines[0] = gap.replace(
        &format!("\"seq\":{}", first + forger.lines.len() as u64),
        &format!("\"seq\":{first}"),
    );
    forger.chain(0).write();
    forger.mend();
    scene.broken();
}

#[test]
fn a_trail_without_its_checkpoints_is_proved_by_no_key() {
    let scene = Scene::new(|audit| trail(audit, 50));
    let mut forger = Forger::of(&scene.audit);
    forger
        .strip("checkpoint", 0)
        .change("\"tunnels_cut\":7}", "\"tunnels_cut\":8}");
    forger.lines[0] = forger.lines[0].replacen("\"seq\":2,", "\"seq\":1,", 1);
    forger.chain(0).write();
    forger.mend();
    // Without a key nothing shows: the chain alone needs no secret.
    whole(&scene.audit, &Evidence::default());
    let why = scene.broken();
    assert!(why.contains("no checkpoint is signed by a key"), "{why}");
}

#[test]
fn a_relay_seals_before_so_many_records_come_behind_a_checkpoint() {
    let scene = Scene::new(|audit| trail(audit, 21_000));
    let mut forger = Forger::of(&scene.audit);
    forger
        .strip("checkpoint", 1)
        .change("\"tunnels_cut\":20000}", "\"tunnels_cut\":0}")
        .chain(1)
        .write();
    forger.mend();
    let why = scene.broken();
    assert!(why.contains("isn't signed"), "{why}");
    // A copy has no head, so there it is the number of records.
    let why = broken(&scene.audit.join(ACTIVE), &with_key(&scene.key));
    assert!(
        why.contains("21000 records come behind checkpoint 1"),
        "{why}"
    );
}

#[test]
fn a_head_of_before_doesnt_cover_a_forged_end() {
    // The forger has kept a head that the relay signed early.
    let scene = Scene::new(|audit| trail(audit, 3));
    let early = fs::read(scene.audit.join(HEAD)).unwrap();
    trail(&scene.audit, 21_000);
    let mut forger = Forger::of(&scene.audit);
    forger.strip("checkpoint", 5).chain(5).write();
    forger.mend();
    fs::write(scene.audit.join(HEAD), early).unwrap();
    let why = scene.broken();
    assert!(
        why.contains("21000 records come behind record 5, with which head.json says"),
        "{why}"
    );
}

#[test]
fn a_rewritten_end_behind_the_last_checkpoint_is_what_the_head_shows() {
    let scene = crashed();
    let mut forger = Forger::of(&scene.audit);
    forger
        .change("\"tunnels_cut\":9}", "\"tunnels_cut\":0}")
        .chain(1)
        .write();
    // The head names another record.
    let why = scene.broken();
    assert!(why.contains("head.json has another hash"), "{why}");
    // The forger mends it, and can't sign it.
    forger.mend_head();
    let why = scene.broken();
    assert!(why.contains("head.json isn't signed"), "{why}");
    // The forger leaves the head out, or takes the kept checkpoints along.
    fs::remove_file(scene.audit.join(HEAD)).unwrap();
    let why = scene.broken();
    assert!(why.contains("head.json is missing"), "{why}");
    fs::remove_file(scene.audit.join(SEALS)).unwrap();
    let why = scene.broken();
    assert!(why.contains("head.json is missing"), "{why}");
}

/// A crash leaves records behind the last checkpoint, and only the head covers these.
fn crashed() -> Scene {
    Scene::new(|directory| {
        let half = directory.with_file_name("half");
        let options = options(directory, 64 << 20);
        let (audit, writer) = start(&options);
        for n in 0..20 {
            audit.relay_event(stopped(n));
        }
        let start = Instant::now();
        while !matches!(Head::load(directory).unwrap(), HeadFile::Read(head) if head.seq == 21) {
            assert!(start.elapsed() < Duration::from_secs(10), "never saved");
            std::thread::sleep(Duration::from_millis(10));
        }
        // A kill at this moment would leave the directory as it is now.
        copy(directory, &half);
        writer.close();
        fs::remove_dir_all(directory).unwrap();
        fs::rename(half, directory).unwrap();
    })
}

/// What is rewritten behind the last checkpoint isn't washed clean by a start, whatever is removed
/// along with it.
#[test]
fn a_start_declares_a_rewritten_end() {
    for remove in [&[][..], &[HEAD], &[SEALS], &[HEAD, SEALS]] {
        let scene = crashed();
        let mut forger = Forger::of(&scene.audit);
        forger
            .change("\"tunnels_cut\":9}", "\"tunnels_cut\":0}")
            .chain(1)
            .write();
        forger.mend_head();
        for name in remove {
            fs::remove_file(scene.audit.join(name)).unwrap();
        }
        trail(&scene.audit, 1);
        let report = proved(&scene.audit, &with_key(&scene.key));
        let cause = report.gaps.first().map(|gap| gap.cause.as_str());
        assert!(
            cause.is_some_and(|cause| cause.contains(HEAD)),
            "{remove:?}: {report:#?}"
        );
        assert!(report.unsealed.len() == 1, "{report:#?}");
    }
}

#[test]
fn a_head_that_isnt_this_trails_is_broken() {
    let scene = Scene::new(|audit| trail(audit, 20));
    let other = Scene::new(|audit| trail(audit, 20));
    let HeadFile::Read(head) = Head::load(&scene.audit).unwrap() else {
        panic!("no head");
    };
    let path = scene.audit.join(HEAD);
    let good = fs::read(&path).unwrap();
    let check = |why: &str| {
        for evidence in [Evidence::default(), with_key(&scene.key)] {
            let broken = broken(&scene.audit, &evidence);
            assert!(broken.contains(why), "{why}: {broken}");
        }
        fs::write(&path, &good).unwrap();
        whole(&scene.audit, &with_key(&scene.key));
    };
    write_head(
        &scene.audit,
        &Head::new(&head.trail, head.seq, &Hash::GENESIS),
    );
    check("another hash of record 22");
    let hash = Hash::parse(head.hash.as_bytes()).unwrap();
    write_head(&scene.audit, &Head::new(&head.trail, head.seq, &hash));
    check("head.json isn't signed");
    write_head(&scene.audit, &Head::new(&head.trail, 1 << 60, &hash));
    check("the end is cut off");
    fs::copy(other.audit.join(HEAD), &path).unwrap();
    check("head.json is of another trail");
    for spoilt in ["", "nothing of use", "{}", "{\"trail\":\"x\",\"seq\":1}"] {
        fs::write(&path, spoilt).unwrap();
        check("head.json is spoilt");
    }
    fs::remove_file(&path).unwrap();
    check("head.json is missing");
    // A signature over another record is none for this one.
    let text = String::from_utf8(good.clone()).unwrap();
    fs::write(&path, text.replace("\"seq\":22", "\"seq\":21")).unwrap();
    check("head.json");
}

#[test]
fn kept_checkpoints_that_arent_this_trails_are_broken() {
    let write = |audit: &Path| {
        for run in 0..4 {
            record(&options(audit, 64 << 20), run, 1);
        }
    };
    let (scene, other) = (Scene::new(write), Scene::new(write));
    let path = scene.audit.join(SEALS);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = good.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 8);
    let others = fs::read_to_string(other.audit.join(SEALS)).unwrap();
    let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().concat();
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    for (what, text, why) in [
        ("gone", None, "seals.jsonl lacks the checkpoint"),
        ("empty", Some(String::new()), "lacks the checkpoint"),
        (
            "spoilt",
            Some("nothing of use\n".into()),
            "lacks the checkpoint",
        ),
        ("another trail's", Some(others), "kept another record"),
        (
            "without the first",
            Some(without(0)),
            "lacks the checkpoint 1",
        ),
        ("without one", Some(without(3)), "lacks the checkpoint"),
        ("cut", Some(lines[..5].concat()), "lacks the checkpoint"),
        ("swapped", Some(swapped.concat()), "seals.jsonl"),
    ] {
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        for evidence in [Evidence::default(), with_key(&scene.key)] {
            let broken = broken(&scene.audit, &evidence);
            assert!(broken.contains(why), "{what}: {broken}");
        }
        fs::write(&path, &good).unwrap();
    }
    whole(&scene.audit, &with_key(&scene.key));
}
