//! Tests damage that disks, crashes and people do to a trail's files: a start copes, and `verify`
//! finds the place.

use super::*;

/// The segment being written.
pub(super) fn active(directory: &Path) -> PathBuf {
    directory.join("access.jsonl")
}

/// Rewrites the lines of a file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let text = fs::read(path).unwrap();
    let mut lines = text
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

fn broken_with(path: &Path, key: &PublicKey) -> String {
    match verify(
        path,
        &Evidence {
            key: Some(key.clone()),
            ..Evidence::default()
        },
        |_| (),
    ) {
        Err(VerifyError::Broken(broken)) => broken.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Writes a trail of several closed segments and an active one.
pub(super) fn segmented(options: &AuditOptions) {
    let options = AuditOptions {
        rotate_size: 4000,
        ..options.clone()
    };
    let (audit, writer) = start(&options);
    for n in 0..20 {
        tunnel(&audit);
        if n % 4 == 0 {
            wait_for(|| waiting(&audit) == 0);
            thread::sleep(Duration::from_millis(20));
        }
    }
    writer.close();
}

pub(super) fn closed(directory: &Path) -> Vec<PathBuf> {
    let segments = segments::list(directory).unwrap();
    let mut paths: Vec<_> = segments.into_iter().map(|segment| segment.path).collect();
    paths.retain(|path| !segments::is_active(path));
    assert!(paths.len() >= 3, "{paths:?}");
    paths
}

#[test]
fn a_damaged_first_line_hides_no_segment() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    edit(&active(directory.path()), |lines| lines[0][20] ^= 1);
    let head = directory.path().join("head.json");
    let text = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    fs::remove_file(directory.path().join("seals.jsonl")).unwrap();
    let error = broken(directory.path());
    assert!(error.contains("access.jsonl:1: "), "{error}");
    fs::write(&head, text).unwrap();

    // A start keeps the changed segment as it is, and appends nothing to it.
    trail(&options, 3);
    let error = broken(directory.path());
    assert!(
        error.contains(".jsonl") && error.contains(":1: "),
        "{error}"
    );
    let text = fs::read_to_string(active(directory.path())).unwrap();
    assert_eq!(text.matches("request_denied").count(), 3);
}

#[test]
fn a_compressed_segment_that_was_cut_is_found_and_stops_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    segmented(&options);
    let path = closed(directory.path()).remove(1);
    let bytes = fs::read(&path).unwrap();
    for length in [bytes.len() - 10, 30, 3] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = broken(directory.path());
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
    trail(&options, 1);
    broken(directory.path());
    fs::write(&path, bytes).unwrap();
    assert!(whole(directory.path()).gaps.is_empty());
}

#[test]
fn what_power_loss_leaves_is_a_declared_gap() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 9);
    let HeadFile::Read(head) = Head::load(directory.path()).unwrap() else {
        panic!("no head");
    };
    // The last records were never known to be on the disk, and their pages were written in another
    // order.
    let text = fs::read_to_string(active(directory.path())).unwrap();
    let line = text.lines().nth(4).unwrap();
    let early = whole_head(line.as_bytes());
    fs::write(directory.path().join("head.json"), early).unwrap();
    fs::remove_file(directory.path().join("seals.jsonl")).unwrap();
    edit(&active(directory.path()), |lines| {
        lines[6].fill(0);
        lines.push(vec![0; 4096]);
    });
    trail(&options, 1);
    let report = whole(directory.path());
    let gap = &report.gaps[0];
    assert_eq!((gap.from, gap.to), (Some(7), Some(head.seq)));
}

#[test]
fn nothing_but_a_head_is_a_gap_from_the_first_record_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    fs::remove_file(active(directory.path())).unwrap();
    broken(directory.path());
    trail(&options, 1);
    let report = whole(directory.path());
    assert_eq!((report.gaps[0].from, report.gaps[0].to), (Some(1), Some(7)));
}

#[test]
fn a_made_up_head_leaves_room_for_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 1);
    let trail_id = whole(directory.path()).trail;
    let head = Head::new(&trail_id, u64::MAX, &Hash::GENESIS);
    let text = serde_json::to_vec(&head).unwrap();
    fs::write(directory.path().join("head.json"), text).unwrap();
    trail(&options, 1);
    assert!(whole(directory.path()).to < 10);
}

#[test]
fn a_head_of_another_trail_is_told() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    trail(&options(one.path()), 1);
    trail(&options(other.path()), 5);
    let head = other.path().join("head.json");
    fs::copy(head, one.path().join("head.json")).unwrap();
    trail(&options(one.path()), 1);
    let report = whole(one.path());
    assert!(report.gaps[0].cause.contains("isn't signed"));
}

#[test]
fn two_trails_in_one_directory_are_found() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    segmented(&options(one.path()));
    trail(&options(other.path()), 50);
    fs::copy(
        active(other.path()),
        one.path().join("access-000000000001-1.jsonl"),
    )
    .unwrap();
    let error = broken(one.path());
    assert!(
        error.contains("another record") || error.contains("another trail"),
        "{error}"
    );
}

