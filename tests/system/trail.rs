//! The trail on disks that are full, failing, immutable or read-only.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use callhome_trail::verify::{DeclaredGap, Evidence, verify};
use callhome_trail::{Line, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fault::Fault;
use crate::foreign::tools;
use crate::namespace::root_shell;
use crate::support::client;
use crate::support::echo::{destination, echo, target};
use crate::support::process::{Process, relay, write_config};
use crate::support::wait;
use crate::support::written::{records, whole};

/// Returns the echo server's destination, and room for many requests.
fn keys(echo: SocketAddr) -> String {
    format!(
        "{}[limits]\nrate_per_client = \"100000/s\"\n",
        destination(echo)
    )
}

/// On a full disk new requests are refused and open tunnels go on. Once there is room again,
/// nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &destination(echo), "sync = \"50ms\"");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let (process, inside) = on_small_disk(directory.path(), &audit, "512k");

    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    exchange(&mut tunnel).await;
    let filler = inside.join("filler");
    fill(&filler);
    // The open tunnel goes on, and new ones are refused as soon as a write has failed.
    let refused =
        wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.err() }).await;
    assert_eq!(
        (refused.status, refused.phrase.as_str()),
        (503, "audit_unavailable")
    );
    let ready = client::ask(
        process.admin,
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("trail"), "{}", ready.body);
    exchange(&mut tunnel).await;
    drop(tunnel);

    fs::remove_file(&filler).unwrap();
    let freed = Instant::now();
    let mut again =
        wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await;
    assert!(
        freed.elapsed() < Duration::from_secs(5),
        "{:?} to resume",
        freed.elapsed()
    );
    exchange(&mut again).await;
    drop(again);
    let report = wait::found(|| async {
        let events = events(&inside);
        let count = |event| events.iter().filter(|e| **e == event).count();
        let ended = count("tunnel_opened") == count("tunnel_closed");
        (count("tunnel_opened") >= 2 && ended && count("audit_gap") > 0).then(|| whole(&inside))
    })
    .await;
    // One count has every refused request.
    assert_eq!(report.gaps.len(), 1, "{:?}", report.gaps);
    assert!(report.gaps[0].count >= Some(1));
}

/// A disk whose sync fails loses nothing either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fault = Fault::failing(directory.path());
    let echo = echo().await;
    write_config(directory.path(), &destination(echo), "sync = \"always\"");
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.path().join("relay.toml"))
        .envs(fault.environment());
    let process = Process::spawn(command);
    let audit = directory.path().join("audit");
    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();

    fault.begin();
    let refused = client::tunnel(process.proxy, &target(echo))
        .await
        .unwrap_err();
    assert_eq!(refused.phrase, "audit_unavailable");
    exchange(&mut tunnel).await;
    fault.end();
    wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await;
    drop(tunnel);
    let report = wait::found(|| async {
        let events = events(&audit);
        let count = |event| events.iter().filter(|e| **e == event).count();
        (count("tunnel_opened") >= 3 && count("tunnel_opened") == count("tunnel_closed"))
            .then(|| whole(&audit))
    })
    .await;
    assert!(
        report.gaps.iter().all(|gap| gap.from.is_none()),
        "{:?}",
        report.gaps
    );
}

/// A full disk is pruned as soon as records are too old, and the trail goes on without help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    let audit = directory.path().join("audit");
    let sizes = "rotate_size = \"64KiB\"\nmax_size = \"16MiB\"\nkeep = \"8s\"";
    write_config(directory.path(), &keys(echo), sizes);
    fs::create_dir(&audit).unwrap();
    let (process, inside) = on_small_disk(directory.path(), &audit, "16m");
    wait::until("the reserve", || inside.join("reserve").exists());
    for _ in 0..200 {
        drop(client::tunnel(process.proxy, &target(echo)).await.unwrap());
    }
    fill(&inside.join("filler"));
    wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.err() }).await;
    // Nothing but the age of the records changes from here on.
    drop(wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await);
    let report = wait::found(|| async {
        let report = whole(&inside);
        (report.from > 1).then_some(report)
    })
    .await;
    assert!(
        report.gaps.iter().all(|gap| gap.from.is_none()),
        "{report:?}"
    );
}

