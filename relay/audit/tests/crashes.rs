//! Tests what a crash leaves between any two steps of a checkpoint: it is proved at once, and the
//! next start goes on without a gap.

use callhome_trail::RelayStopped;

use super::damage::active;
use super::*;

/// The steps that put a checkpoint on the disk, in their order. A crash comes behind one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The successor's key is on the disk.
    Prepared,
    /// Half of the checkpoint is written.
    Torn,
    Written,
    HeadSaved,
    /// Half of its line is kept.
    HalfKept,
    Kept,
    /// The old key is overwritten, and its successor hasn't taken its name.
    Erased,
    Exchanged,
}

const STEPS: [Step; 8] = [
    Step::Prepared,
    Step::Torn,
    Step::Written,
    Step::HeadSaved,
    Step::HalfKept,
    Step::Kept,
    Step::Erased,
    Step::Exchanged,
];

fn read(directory: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(directory.join(name)).ok()
}

fn put(directory: &Path, name: &str, content: Option<&[u8]>) {
    let path = directory.join(name);
    match content {
        Some(content) => fs::write(path, content).unwrap(),
        None => drop(fs::remove_file(path)),
    }
}

/// Starts on the directory, and leaves it as a crash behind this step of the first checkpoint does.
fn crash(options: &AuditOptions, at: Step) {
    let directory = options.directory.as_deref().unwrap();
    // Recovery comes before the checkpoint, and has its effects.
    drop(writer::open(options).unwrap());
    let before = |name: &str| read(directory, name);
    let (text, head) = (
        before("access.jsonl").unwrap_or_default(),
        before("head.json"),
    );
    let (kept, key) = (before("seals.jsonl"), before("seal.key").unwrap());
    trail(options, 0);
    let written = read(directory, "access.jsonl").unwrap();
    let added = &written[text.len()..];
    let successor = read(directory, "seal.key").unwrap();
    let all_kept = read(directory, "seals.jsonl").unwrap();

    let half = [text.as_slice(), &added[..added.len() / 2]].concat();
    match at {
        Step::Prepared => put(directory, "access.jsonl", Some(&text)),
        Step::Torn => put(directory, "access.jsonl", Some(&half)),
        _ => {}
    }
    if at < Step::HeadSaved {
        put(directory, "head.json", head.as_deref());
    }
    if at < Step::HalfKept {
        put(directory, "seals.jsonl", kept.as_deref());
    } else if at == Step::HalfKept {
        put(
            directory,
            "seals.jsonl",
            Some(&all_kept[..all_kept.len() - added.len() / 2]),
        );
    }
    if at < Step::Exchanged {
        let erased = vec![b'0'; key.len()];
        let old = if at == Step::Erased { &erased } else { &key };
        put(directory, "seal.key", Some(old));
        put(directory, "seal.key.next", Some(&successor));
    }
}

