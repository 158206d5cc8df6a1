//! Tests the trail as a whole: what the writer writes can be proved, and every change to it is
//! found.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use callhome_trail::segments;
use callhome_trail::verify::{Evidence, Verification, VerifyError, verify};
use callhome_trail::{
    Chain, ConfigLoaded, ConfigRejected, Follower, Hash, Head, HeadFile, Line, PublicKey, Reader,
    schema, seals,
};
use proptest::prelude::*;

use super::inbox::{MAX_WAITING, STALL, TICK, WriterFault};
use super::*;
use crate::proxy_error::Reason;
use crate::tunnel::{Closed, ClosedBy};

mod crashes;
mod damage;
mod faults;
mod flood;
mod forged;
mod hostile;
mod inventory;
mod readers;

pub(super) fn options(directory: &Path) -> AuditOptions {
    AuditOptions {
        directory: Some(directory.to_owned()),
        stdout: false,
        rotate_size: 1 << 30,
        rotate_every: Duration::from_hours(24),
        keep: Duration::from_hours(24),
        max_size: 1 << 40,
        sync: Sync::Every(Duration::from_millis(20)),
        on_failure: OnFailure::Refuse,
        seal_every: Duration::from_mins(10),
        syslog: None,
    }
}

pub(super) fn start(options: &AuditOptions) -> (Audit, WriterHandle) {
    let (audit, writer) = Audit::start(options, "test", Arc::default()).unwrap();
    let inbox = Arc::downgrade(&audit.0);
    thread::spawn(move || {
        while let Some(inbox) = inbox.upgrade() {
            inbox.tick();
            drop(inbox);
            thread::sleep(TICK);
        }
    });
    (audit, writer)
}

/// How long the writer may take at least before the trail counts as unavailable.
fn stalled() -> Duration {
    TICK * (STALL + 1)
}

/// Records one session that ends refused.
pub(super) fn refuse(audit: &Audit) {
    let peer = ([10, 0, 0, 1], 4000).into();
    let mut session = audit.session("proxy".into(), "1:p".into(), peer);
    session.sent(b"example.com:443");
    session.refused(&Reason::DestinationNotAllowed.into());
}

/// Records a refused session of a client that asks too often.
pub(super) fn beyond_rate(audit: &Audit, client: [u8; 4]) -> Recorder {
    let mut session = audit.session("proxy".into(), "1:p".into(), (client, 4000).into());
    session.over_rate();
    session
}

/// Records one tunnel, opened and closed.
pub(super) fn tunnel(audit: &Audit) {
    let mut session = audit.session("proxy".into(), "1:p".into(), ([10, 0, 0, 1], 4000).into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(session.opened()).unwrap();
    session.closed(Closed {
        by: ClosedBy::Client,
        error: None,
    });
}

/// Writes a trail of this number of sessions, and closes it.
fn trail(options: &AuditOptions, sessions: usize) {
    let (audit, writer) = start(options);
    for _ in 0..sessions {
        refuse(&audit);
    }
    writer.close();
}

/// Checks that the trail is whole, and that each record follows the schema that readers get.
pub(super) fn whole(path: &Path) -> Verification {
    static SCHEMA: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
    let mut reader = Reader::open(path).unwrap();
    while let Some(raw) = reader.next_line().unwrap() {
        if let Ok(line) = Line::parse(raw.bytes) {
            let record = serde_json::from_slice(line.bytes).unwrap();
            SCHEMA
                .validate(&record)
                .unwrap_or_else(|error| panic!("{record:#}\n{error}"));
        }
    }
    verify(path, &Evidence::default(), |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

fn broken(path: &Path) -> String {
    match verify(path, &Evidence::default(), |_| ()) {
        Err(VerifyError::Broken(broken)) => broken.to_string(),
        other => panic!("{other:?}"),
    }
}

/// How many records were handed over and aren't durable.
fn waiting(audit: &Audit) -> usize {
    let queue = audit.0.lock();
    queue.batch.len() + queue.writing
}

pub(super) fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "it never came");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_trail_runs_on_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 3);
    trail(&options, 4);
    let report = whole(directory.path());
    // A checkpoint begins and ends each run.
    assert_eq!((report.from, report.to, report.checkpoints), (1, 11, 4));
    assert!(report.gaps.is_empty());
}

