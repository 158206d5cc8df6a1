//! Tests readers of a trail that is being written, and of one that is damaged.

use std::io::BufRead as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::damage::{active, closed, segmented};
use super::*;

#[test]
fn a_live_trail_is_whole_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 10_000,
        sync: Sync::Every(Duration::from_millis(1)),
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    refuse(&audit);
    wait_for(|| {
        active(directory.path())
            .metadata()
            .is_ok_and(|it| it.len() > 0)
    });
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            for _ in 0..600 {
                refuse(&audit);
                thread::sleep(Duration::from_millis(1));
            }
        });
        while !load.is_finished() {
            let _ = whole(directory.path());
        }
    });
    writer.close();
    assert_eq!(whole(directory.path()).duplicates, 0);
}

#[test]
fn a_reader_keeps_to_the_trail_that_it_opened() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    let before = compress::free_name(directory.path(), 1);
    fs::rename(active(directory.path()), &before).unwrap();
    trail(&options, 5);
    let compressed = segments::compressed(&before);
    let bytes = fs::read(&compressed).unwrap();
    fs::write(&before, zstd::decode_all(&*bytes).unwrap()).unwrap();
    fs::remove_file(&compressed).unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    // One segment is rotated and one is compressed before the reader comes to them.
    fs::rename(
        active(directory.path()),
        compress::free_name(directory.path(), 8),
    )
    .unwrap();
    fs::write(compressed, bytes).unwrap();
    fs::remove_file(before).unwrap();
    let mut seen = Vec::new();
    while let Some(raw) = reader.next_line().unwrap() {
        seen.push(Line::parse(raw.bytes).unwrap().seq);
    }
    assert_eq!(seen, (1..=14).collect::<Vec<_>>());
}

#[test]
fn a_follower_sees_every_record_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 4_000,
        sync: Sync::Every(Duration::from_millis(1)),
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    let mut follower = Follower::open(directory.path(), 0).unwrap();
    let mut seen = Vec::new();
    let mut look = |seen: &mut Vec<u64>| {
        let take = |line: Result<Line<'_>, String>| {
            seen.push(line.unwrap().seq);
            Ok(())
        };
        follower.drain(take).unwrap();
    };
    for n in 0..200 {
        tunnel(&audit);
        // A few of these records fill a segment.
        if n % 5 == 0 {
            wait_for(|| waiting(&audit) == 0);
        }
        // Now and then several segments come and go between two reads.
        if n % 100 < 50 {
            look(&mut seen);
        }
    }
    writer.close();
    look(&mut seen);
    assert!(segments::list(directory.path()).unwrap().len() > 5);
    assert_eq!(seen, (1..=402).collect::<Vec<_>>());
}

#[test]
fn what_is_damaged_keeps_nobody_from_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    segmented(&options);
    let all = whole(directory.path()).records;
    let paths = closed(directory.path());
    let lines = |path: &Path| segments::open(path).unwrap().lines().count() as u64;
    let lost: u64 = paths[..2].iter().map(|path| lines(path)).sum();
    // Two damaged segments in a row have their place only by their names, and a third has no number
    // in its name.
    for path in &paths[..2] {
        fs::write(path, b"nothing of use").unwrap();
    }
    fs::write(directory.path().join("access-x.jsonl"), "nothing\n").unwrap();
    let mut follower = Follower::open(directory.path(), 0).unwrap();
    let (mut given, mut not) = (0, Vec::new());
    for _ in 0..2 {
        follower
            .drain(|line| {
                match line {
                    Ok(_) => given += 1,
                    Err(error) => not.push(error),
                }
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(given, all - lost);
    assert!(not.len() >= 2, "{not:?}");
    assert!(not[0].starts_with(paths[0].to_str().unwrap()), "{not:?}");
}

#[test]
fn the_greatest_number_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let zeros = "0".repeat(64);
    let body = format!(
        "{{\"v\":1,\"trail\":\"t\",\"seq\":{},\"time\":\"x\",\"event\":\"a\",\"prev\":\"{zeros}\"",
        u64::MAX
    );
    let line = format!("{body},\"hash\":\"{}\"}}\n", Hash::of(body.as_bytes()));
    let path = active(directory.path());
    fs::write(&path, &line).unwrap();
    assert!(broken(&path).contains("no pruning says so"));
    let mut follower = Follower::open(&path, 0).unwrap();
    let mut given = 0;
    let count = |_: Result<Line<'_>, String>| {
        given += 1;
        Ok(())
    };
    follower.drain(count).unwrap();
    assert_eq!(given, 1);
}

/// A relay that is short of room prunes while it is read.
#[test]
fn pruning_beside_a_reader_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 4_000,
        max_size: 20_000,
        sync: Sync::Every(Duration::from_millis(1)),
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    let is_pruned = || {
        let segments = segments::list(directory.path()).unwrap();
        segments.first().is_some_and(|segment| segment.first > 1)
    };
    let write = || {
        wait_for(|| waiting(&audit) < 50);
        audit.relay_event(Data::ConfigRejected(ConfigRejected {
            source: "test".into(),
            error: "x".repeat(500),
        }));
    };
    let began = Instant::now();
    while !is_pruned() {
        assert!(began.elapsed() < Duration::from_secs(20));
        (0..20).for_each(|_| write());
    }
    let is_done = AtomicBool::new(false);
    let (tries, errors) = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                write();
            }
        });
        let mut errors = Vec::new();
        let began = Instant::now();
        let mut tries = 0;
        while tries < 300 && began.elapsed() < Duration::from_secs(20) {
            let verdict = verify(directory.path(), &Evidence::default(), |_| ());
            errors.extend(verdict.err().map(|error| error.to_string()));
            // An export reads once, and begins with what is there then.
            errors.extend(
                read_to_end(directory.path())
                    .err()
                    .map(|error| error.to_string()),
            );
            tries += 1;
        }
        is_done.store(true, Ordering::Relaxed);
        (tries, errors)
    });
    writer.close();
    assert_eq!(errors, [""; 0], "of {tries}");
}

fn read_to_end(directory: &Path) -> std::io::Result<()> {
    let mut reader = Reader::open(directory)?;
    while reader.next_line()?.is_some() {}
    Ok(())
}
