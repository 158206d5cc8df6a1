//! The trail under what a machine does to it: sudden ends, full and failing disks.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callhome_trail::verify::{Verification, verify};
use callhome_trail::{Line, Reader};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::client;
use crate::support::process::{Process, relay, write_config};
use crate::support::relay::upstream;
use crate::support::schema;

mod edits;
mod injection;
mod outage;
mod tamper;

/// Fifty sudden ends under load, and after each: the chain is whole, every tunnel that a client saw open is in the trail, and
/// each of them has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sudden_ends_lose_nothing_that_a_client_saw() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    let keys = format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream("echo.example", echo.port())
    );
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    write_config(
        directory.path(),
        &format!("{keys}{limits}"),
        "sync = \"always\"\nrotate_size = \"256KiB\"",
    );
    let mut seen = HashSet::new();
    let mut ends = 0_u64;
    for round in 0..50_u64 {
        let process = Process::serve(directory.path());
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|_| tokio::spawn(tunnels(process.proxy, echo, stop.clone())))
            .collect();
        // A moment that differs from round to round, by the clock's last digits.
        let jitter = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 70);
        tokio::time::sleep(Duration::from_millis(30 + jitter)).await;
        process.signal(Signal::KILL);
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            seen.extend(client.await.unwrap());
        }
        drop(process);
        ends += 1;
        assert_eq!(ends, round + 1);
    }
    assert!(seen.len() > 200, "{} tunnels are no load", seen.len());

    // One more start writes down what the last end cut off.
    let mut process = Process::serve(directory.path());
    process.signal(Signal::INT);
    assert!(process.wait().success());
    let audit = directory.path().join("audit");
    let report = whole(&audit);
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);

    let mut open: HashMap<String, u16> = HashMap::new();
    let mut opened = HashSet::new();
    let mut lost = 0;
    for record in records(&audit) {
        let session = record["session"].as_str().unwrap_or_default().to_owned();
        match record["event"].as_str().unwrap() {
            "tunnel_opened" => {
                let port = u16::try_from(record["client"]["port"].as_u64().unwrap()).unwrap();
                opened.insert(record["upstream_local"].as_str().unwrap().to_owned());
                open.insert(session, port);
            }
            event @ ("tunnel_closed" | "tunnel_lost") => {
                lost += usize::from(event == "tunnel_lost");
                assert!(
                    open.remove(&session).is_some(),
                    "{event} without an opening: {session}"
                );
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{} tunnels never ended", open.len());
    assert!(lost > 0, "no end came in the middle of a tunnel");
    let missing: Vec<_> = seen.difference(&opened).collect();
    assert!(
        missing.is_empty(),
        "{} of {} tunnels are not in the trail",
        missing.len(),
        seen.len()
    );
}

/// A disk that is full: new requests are refused, open tunnels go on, and when there is room again nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    let keys = format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream("echo.example", echo.port())
    );
    write_config(directory.path(), &keys, "sync = \"50ms\"");
    let audit = directory.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=512k none \"$1\" && exec \"$2\" serve --config \"$3\"";
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&audit)
        .arg(relay().get_program())
        .arg(directory.path().join("relay.toml"));
    let process = Process::spawn(command);
    // The mount is in the relay's own namespace.
    let inside = Path::new("/proc")
        .join(process.id().to_string())
        .join("root");
    let inside = inside.join(audit.strip_prefix("/").unwrap());

    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    exchange(&mut tunnel).await;
    let filler = inside.join("filler");
    fill(&filler);
    // The tunnel that is open goes on; new ones are refused as soon as a write has failed.
    let refused = wait(|| async { client::tunnel(process.proxy, &target(echo)).await.err() }).await;
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
        wait(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await;
    assert!(
        freed.elapsed() < Duration::from_secs(5),
        "{:?} to resume",
        freed.elapsed()
    );
    exchange(&mut again).await;
    drop(again);
    let report = wait(|| async {
        let events = events(&inside);
        let count = |event| events.iter().filter(|e| **e == event).count();
        let ended = count("tunnel_opened") == count("tunnel_closed");
        (count("tunnel_opened") >= 2 && ended && count("audit_gap") > 0).then(|| whole(&inside))
    })
    .await;
    // Every refused request is in the one count.
    assert_eq!(report.gaps.len(), 1, "{:?}", report.gaps);
    assert!(report.gaps[0].count >= Some(1));
}

