//! Tests what somebody can lay into the directory of a relay that is down, so that the next start
//! would sign it.

use std::os::unix::fs::symlink;

use callhome_trail::{AuditGap, Checkpoint, Data, HEAD, Jumps, Oldest, Range, TrailPruned};
use jiff::Timestamp;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::damage::{active, closed, segmented};
use super::*;

fn first_key(directory: &Path) -> PublicKey {
    let seals = fs::read(directory.join(seals::SEALS)).unwrap();
    let line = seals.split(|byte| *byte == b'\n').next().unwrap();
    let data: Checkpoint = Line::parse(line).unwrap().data().unwrap();
    PublicKey::parse(&data.key).unwrap()
}

fn proof(directory: &Path, key: &PublicKey) -> Result<Verification, String> {
    let evidence = Evidence {
        key: Some(key.clone()),
        ..Evidence::default()
    };
    verify(directory, &evidence, |_| ()).map_err(|error| error.to_string())
}

/// The line of a forged record, with a line feed.
fn forged(trail: &str, seq: u64, prev: Hash, time: Timestamp, data: &Data) -> Vec<u8> {
    let mut members = serde_json::to_vec(&serde_json::json!({
        "relay": "test", "event": data.event(), "data": data,
    }))
    .unwrap();
    members.pop();
    let mut line = Vec::new();
    Chain::resume(trail.into(), seq, prev).append(time, &members[1..], &mut line);
    line
}

fn last_line(path: &Path) -> Vec<u8> {
    let text = fs::read(path).unwrap();
    let text = text.strip_suffix(b"\n").unwrap();
    text.rsplit(|byte| *byte == b'\n').next().unwrap().to_vec()
}

fn gap() -> Data {
    Data::AuditGap(AuditGap::unnumbered("forged"))
}

/// Runs a relay for so long that it has looked for segments to prune.
fn tended(options: &AuditOptions) {
    let (audit, writer) = start(options);
    refuse(&audit);
    thread::sleep(Duration::from_millis(500));
    writer.close();
}

/// Deletes the segments before the last closed one, and returns how that one begins.
fn delete_oldest(directory: &Path) -> segments::Segment {
    let count = closed(directory).len();
    let mut all = segments::list(directory).unwrap();
    for segment in all.drain(..count - 1) {
        fs::remove_file(segment.path).unwrap();
    }
    all.remove(0)
}

#[test]
fn a_start_vouches_for_no_pruning_that_it_finds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    segmented(&options);
    trail(&options, 1);
    let key = first_key(path);
    let begin = delete_oldest(path);
    let end = last_line(&active(path));
    let line = Line::parse(&end).unwrap();
    let pruned = Data::TrailPruned(TrailPruned {
        from: 1,
        to: begin.first - 1,
        hash: begin.prev.to_string().into(),
        segments: 1,
        bytes: 1,
        reason: Some("keep".into()),
        records: None,
        first_time: None,
        kept_from: None,
    });
    let now = Timestamp::now();
    let pruning = forged(&line.trail, line.seq + 1, line.hash, now, &pruned);
    // A checkpoint that covers it lies elsewhere while the relay starts, with the right successor.
    let next = line.data::<Checkpoint>().unwrap().next;
    let covering = Data::Checkpoint(Checkpoint {
        records: 1,
        boot: None,
        uptime_ms: 1,
        key: next.clone(),
        next,
        heads: true,
        first: Some(Oldest {
            seq: begin.first,
            prev: begin.prev.to_string().into(),
        }),
        pruning: Some(line.seq + 1),
        unsealed: None,
        open_from: None,
        jumps: Jumps::default(),
    });
    let covering = forged(&line.trail, line.seq + 1, line.hash, now, &covering);
    let append = |path: &Path, line: &[u8]| {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(line).unwrap();
    };
    append(&active(path), &pruning);
    let kept = path.join(seals::SEALS);
    append(&kept, &covering);

    trail(&options, 3);
    trail(&options, 3);
    let text = fs::read(&kept).unwrap();
    let mut lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.retain(|line| **line != covering);
    fs::write(&kept, lines.concat()).unwrap();
    let error = proof(path, &key).unwrap_err();
    assert!(error.contains("no checkpoint vouches for it"), "{error}");
}

#[test]
fn forged_files_lead_no_relay_to_declare_a_pruning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    segmented(&options);
    trail(&options, 1);
    let key = first_key(path);
    let begin = delete_oldest(path);
    let end = last_line(&active(path));
    let trail_id = Line::parse(&end).unwrap().trail.into_owned();
    // Two old files, of which the second begins where the trail now begins. They sort before it.
    let old = Timestamp::UNIX_EPOCH;
    let files = [
        forged(&trail_id, 1, Hash::GENESIS, old, &gap()),
        forged(&trail_id, begin.first, begin.prev, old, &gap()),
    ];
    let names = ["access--1.jsonl", "access--2.jsonl"].map(|name| path.join(name));
    for (name, line) in names.iter().zip(&files) {
        fs::write(name, line).unwrap();
    }
    tended(&options);
    trail(&options, 3);
    for name in &names {
        let _ = fs::remove_file(name);
        let _ = fs::remove_file(segments::compressed(name));
    }
    let error = proof(path, &key).unwrap_err();
    assert!(error.contains("are missing"), "{error}");
}

