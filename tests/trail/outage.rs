//! Outages of the trail that a running relay has to tell apart: counted, immutable, blocked; and what may not cause one.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callhome_trail::verify::DeclaredGap;
use rustix::process::Signal;

use super::{echo, events, exchange, fill, records, target, wait, whole};
use crate::support::client;
use crate::support::process::{Process, relay, write_config};
use crate::support::relay::upstream;

/// The destination that the echo server is, and room for many requests.
fn keys(echo: std::net::SocketAddr) -> String {
    format!(
        "{}tls_only = false\nsni = \"any\"\n[limits]\nrate_per_client = \"100000/s\"\n",
        upstream("echo.example", echo.port())
    )
}

/// `on_failure = "count"`: a full disk stops nobody, and what was not recorded is counted when there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_serves_through_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(
        directory.path(),
        &keys(echo),
        "sync = \"20ms\"\non_failure = \"count\"",
    );
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let (process, inside) = on_small_disk(directory.path(), &audit);
    exchange(&mut client::tunnel(process.proxy, &target(echo)).await.unwrap()).await;
    let filler = inside.join("filler");
    fill(&filler);
    // More than wait in memory: those are recorded later, the others only counted.
    let started = Instant::now();
    let mut served = 0_u64;
    while served < 4500 {
        drop(client::tunnel(process.proxy, &target(echo)).await.unwrap());
        served += 1;
        assert!(started.elapsed() < Duration::from_mins(1), "{served}");
    }
    let ready = client::ask(
        process.admin,
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(
        ready.body.contains("degraded: the audit trail"),
        "{}",
        ready.body
    );
    fs::remove_file(&filler).unwrap();
    let gap: DeclaredGap = wait(|| async {
        let _ = events(&inside);
        callhome_trail::verify::verify(&inside, None, None, |_| ())
            .ok()
            .and_then(|report| report.gaps.into_iter().next())
    })
    .await;
    assert!(
        gap.count.is_some_and(|count| count > 0 && count < served),
        "{gap:?}"
    );
    wait(|| async {
        let records = records(&inside);
        let opened = records.iter().filter(|it| it["event"] == "tunnel_opened");
        (opened.count() as u64 + gap.count.unwrap() == served + 1).then_some(())
    })
    .await;
}

/// A full disk, and a file on it that can't be renamed: while it can't be set aside nothing is written behind what it holds,
/// and in the end nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cant_even_be_set_aside_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &keys(echo), "sync = \"20ms\"");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let (process, inside) = on_small_disk(directory.path(), &audit);
    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    exchange(&mut tunnel).await;
    let file = inside.join("access.jsonl");
    immutable(&file, "+i");
    let filler = inside.join("filler");
    fill(&filler);
    let refused = wait(|| async { client::tunnel(process.proxy, &target(echo)).await.err() }).await;
    assert_eq!(refused.phrase, "audit_unavailable");
    exchange(&mut tunnel).await;
    drop(tunnel);
    // Room alone doesn't help: long enough for more than one try.
    fs::remove_file(&filler).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let refused = client::tunnel(process.proxy, &target(echo)).await;
    assert_eq!(refused.unwrap_err().phrase, "audit_unavailable");
    immutable(&file, "-i");
    drop(wait(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await);
    wait(|| async {
        let events = events(&inside);
        let count = |event| events.iter().filter(|it| **it == event).count();
        (count("tunnel_opened") >= 2 && count("tunnel_opened") == count("tunnel_closed"))
            .then_some(())
    })
    .await;
    let report = whole(&inside);
    assert!(
        report.gaps.iter().all(|gap| gap.from.is_none()),
        "{report:?}"
    );
}

/// A disk that is read-only from the start is said to be; the relay doesn't run without its trail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_at_the_start_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &keys(echo), "");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o ro none \"$1\" && exec \"$2\" serve --config \"$3\"";
    let output = command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&audit)
        .arg(relay().get_program())
        .arg(directory.path().join("relay.toml"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Read-only file system"), "{said}");
}

/// Standard output whose reader doesn't read: unavailable after a second, and back as soon as it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_blocks_is_an_outage_until_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(
        directory.path(),
        &keys(echo),
        "sync = \"20ms\"\nstdout = true",
    );
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.path().join("relay.toml"));
    let (mut process, mut stdout) = Process::spawn_read(command);
    // A pipe holds 64 KiB.
    let mut opened = 0;
    let refused = wait(|| {
        let proxy = process.proxy;
        let target = target(echo);
        opened += 1;
        async move { client::tunnel(proxy, &target).await.err() }
    })
    .await;
    assert_eq!(refused.phrase, "audit_unavailable");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).unwrap();
        text
    });
    drop(wait(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await);
    process.signal(Signal::TERM);
    process.signal(Signal::TERM);
    process.wait();
    let copy = directory.path().join("copy.jsonl");
    fs::write(&copy, reader.join().unwrap()).unwrap();
    let report = whole(&directory.path().join("audit"));
    let read = whole(&copy);
    assert_eq!((read.records, &read.trail), (report.records, &report.trail));
    assert!(opened > 10, "{opened}");
}

/// One address that asks for what it may not have, as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_is_bounded_by_the_minute() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    let keys = format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream("echo.example", echo.port())
    );
    write_config(directory.path(), &keys, "sync = \"20ms\"");
    let process = Process::serve(directory.path());
    let audit = directory.path().join("audit");
    let started = Instant::now();
    let mut asked = 0_u64;
    while started.elapsed() < Duration::from_secs(3) {
        let answer = client::ask(
            process.proxy,
            b"CONNECT not.example:443 HTTP/1.1\r\nHost: not.example\r\n\r\n",
        )
        .await;
        assert!(matches!(answer.status, 403 | 429), "{answer:?}");
        asked += 1;
    }
    let seconds = started.elapsed().as_secs() + 1;
    let counted = wait(|| async {
        let records = records(&audit);
        let counts = records.iter().filter(|it| it["event"] == "refusals");
        let counted: u64 = counts.map(|it| it["data"]["count"].as_u64().unwrap()).sum();
        let own = records.iter().filter(|it| it["event"] == "request_denied");
        let own = own.count() as u64;
        (own + counted == asked).then_some((own, counted))
    })
    .await;
    // The rate of a client and its burst, of 20 a second by default; everything else is one record every ten seconds.
    assert!(counted.0 <= 40 + 20 * seconds, "{counted:?} of {asked}");
    assert!(counted.1 > 0, "{asked} requests are no flood");
}

/// The relay with its trail on a file system of its own, which is so small that it can be filled; and where that is seen.
fn on_small_disk(directory: &Path, audit: &Path) -> (Process, std::path::PathBuf) {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=16m none \"$1\" && exec \"$2\" serve --config \"$3\"";
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(audit)
        .arg(relay().get_program())
        .arg(directory.join("relay.toml"));
    let process = Process::spawn(command);
    let root = Path::new("/proc")
        .join(process.id().to_string())
        .join("root");
    let inside = root.join(audit.strip_prefix("/").unwrap());
    (process, inside)
}

fn immutable(file: &Path, change: &str) {
    let status = Command::new("chattr")
        .arg(change)
        .arg(file)
        .stderr(Stdio::inherit())
        .status()
        .unwrap();
    assert!(status.success());
}