/// A disk whose sync fails: the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fault = directory.path().join("fault");
    let library = faulty_sync(directory.path());
    let echo = echo().await;
    let keys = format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream("echo.example", echo.port())
    );
    write_config(directory.path(), &keys, "sync = \"always\"");
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.path().join("relay.toml"))
        .env("LD_PRELOAD", &library)
        .env("FAULT", &fault);
    let process = Process::spawn(command);
    let audit = directory.path().join("audit");
    let mut tunnel = client::tunnel(process.proxy, &target(echo)).await.unwrap();

    fs::write(&fault, "").unwrap();
    let refused = client::tunnel(process.proxy, &target(echo))
        .await
        .unwrap_err();
    assert_eq!(refused.phrase, "audit_unavailable");
    exchange(&mut tunnel).await;
    fs::remove_file(&fault).unwrap();
    wait(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await;
    drop(tunnel);
    let report = wait(|| async {
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

/// Opens tunnels until told to stop, or until the relay is gone; gives the relay's own address of each that was open, as the
/// echo server saw it.
async fn tunnels(proxy: SocketAddr, echo: SocketAddr, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = tokio::net::TcpStream::connect(proxy).await else {
            break;
        };
        let head = format!(
            "CONNECT {t} HTTP/1.1\r\nHost: {t}\r\n\r\n",
            t = target(echo)
        );
        if stream.write_all(head.as_bytes()).await.is_err() {
            break;
        }
        let mut answer = [0; 39];
        if stream.read_exact(&mut answer).await.is_err() || !answer.starts_with(b"HTTP/1.1 200 ") {
            continue;
        }
        // The echo server begins with the peer's address, which the trail has as upstream_local.
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            if byte == b'\n' {
                seen.push(String::from_utf8(line).unwrap());
                break;
            }
            line.push(byte);
        }
    }
    seen
}

/// Says who connects, then echoes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(format!("{peer}\n").as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn exchange(tunnel: &mut tokio::net::TcpStream) {
    tunnel.write_all(b"ping").await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"ping") {
        received.push(tunnel.read_u8().await.unwrap());
    }
}

fn target(echo: SocketAddr) -> String {
    format!("echo.example:{}", echo.port())
}

fn whole(audit: &Path) -> Verification {
    schema::validate(audit);
    verify(audit, None, None, |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

fn records(audit: &Path) -> Vec<Value> {
    let mut reader = Reader::open(audit).unwrap();
    let mut records = Vec::new();
    while let Some(raw) = reader.next_line().unwrap() {
        let line = Line::parse(raw.bytes).unwrap();
        records.push(serde_json::from_slice(line.bytes).unwrap());
    }
    records
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
        // What a failed write has written stays; it is what the next is short of.
        if file.write_all(&vec![b'x'; size]).is_err() {
            size /= 2;
        }
    }
}

/// A library whose fdatasync and fsync fail with EIO while a file exists.
fn faulty_sync(directory: &Path) -> std::path::PathBuf {
    let source = directory.join("fault.c");
    fs::write(
        &source,
        "#include <errno.h>\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
         static int fails(void) { const char *f = getenv(\"FAULT\"); return f && access(f, F_OK) == 0; }\n\
         int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }\n\
         int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }\n",
    )
    .unwrap();
    let library = directory.join("fault.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
        .arg(&library)
        .arg(&source)
        .status()
        .unwrap();
    assert!(compiled.success());
    library
}

async fn wait<T, F: Future<Output = Option<T>>>(mut poll: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
