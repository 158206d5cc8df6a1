//! Tests a writer that fails, hangs or dies: this must be noticed, and memory must stay bounded.

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn session(audit: &Audit) -> Recorder {
    audit.session("proxy".into(), "1:p".into(), ([10, 0, 0, 1], 4000).into())
}

fn inject(audit: &Audit, fault: WriterFault) {
    audit.0.lock().fault = Some(fault);
    refuse(audit);
}

#[test]
fn a_writer_that_dies_is_noticed_and_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    for on_failure in [OnFailure::Refuse, OnFailure::Count] {
        let options = AuditOptions {
            sync: Sync::Always,
            on_failure,
            ..options(directory.path())
        };
        let (audit, writer) = start(&options);
        inject(&audit, WriterFault::Panic);
        wait_for(|| !audit.is_available());
        assert!(audit.is_stuck());
        assert_eq!(audit.admits(), on_failure == OnFailure::Count);
        let started = Instant::now();
        let opened = runtime().block_on(session(&audit).opened());
        assert_eq!(opened.is_ok(), on_failure == OnFailure::Count);
        assert!(started.elapsed() < stalled(), "somebody waited");
        for _ in 0..10_000 {
            refuse(&audit);
        }
        // A busy machine takes a second for them, and each would wait as long.
        assert!(started.elapsed() < stalled() * 20, "somebody waited");
        assert!(audit.0.lock().batch.is_empty());
        writer.close();
    }
}

#[test]
fn a_writer_that_hangs_is_a_failure_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        sync: Sync::Always,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    inject(&audit, WriterFault::Hang(stalled() * 2));
    wait_for(|| audit.0.lock().fault.is_none());
    // A session waits no longer than this for its record to be durable.
    let started = Instant::now();
    let mut hanging = session(&audit);
    assert_eq!(runtime().block_on(hanging.opened()), Err(Unavailable));
    assert!(
        started.elapsed() < stalled() * 3 / 2,
        "{:?}",
        started.elapsed()
    );
    assert!(!audit.admits() && audit.is_stuck());
    for _ in 0..2 * MAX_WAITING {
        refuse(&audit);
    }
    assert!(waiting(&audit) <= MAX_WAITING + 2, "{}", waiting(&audit));
    hanging.refused(&Reason::AuditUnavailable.into());
    wait_for(|| audit.admits());
    assert!(!audit.is_stuck());
    writer.close();
    let report = whole(directory.path());
    assert!(report.gaps[0].count >= Some(MAX_WAITING as u64));
}

#[test]
fn counting_goes_on_without_growing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let options = AuditOptions {
        on_failure: OnFailure::Count,
        ..options(&path)
    };
    let (audit, writer) = start(&options);
    tunnel(&audit);
    wait_for(|| waiting(&audit) == 0);
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    refuse(&audit);
    wait_for(|| !audit.is_available());
    // The writer reports that it fails, and tries again.
    assert!(!audit.is_stuck());
    for _ in 0..3 * MAX_WAITING {
        tunnel(&audit);
    }
    // Each session whose opening was recorded may still record its end.
    assert!(waiting(&audit) <= 2 * MAX_WAITING, "{}", waiting(&audit));
    // Refusals in bulk are counted and not queued, however long the outage takes.
    let clients = 20_u8;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(3500) {
        for client in 0..clients {
            beyond_rate(&audit, [10, 0, 1, client]).refused(&Reason::RateLimited.into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    fs::rename(&away, &path).unwrap();
    wait_for(|| audit.is_available());
    writer.close();
    let report = whole(&path);
    let [gap] = report.gaps.as_slice() else {
        panic!("{:?}", report.gaps);
    };
    assert!(gap.count >= Some(MAX_WAITING as u64), "{gap:?}");
    let mut refusals = 0;
    let mut reader = Reader::open(&path).unwrap();
    while let Some(raw) = reader.next_line().unwrap() {
        refusals += usize::from(Line::parse(raw.bytes).unwrap().event == "refusals");
    }
    assert_eq!(refusals, usize::from(clients));
}

#[test]
fn a_session_that_panics_leaves_one_closing_record() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    for is_open in [false, true] {
        let audit = audit.clone();
        let crashed = thread::spawn(move || {
            let mut session = session(&audit);
            session.sent(b"example.com:443");
            if is_open {
                runtime().block_on(session.opened()).unwrap();
            }
            panic!("a defect, made for a test");
        });
        assert!(crashed.join().is_err());
    }
    assert_eq!(audit.0.metrics.session_panics.get(), 2);
    assert_eq!(audit.0.metrics.tunnels_open.get(), 0);
    writer.close();
    let text = fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
    let count = |event: &str| text.matches(&format!("\"event\":\"{event}\"")).count();
    assert_eq!(
        (
            count("request_failed"),
            count("tunnel_opened"),
            count("tunnel_closed")
        ),
        (1, 1, 1)
    );
    assert_eq!(text.matches("\"reason\":\"internal\"").count(), 2);
}

#[test]
fn a_segment_that_cannot_be_deleted_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 8_000,
        max_size: 16_000,
        ..options(directory.path())
    };
    // What lies under the name of the first segment's compressed file can't be removed as a file.
    let obstacle = directory.path().join("access-000000000001.jsonl.zst");
    fs::create_dir_all(&obstacle).unwrap();
    let (audit, writer) = start(&options);
    let fill = || {
        for _ in 0..10 {
            for _ in 0..10 {
                tunnel(&audit);
            }
            thread::sleep(Duration::from_millis(40));
        }
    };
    let size = || {
        let segments = segments::list(directory.path()).unwrap();
        segments.iter().map(|segment| segment.size).sum::<u64>()
    };
    fill();
    let pruned = || {
        let text = fs::read(directory.path().join(seals::SEALS)).unwrap();
        String::from_utf8_lossy(&text).contains("\"pruning\":")
    };
    wait_for(pruned);
    fs::remove_dir(&obstacle).unwrap();
    fill();
    // Nothing was forgotten, so the trail is within its bound and what a segment adds to it.
    wait_for(|| size() < 32_000);
    writer.close();
    whole(directory.path());
}