fn proved(directory: &Path, key: &PublicKey) -> Verification {
    let evidence = Evidence {
        key: Some(key.clone()),
        ..Evidence::default()
    };
    verify(directory, &evidence, |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

/// Crashes at one step after the other, each time on what the last crash left, and proves the trail
/// before and after each start.
fn survive(directory: &Path, key: &PublicKey, steps: &[Step]) {
    let options = options(directory);
    let mut torn = 0;
    for step in steps {
        crash(&options, *step);
        let nothing = active(directory)
            .metadata()
            .map_or(true, |file| file.len() == 0);
        torn += usize::from(*step == Step::Torn);
        let is_first = fs::read_to_string(active(directory)).is_ok_and(|text| !text.contains('\n'));
        if !nothing && !is_first {
            let report = proved(directory, key);
            assert!(report.gaps.len() <= torn, "{steps:?}: {:#?}", report.gaps);
        }
    }
    for _ in 0..2 {
        trail(&options, 2);
        let report = proved(directory, key);
        assert_eq!(report.sealed_to, Some(report.to), "{steps:?}");
        assert_eq!(report.signed_to, Some(report.to), "{steps:?}");
        // Half a record that was set aside is declared, unless a second crash took the declaration.
        assert!(report.gaps.len() <= torn, "{steps:?}: {:#?}", report.gaps);
        let is_declared = report.gaps.len() == torn || steps.len() > 1;
        assert!(is_declared, "{steps:?}: {:#?}", report.gaps);
        whole(directory);
    }
}

/// Runs the body for each step alone, and for each pair of them.
fn each(run: impl Fn(&[Step])) {
    for first in STEPS {
        run(&[first]);
        for second in STEPS {
            run(&[first, second]);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_the_first_checkpoint_is_no_damage() {
    each(|steps| {
        let directory = tempfile::tempdir().unwrap();
        let key = generate(directory.path()).unwrap();
        survive(directory.path(), &key, steps);
    });
}

#[test]
fn a_crash_at_any_step_of_a_later_checkpoint_is_no_damage() {
    each(|steps| {
        let directory = tempfile::tempdir().unwrap();
        let key = generate(directory.path()).unwrap();
        trail(&options(directory.path()), 2);
        survive(directory.path(), &key, steps);
    });
}

#[test]
fn a_crash_at_any_step_on_an_older_relays_trail_is_no_damage() {
    let old = Path::new("tests/data/old-trails/stopped");
    let key = fs::read_to_string(old.join("first.key")).unwrap();
    let key = PublicKey::parse(key.trim()).unwrap();
    each(|steps| {
        let directory = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(old.join("audit")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
        survive(directory.path(), &key, steps);
    });
}

/// The relay is killed between the record of a pruning, its checkpoint and the deletion.
#[test]
fn a_crash_within_a_pruning_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = options(directory.path());
    super::damage::segmented(&options);
    let aside = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    copy(directory.path(), aside.path());
    let all = super::damage::closed(directory.path());
    let before = fs::read(active(directory.path())).unwrap_or_default();
    let smaller = AuditOptions {
        max_size: 1,
        ..options.clone()
    };
    trail(&smaller, 0);
    let after = fs::read(active(directory.path())).unwrap();
    let lines: Vec<_> = after[before.len()..]
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let pruning = lines.iter().position(|line| {
        let line = Line::parse(line.trim_ascii_end()).unwrap();
        line.event == "trail_pruned"
    });
    let pruning = pruning.expect("it prunes");
    assert_eq!(
        Line::parse(lines[pruning + 1].trim_ascii_end())
            .unwrap()
            .event,
        "checkpoint"
    );
    // Every segment is back, as if the relay had been killed before the first deletion.
    for path in &all {
        fs::copy(aside.path().join(path.file_name().unwrap()), path).unwrap();
    }
    let report = proved(directory.path(), &key);
    assert_eq!((report.from, report.gaps.len()), (1, 0));
    // And one after the other is deleted.
    for path in &all {
        fs::remove_file(path).unwrap();
        assert!(proved(directory.path(), &key).gaps.is_empty());
    }
    // The checkpoint behind the pruning was lost too. Its segments are all there then.
    for path in &all {
        fs::copy(aside.path().join(path.file_name().unwrap()), path).unwrap();
    }
    for name in ["head.json", "seals.jsonl", "seal.key"] {
        fs::copy(aside.path().join(name), directory.path().join(name)).unwrap();
    }
    fs::write(active(directory.path()), &before).unwrap();
    proved(directory.path(), &key);
    trail(&smaller, 1);
    assert!(proved(directory.path(), &key).gaps.is_empty());
}

/// A crash may leave more open tunnels than records may come behind a checkpoint.
#[test]
fn a_start_seals_between_the_tunnels_that_were_lost() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = options(directory.path());
    let (audit, writer) = start(&options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..TUNNELS {
        let mut session = audit.session("proxy".into(), "1:p".into(), ([10, 0, 0, 1], 4000).into());
        runtime.block_on(session.opened()).unwrap();
        std::mem::forget(session);
    }
    writer.close();
    let (_, writer) = start(&options);
    wait_long_for(|| {
        let text = fs::read_to_string(active(directory.path())).unwrap();
        text.matches("\"tunnel_lost\"").count() as u64 == TUNNELS
    });
    writer.close();
    let report = proved(directory.path(), &key);
    assert!(report.records > 2 * TUNNELS, "{report:#?}");
    assert_behind(directory.path());
    trail(&options, 0);
    let text = fs::read_to_string(active(directory.path())).unwrap();
    assert_eq!(text.matches("\"tunnel_lost\"").count() as u64, TUNNELS);
}

/// Records that piled up while the writer hung are sealed as they are written.
#[test]
fn a_batch_of_any_size_is_sealed_within_itself() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    for sync in [
        Sync::Every(Duration::from_millis(20)),
        Sync::Never,
        Sync::Always,
    ] {
        let options = AuditOptions {
            sync,
            ..options(directory.path())
        };
        let (audit, writer) = start(&options);
        audit.0.lock().fault = Some(WriterFault::Hang(Duration::from_millis(700)));
        for _ in 0..35_000 {
            refuse(&audit);
        }
        writer.close();
        let report = proved(directory.path(), &key);
        assert!(report.gaps.is_empty());
        assert_behind(directory.path());
    }
}

/// Waits for a search that reads many records, on a machine that is busy.
fn wait_long_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(1), "it never came");
        thread::sleep(Duration::from_millis(100));
    }
}

/// More than may come without a checkpoint.
const TUNNELS: u64 = 12_000;

/// Checks that no more records than `verify` takes come between two checkpoints.
fn assert_behind(directory: &Path) {
    let text = fs::read_to_string(active(directory)).unwrap();
    let mut behind = 0;
    let mut most = 0;
    for line in text.lines() {
        behind += 1;
        if line.contains("\"event\":\"checkpoint\"") {
            behind = 0;
        }
        most = most.max(behind);
    }
    assert!(most > 4000 && most <= seals::EVERY + 64, "{most}");
}

/// A crash can come at any of these moments, and must not look like a forgery.
#[test]
fn no_record_is_further_ahead_of_the_saved_head_than_verify_takes() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let (audit, writer) = start(&options);
    refuse(&audit);
    wait_for(|| waiting(&audit) == 0);
    fs::write(directory.path().join(disk::SLOW), "").unwrap();
    for tunnels_cut in 0..40_000 {
        audit.relay_event(Data::RelayStopped(RelayStopped {
            cause: "test".into(),
            tunnels_cut,
        }));
    }
    let mut most = 0;
    wait_for(|| {
        let Some((head, last)) = snapshot(directory.path()) else {
            return false;
        };
        most = most.max(last - head);
        last > 40_000
    });
    assert!(most > seals::EVERY / 2, "{most} records are no load");
    assert!(most <= seals::EVERY + 64, "{most}");
    fs::remove_file(directory.path().join(disk::SLOW)).unwrap();
    writer.close();
    whole(directory.path());
}

/// The records that the saved head and the file end with. None if the head was saved meanwhile.
fn snapshot(directory: &Path) -> Option<(u64, u64)> {
    let saved = || match Head::load(directory).unwrap() {
        HeadFile::Read(head) => head.seq,
        other => panic!("{other:?}"),
    };
    let head = saved();
    let text = fs::read(active(directory)).unwrap();
    let end = text.iter().rposition(|byte| *byte == b'\n')?;
    let last = text[..end].rsplit(|byte| *byte == b'\n').next()?;
    let last = Line::parse(last).unwrap().seq;
    (saved() == head).then_some((head, last))
}
