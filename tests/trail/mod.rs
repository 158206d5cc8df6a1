//! The trail under what a machine does to it. `tests/system/trail.rs` has full and failing disks.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callhome_relay::audit::generate;
use callhome_trail::verify::Verification;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::echo::{destination, echo, target};
use crate::support::process::{Process, write_config};
use crate::support::written::{records, whole};

mod ages;
mod clocks;
mod edits;
mod flood;
mod forged;
mod forger;
mod honest;
mod injection;
mod lost;
mod old;
mod outage;
mod replaced;
mod scale;
mod spoilt;
mod tamper;
mod told;

/// Kills the relay fifty times under load, with the default `sync`. After each time the chain is
/// whole, the trail has every tunnel that a client saw open, and each tunnel has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sudden_ends_lose_nothing_that_a_client_saw() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let key = generate(&audit).unwrap();
    let echo = echo().await;
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    write_config(
        directory.path(),
        &format!("{}{limits}", destination(echo)),
        "rotate_size = \"256KiB\"",
    );
    let mut seen = HashSet::new();
    let mut ends = 0_u64;
    for round in 0..50_u64 {
        let process = Process::serve(directory.path());
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|_| tokio::spawn(tunnels(process.proxy, echo, stop.clone())))
            .collect();
        // The moment differs from round to round by the clock's last digits.
        let jitter = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 70);
        tokio::time::sleep(Duration::from_millis(30 + jitter)).await;
        process.signal(Signal::KILL);
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            seen.extend(client.await.unwrap());
        }
        drop(process);
        // It is proved as the kill has left it.
        assert_only_torn(&forger::proved(&audit, &forger::with_key(&key)));
        ends += 1;
        assert_eq!(ends, round + 1);
    }
    assert!(seen.len() > 200, "{} tunnels are no load", seen.len());

    // One more start records what the last kill cut off.
    let mut process = Process::serve(directory.path());
    process.signal(Signal::INT);
    assert!(process.wait().success());
    let report = whole(&audit);
    assert_only_torn(&report);
    forger::proved(&audit, &forger::with_key(&key));

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

/// A kill may come in the middle of a write of several pages. No client saw what was torn there.
fn assert_only_torn(report: &Verification) {
    let mut gaps = report.gaps.iter();
    assert!(gaps.all(|gap| gap.cause.contains("torn-")), "{report:#?}");
}

/// Opens tunnels until it is stopped or the relay is gone. Returns the relay's own address of each
/// open tunnel, as the echo server saw it.
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
        // The echo server begins with the peer's address, which the trail has as `upstream_local`.
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