#[test]
fn a_forged_time_makes_no_segment_old() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    segmented(&options);
    trail(&options, 1);
    let key = first_key(path);
    // One file has all closed segments, so that only the forged one tells how old its end is.
    let mut text = Vec::new();
    for segment in closed(path) {
        let mut reader = Reader::open(&segment).unwrap();
        while let Some(line) = reader.next_line().unwrap() {
            text.extend_from_slice(line.bytes);
            text.push(b'\n');
        }
        fs::remove_file(segment).unwrap();
    }
    let begin = segments::list(path).unwrap().remove(0);
    assert_eq!(begin.path, active(path));
    fs::write(path.join("access-000000000001.jsonl"), text).unwrap();
    let end = last_line(&active(path));
    let trail_id = Line::parse(&end).unwrap().trail.into_owned();
    let name = path.join("access--2.jsonl");
    let old = Timestamp::UNIX_EPOCH;
    let line = forged(&trail_id, begin.first, begin.prev, old, &gap());
    fs::write(&name, line).unwrap();
    tended(&options);
    let _ = fs::remove_file(&name);
    let _ = fs::remove_file(segments::compressed(&name));
    let report = proof(path, &key).unwrap();
    assert_eq!(report.from, 1, "{report:#?}");
}

#[test]
fn verify_marks_a_gap_for_which_no_checkpoint_vouches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    trail(&options, 3);
    let key = first_key(path);
    let end = last_line(&active(path));
    let line = Line::parse(&end).unwrap();
    let now = Timestamp::now();
    let forged = forged(&line.trail, line.seq + 1, line.hash, now, &gap());
    let mut file = OpenOptions::new().append(true).open(active(path)).unwrap();
    file.write_all(&forged).unwrap();
    let vouched = |report: Verification| report.gaps.iter().map(|gap| gap.vouched).collect();
    let before: Vec<_> = vouched(proof(path, &key).unwrap());
    assert_eq!(before, [false]);
    // The relay seals it and doesn't vouch for it.
    trail(&options, 3);
    let after: Vec<_> = vouched(proof(path, &key).unwrap());
    assert_eq!(after, [false]);
}

#[test]
fn records_before_a_hole_are_sealed_by_no_checkpoint_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    trail(&options, 10);
    let key = first_key(path);
    // A checkpoint, ten records, a checkpoint. The head and the seals stay as they are.
    let text = fs::read(active(path)).unwrap();
    let first = text.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    let line = Line::parse(first.strip_suffix(b"\n").unwrap()).unwrap();
    let mut forgery = first.to_vec();
    let now = Timestamp::now();
    forgery.extend(forged(&line.trail, line.seq + 1, line.hash, now, &gap()));
    fs::write(active(path), forgery).unwrap();
    trail(&options, 3);
    let report = proof(path, &key).unwrap();
    let (from, to) = (2, 2);
    assert_eq!(report.unsealed, [Range { from, to }], "{report:#?}");
    assert!(
        report
            .gaps
            .iter()
            .any(|gap| (gap.from, gap.to) == (Some(3), Some(12))),
        "{report:#?}"
    );
}

#[test]
fn what_isnt_a_file_holds_up_neither_a_start_nor_a_proof() {
    let pipe = |path: &Path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    let endless = |path: &Path| symlink("/dev/zero", path).unwrap();
    let kinds: [&dyn Fn(&Path); 3] = [&pipe, &folder, &endless];
    for kind in kinds {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let options = options(path);
        trail(&options, 3);
        let key = first_key(path);
        fs::rename(active(path), path.join("access-000000000001.jsonl")).unwrap();
        for name in ["access.jsonl", "access-9.jsonl", seals::SEALS, HEAD] {
            let path = path.join(name);
            let _ = fs::remove_file(&path);
            kind(&path);
        }
        assert!(proof(path, &key).unwrap_err().contains(HEAD));
        trail(&options, 3);
        let report = proof(path, &key).unwrap();
        assert_eq!(report.from, 1, "{report:#?}");
    }
}

#[test]
fn a_pipe_is_no_witness_because_it_can_be_read_only_once() {
    let directory = tempfile::tempdir().unwrap();
    trail(&options(&directory.path().join("trail")), 3);
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let evidence = Evidence {
        witness: Some(&pipe),
        ..Evidence::default()
    };
    let result = verify(&directory.path().join("trail"), &evidence, |_| ());
    assert!(matches!(result, Err(VerifyError::Io(_))), "{result:?}");
}

#[test]
fn an_end_that_no_crash_tears_off_is_not_copied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let options = options(path);
    trail(&options, 3);
    let key = first_key(path);
    // Sparse, so that it takes no room.
    let file = OpenOptions::new().append(true).open(active(path)).unwrap();
    file.set_len(1 << 34).unwrap();
    drop(file);
    let before = proof(path, &key).unwrap_err();
    let (audit, writer) = start(&options);
    refuse(&audit);
    wait_for(|| waiting(&audit) == 0);
    let torn = fs::read_dir(path).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("torn-")
    });
    assert_eq!(torn.count(), 0);
    writer.close();
    let after = proof(path, &key).unwrap_err();
    assert!(before.ends_with("it isn't a record") && after.ends_with("it isn't a record"));
}