#[test]
fn it_runs_on_over_rotation_and_compression() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 20_000,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for n in 0..100 {
        tunnel(&audit);
        if n % 20 == 0 {
            thread::sleep(Duration::from_millis(30));
        }
    }
    writer.close();
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("access"))
        .collect();
    assert!(
        names.iter().filter(|name| name.contains(".zst")).count() >= 3,
        "{names:?}"
    );
    assert_eq!(whole(directory.path()).records, 202);
}

#[test]
fn old_segments_go_and_the_trail_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 8_000,
        max_size: 16_000,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for _ in 0..20 {
        for _ in 0..10 {
            tunnel(&audit);
        }
        thread::sleep(Duration::from_millis(40));
    }
    writer.close();
    let report = whole(directory.path());
    assert!(report.from > 1, "{report:?}");
    assert!(report.gaps.is_empty());

    // Deleting the first segment that is left is noticed.
    let first = segments::list(directory.path()).unwrap().remove(0);
    compress::delete(&first).unwrap();
    assert!(broken(directory.path()).contains("the last checkpoint has them"));
}

#[test]
fn a_second_relay_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let (_audit, _writer) = start(&options);
    let error = Audit::start(&options, "other", Arc::default()).unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
}

#[test]
fn a_torn_end_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 3);
    let active = directory.path().join("access.jsonl");
    let mut file = OpenOptions::new().append(true).open(&active).unwrap();
    file.write_all(b"{\"v\":1,\"trail\":\"x").unwrap();
    trail(&options, 1);
    let report = whole(directory.path());
    let text = fs::read_to_string(&active).unwrap();
    assert_eq!(report.records, 9, "{text}");
    assert!(report.gaps[0].cause.contains("torn-"), "{:?}", report.gaps);
    let torn = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("torn-"))
        .unwrap();
    assert_eq!(fs::read(torn).unwrap(), b"{\"v\":1,\"trail\":\"x");
}

#[test]
fn a_cut_tail_is_found_before_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    let active = directory.path().join("access.jsonl");
    let text = fs::read_to_string(&active).unwrap();
    let kept: Vec<_> = text.split_inclusive('\n').take(4).collect();
    fs::write(&active, kept.concat()).unwrap();
    assert!(broken(directory.path()).contains("records 5 to 7 were there"));

    trail(&options, 1);
    let report = whole(directory.path());
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((gap.from, gap.to), (Some(5), Some(7)));
}

#[test]
fn a_tunnel_that_was_cut_off_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        sync: Sync::Always,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    let mut session = audit.session("proxy".into(), "1:p".into(), ([10, 0, 0, 1], 4000).into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(session.opened()).unwrap();
    let id = session.id().to_owned();
    // Forget the guard, as if the process had been killed.
    std::mem::forget(session);
    writer.close();
    trail(&options, 0);
    let text = fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
    let lost: Vec<_> = text
        .lines()
        .filter(|line| line.contains("\"tunnel_lost\""))
        .collect();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].contains(&id));
    trail(&options, 0);
    let again = fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
    assert_eq!(again.matches("\"tunnel_lost\"").count(), 1, "told once");
    whole(directory.path());
}

#[test]
fn a_trail_that_fails_refuses_and_comes_back_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let options = options(&path);
    let (audit, writer) = start(&options);
    refuse(&audit);
    wait_for(|| fs::metadata(path.join("access.jsonl")).is_ok_and(|file| file.len() > 1000));
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    refuse(&audit);
    wait_for(|| !audit.admits());
    // Requests are refused and counted meanwhile.
    for _ in 0..3 {
        let session = audit.session("proxy".into(), "1:p".into(), ([10, 0, 0, 1], 1).into());
        session.refused(&Reason::AuditUnavailable.into());
    }
    fs::rename(&away, &path).unwrap();
    wait_for(|| audit.admits());
    refuse(&audit);
    writer.close();
    let report = whole(&path);
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(gap.count, Some(3));
    let refused = Reader::open(&path).map(|mut reader| {
        let mut count = 0;
        while let Some(line) = reader.next_line().unwrap() {
            count += usize::from(String::from_utf8_lossy(line.bytes).contains("request_denied"));
        }
        count
    });
    assert_eq!(refused.unwrap(), 3);
}