/// With `on_failure = "count"` a full disk stops no client. What wasn't recorded is counted when
/// there is room again.
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
    let (process, inside) = on_small_disk(directory.path(), &audit, "16m");
    exchange(&mut client::tunnel(process.proxy, &target(echo)).await.unwrap()).await;
    let filler = inside.join("filler");
    fill(&filler);
    // These are more than wait in memory. Those that wait are recorded later, and the others only
    // counted.
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
    let gap: DeclaredGap = wait::found(|| async {
        let _ = events(&inside);
        verify(&inside, &Evidence::default(), |_| ())
            .ok()
            .and_then(|report| report.gaps.into_iter().next())
    })
    .await;
    assert!(
        gap.count.is_some_and(|count| count > 0 && count < served),
        "{gap:?}"
    );
    wait::found(|| async {
        let records = records(&inside);
        let opened = records.iter().filter(|it| it["event"] == "tunnel_opened");
        (opened.count() as u64 + gap.count.unwrap() == served + 1).then_some(())
    })
    .await;
}

/// The disk is full and a file on it can't be renamed. While the file can't be set aside, nothing
/// is written behind its content, and in the end nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cant_even_be_set_aside_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &keys(echo), "sync = \"20ms\"");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let (process, inside) = on_small_disk(directory.path(), &audit, "16m");
    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    exchange(&mut tunnel).await;
    let file = inside.join("access.jsonl");
    immutable(&file, "+i");
    let filler = inside.join("filler");
    fill(&filler);
    let refused =
        wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.err() }).await;
    assert_eq!(refused.phrase, "audit_unavailable");
    exchange(&mut tunnel).await;
    drop(tunnel);
    // Room alone doesn't help, so wait for more than one retry.
    fs::remove_file(&filler).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let refused = client::tunnel(process.proxy, &target(echo)).await;
    assert_eq!(refused.unwrap_err().phrase, "audit_unavailable");
    immutable(&file, "-i");
    drop(wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await);
    wait::found(|| async {
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

/// A disk that is read-only from the start is an error that tells so, because the relay doesn't run
/// without its trail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_at_the_start_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &keys(echo), "");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let script = "mount -t tmpfs -o ro none \"$1\" && exec \"$2\" serve --config \"$3\"";
    let output = root_shell(script)
        .arg("sh")
        .arg(&audit)
        .arg(relay().get_program())
        .arg(directory.path().join("relay.toml"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Read-only file system"), "{said}");
}

/// Starts the relay with its trail on a small file system of its own. Also returns where a test can
/// see it.
fn on_small_disk(directory: &Path, audit: &Path, size: &str) -> (Process, PathBuf) {
    let script =
        format!("mount -t tmpfs -o size={size} none \"$1\" && exec \"$2\" serve --config \"$3\"");
    let mut command = root_shell(&script);
    command
        .arg("sh")
        .arg(audit)
        .arg(relay().get_program())
        .arg(directory.join("relay.toml"));
    let process = Process::spawn(command);
    // The mount is in the relay's namespace, which the kernel shows here.
    let root = Path::new("/proc")
        .join(process.id().to_string())
        .join("root");
    let inside = root.join(audit.strip_prefix("/").unwrap());
    (process, inside)
}

async fn exchange(tunnel: &mut tokio::net::TcpStream) {
    tunnel.write_all(b"ping").await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"ping") {
        received.push(tunnel.read_u8().await.unwrap());
    }
}

fn events(audit: &Path) -> Vec<String> {
    let text = fs::read_to_string(audit.join("access.jsonl")).unwrap_or_default();
    let mut closed = Vec::new();
    // A segment that was given up after a failure comes first.
    if let Ok(mut reader) = Reader::open(audit) {
        while let Ok(Some(raw)) = reader.next_line() {
            if let Ok(line) = Line::parse(raw.bytes) {
                closed.push(line.event.into_owned());
            }
        }
    }
    assert!(text.is_empty() || !closed.is_empty());
    closed
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        // A failed write may have written a part, which the next attempt has less room for.
        if file.write_all(&vec![b'x'; size]).is_err() {
            size /= 2;
        }
    }
}

fn immutable(file: &Path, change: &str) {
    let status = tools::command("chattr")
        .arg(change)
        .arg(file)
        .stderr(Stdio::inherit())
        .status()
        .unwrap();
    assert!(status.success());
}
