//! A disk that takes its time, and a process that is frozen meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fault::Fault;
use crate::support::client;
use crate::support::echo::{destination, echo, target};
use crate::support::process::{Process, relay, write_config};
use crate::support::written::whole;

/// Starts a relay on a disk whose syncs take 200 ms.
fn on_slow_disk(directory: &Path, echo: std::net::SocketAddr, audit: &str) -> Process {
    let fault = Fault::slow(directory);
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    let keys = format!("{}{limits}", destination(echo));
    write_config(directory, &keys, audit);
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.join("relay.toml"))
        .envs(fault.environment());
    fault.begin();
    Process::spawn(command)
}

/// Opens this number of tunnels one after the other. Returns how long each took, the shortest first.
async fn open_tunnels(
    process: &Process,
    echo: std::net::SocketAddr,
    count: usize,
) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        drop(client::tunnel(process.proxy, &target(echo)).await.unwrap());
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort();
    took
}

/// Every slow step of the trail comes meanwhile: syncs, heads, checkpoints, rotation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_up_no_tunnel() {
    let echo = echo().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = "sync = \"50ms\"\nseal_every = \"1s\"\nrotate_size = \"128KiB\"";
    let process = on_slow_disk(directory.path(), echo, keys);
    // The first checkpoint of a run is durable before any other record follows it.
    open_tunnels(&process, echo, 1).await;
    let took = open_tunnels(&process, echo, 300).await;
    let slow = took.iter().filter(|it| **it > Duration::from_millis(150));
    assert!(slow.count() <= 6, "{took:?}");
    assert!(took[150] < Duration::from_millis(20), "{took:?}");
    drop(process);

    // The same disk under `sync = "always"` shows that its syncs are slow.
    let directory = tempfile::tempdir().unwrap();
    let process = on_slow_disk(directory.path(), echo, "sync = \"always\"");
    let took = open_tunnels(&process, echo, 5).await;
    assert!(took[0] >= Duration::from_millis(150), "{took:?}");
}

/// The time in which a process doesn't run isn't time that the disk takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_is_no_hanging_disk() {
    let echo = echo().await;
    for sync in ["20ms", "always"] {
        let directory = tempfile::tempdir().unwrap();
        let process = on_slow_disk(directory.path(), echo, &format!("sync = \"{sync}\""));
        open_tunnels(&process, echo, 1).await;
        let proxy = process.proxy;
        let busy = tokio::spawn(async move {
            for _ in 0..10 {
                drop(client::tunnel(proxy, &target(echo)).await.unwrap());
            }
        });
        // With syncs this slow, one runs at nearly every moment.
        tokio::time::sleep(Duration::from_millis(120)).await;
        process.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_secs(7)).await;
        process.signal(Signal::CONT);
        busy.await.unwrap();
        let mut process = process;
        process.signal(Signal::INT);
        assert!(process.wait().success());
        let report = whole(&directory.path().join("audit"));
        assert!(report.gaps.is_empty(), "{:?}", report.gaps);
    }
}