#[test]
fn seals_tell_a_trail_that_was_computed_anew() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let options = options(directory.path());
    trail(&options, 5);
    trail(&options, 5);
    let sealed = verify(
        directory.path(),
        &Evidence {
            key: Some(key.clone()),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
    assert_eq!(sealed.sealed_to, Some(sealed.to));

    // An attacker with write access drops a record and computes the chain anew.
    let active = directory.path().join("access.jsonl");
    let witness = directory.path().join("witness");
    fs::copy(&active, &witness).unwrap();
    let text = fs::read(&active).unwrap();
    let mut chain = Chain::new(whole(directory.path()).trail.into());
    let mut forged = Vec::new();
    for (n, bytes) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        if n == 3 {
            continue;
        }
        let line = String::from_utf8_lossy(bytes).into_owned();
        let time = Line::parse(bytes.trim_ascii_end())
            .unwrap()
            .time
            .parse()
            .unwrap();
        let members = &line[line.find("\"relay\":").unwrap()..line.rfind(",\"prev\":").unwrap()];
        let signature = line
            .split("\"signature\":\"")
            .nth(1)
            .map(|rest| rest[..128].to_owned());
        chain.append_signed(time, members.as_bytes(), &mut forged, |_| signature);
    }
    fs::write(&active, forged).unwrap();
    // The attacker also deletes the files that know how the trail was.
    fs::remove_file(directory.path().join("head.json")).unwrap();
    let error = broken(directory.path());
    assert!(error.contains("kept another record"), "{error}");
    fs::remove_file(directory.path().join("seals.jsonl")).unwrap();
    assert!(broken(directory.path()).contains("head.json is missing"));
    let error = verify(
        directory.path(),
        &Evidence {
            key: Some(key),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap_err();
    assert!(matches!(error, VerifyError::Broken(_)), "{error}");
    let error = verify(
        directory.path(),
        &Evidence {
            witness: Some(&witness),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap_err();
    assert!(error.to_string().contains("witness"), "{error}");
}

#[test]
fn another_key_proves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    trail(&options(directory.path()), 2);
    let other = generate(elsewhere.path()).unwrap();
    let error = verify(
        directory.path(),
        &Evidence {
            key: Some(other),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every single edit is found, of any kind and anywhere.
    #[test]
    fn an_edit_is_found(kind in 0..5, at in 0.0..1.0_f64, bit in 0..8_u32) {
        thread_local! {
            static TEXT: Vec<u8> = {
                let directory = tempfile::tempdir().unwrap();
                trail(&options(directory.path()), 100);
                fs::read(directory.path().join("access.jsonl")).unwrap()
            };
        }
        let text = TEXT.with(Clone::clone);
        let mut lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        let pick = |length: usize| ((length as f64) * at) as usize;
        let edited = match kind {
            0 => {
                let mut text = text.clone();
                let place = pick(text.len());
                text[place] ^= 1 << bit;
                text
            }
            1 => {
                lines.remove(pick(lines.len() - 1));
                lines.concat()
            }
            2 => {
                let place = pick(lines.len() - 2);
                lines.swap(place, place + 1);
                lines.concat()
            }
            3 => {
                let place = pick(lines.len());
                lines.insert(place, b"{\"v\":1}\n");
                lines.concat()
            }
            _ => text[..pick(text.len() - 2)].to_vec(),
        };
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("access.jsonl"), &edited).unwrap();
        let last = whole_head(&text);
        fs::write(directory.path().join("head.json"), last).unwrap();
        prop_assert!(verify(directory.path(), &Evidence::default(), |_| ()).is_err());
    }
}

fn whole_head(text: &[u8]) -> Vec<u8> {
    let line = text
        .trim_ascii_end()
        .rsplit(|b| *b == b'\n')
        .next()
        .unwrap();
    let line = Line::parse(line).unwrap();
    let head = Head::new(&line.trail, line.seq, &line.hash);
    serde_json::to_vec(&head).unwrap()
}