#[test]
fn a_cut_that_takes_the_head_along_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    edit(&active(directory.path()), |lines| lines.truncate(4));
    fs::remove_file(directory.path().join("head.json")).unwrap();
    let error = broken(directory.path());
    assert!(error.contains("a seal of record 7"), "{error}");
    trail(&options, 1);
    let report = whole(directory.path());
    assert_eq!((report.gaps[0].from, report.gaps[0].to), (Some(5), Some(7)));
}

#[test]
fn a_cut_that_takes_head_and_seals_along_leaves_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    edit(&active(directory.path()), |lines| lines.truncate(4));
    fs::remove_file(directory.path().join("head.json")).unwrap();
    edit(&directory.path().join("seals.jsonl"), |lines| {
        lines.truncate(1);
    });
    trail(&options, 1);
    let report = whole(directory.path());
    assert!(report.gaps[0].cause.contains("head.json is gone"));
    assert!(report.gaps[1].cause.contains("key"), "{report:?}");
}

#[test]
fn a_crash_before_a_checkpoint_is_kept_is_made_good() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = options(directory.path());
    for torn in [true, false] {
        trail(&options, 1);
        edit(&directory.path().join("seals.jsonl"), |lines| {
            if torn {
                lines.last_mut().unwrap().truncate(100);
            } else {
                lines.pop();
            }
        });
        trail(&options, 1);
        let report = verify(
            directory.path(),
            &Evidence {
                key: Some(key.clone()),
                ..Evidence::default()
            },
            |_| (),
        )
        .unwrap();
        assert!(report.gaps.is_empty());
        assert_eq!(report.sealed_to, Some(report.to));
    }
    // All checkpoints are kept by the time that their segments are pruned.
    let count = whole(directory.path()).checkpoints;
    let mut kept = seals::SealReader::open(directory.path()).unwrap().unwrap();
    let mut lines = 0;
    while kept.next_line().unwrap().is_some() {
        lines += 1;
    }
    assert_eq!(lines, count);
}

#[test]
fn seals_that_were_cut_or_changed_are_found_when_they_matter() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = options(directory.path());
    trail(&options, 1);
    trail(&options, 1);
    let seals = directory.path().join("seals.jsonl");
    let text = fs::read(&seals).unwrap();
    // The trail still has all checkpoints itself, but its relay keeps them.
    fs::remove_file(&seals).unwrap();
    assert!(broken_with(directory.path(), &key).contains("lacks the checkpoint"));
    // A kept checkpoint that isn't the trail's is found.
    let other = tempfile::tempdir().unwrap();
    trail(&self::options(other.path()), 1);
    fs::copy(other.path().join("seals.jsonl"), &seals).unwrap();
    assert!(broken_with(directory.path(), &key).contains("kept another record"));
    fs::write(&seals, text).unwrap();
    verify(
        directory.path(),
        &Evidence {
            key: Some(key),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
}

#[test]
fn a_pruning_that_was_interrupted_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    segmented(&options);
    let kept = tempfile::tempdir().unwrap();
    let paths = closed(directory.path());
    for path in &paths {
        fs::copy(path, kept.path().join(path.file_name().unwrap())).unwrap();
    }
    let smaller = AuditOptions {
        max_size: 1,
        ..options.clone()
    };
    trail(&smaller, 1);
    assert!(whole(directory.path()).from > 1);
    // The newest of the segments that were to be pruned are still there. A gap among them isn't
    // declared.
    let newest = paths.len() - 1;
    let put_back = |n: usize| {
        let name = paths[n].file_name().unwrap();
        fs::copy(kept.path().join(name), &paths[n]).unwrap();
    };
    put_back(newest);
    assert!(whole(directory.path()).gaps.is_empty());
    put_back(newest - 2);
    broken(directory.path());
    put_back(newest - 1);
    whole(directory.path());
}

#[test]
fn a_segment_that_is_pruned_while_it_is_compressed_stays_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access-000000000001.jsonl");
    fs::write(&path, vec![b'x'; 64 << 20]).unwrap();
    let compressor = compress::Compressor::start().unwrap();
    compressor.compress(path.clone());
    wait_for(|| fs::read_dir(directory.path()).unwrap().count() == 2);
    fs::remove_file(&path).unwrap();
    drop(compressor);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_line_that_stands_twice_is_one_that_was_inserted() {
    let directory = tempfile::tempdir().unwrap();
    trail(&options(directory.path()), 5);
    let active = active(directory.path());
    edit(&active, |lines| lines.insert(4, lines[2].clone()));
    assert!(broken(directory.path()).contains("inserted"));
    // In a copy, duplicates are expected, because every record is sent at least once.
    assert_eq!(whole(&active).duplicates, 1);
}

#[test]
fn a_report_without_end_doesnt_break_the_trail() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    let endless = "\u{1}é".repeat(1 << 20);
    let data = ConfigRejected {
        source: endless.clone(),
        error: endless.clone(),
    };
    audit.relay_event(Data::ConfigRejected(data));
    let data = ConfigLoaded {
        policy: "1:p".into(),
        source: endless.clone(),
        warnings: vec![endless; 100],
        effective: None,
    };
    audit.relay_event(Data::ConfigLoaded(data));
    writer.close();
    assert_eq!(whole(directory.path()).records, 4);
}
