//! Floods of refusals: what they write, and what a listed client's own refusals leave beside them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::client::{ask_from, connect};
use crate::support::process::{Process, write_config};
use crate::support::written::{records, whole};

const CLIENTS: &str = "
[clients]
unlisted = \"any\"
[[client]]
name = \"zvm-1\"
role = \"zvm\"
sources = [\"127.0.0.9\"]
";
const ZVM: &str = "127.0.0.9";
const EVIL: &str = "evil-exfil.example:443";

/// A flood that goes on until it is stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Flood {
    /// Asks from this many addresses, in turn and as fast as it can, for a target that is long
    /// once it is escaped.
    fn start(proxy: SocketAddr, addresses: u32) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let asked = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (stop, asked) = (stop.clone(), asked.clone());
            tasks.spawn(async move {
                let head = connect(&"\\".repeat(300));
                let mut n = task;
                while !stop.load(Ordering::Relaxed) {
                    let address = Ipv4Addr::from(0x7f01_0001 + n % addresses).to_string();
                    let answer = ask_from(&address, proxy, head.as_bytes()).await;
                    assert!(matches!(answer.status, 400 | 403 | 429), "{answer:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                    n = n.wrapping_add(TASKS);
                }
            });
        }
        Self { stop, asked, tasks }
    }

    /// Stops it, and returns how often it has asked.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        self.asked.load(Ordering::Relaxed)
    }
}

/// Asks as the listed client does, and is refused.
async fn ask_evil(proxy: SocketAddr, times: u64) {
    let head = connect(EVIL);
    for _ in 0..times {
        let answer = ask_from(ZVM, proxy, head.as_bytes()).await;
        assert!(matches!(answer.status, 403 | 429), "{answer:?}");
    }
}

/// Counts how often the trail says that the listed client asked for the target.
fn evil_in(records: &[Value]) -> u64 {
    let own = records.iter().filter(|it| {
        it["client"]["name"] == "zvm-1" && it["target"]["host"] == "evil-exfil.example"
    });
    let counted = records.iter().filter(|it| it["data"]["client"] == "zvm-1");
    let counted = counted.filter_map(|it| it["data"]["targets"][EVIL].as_u64());
    own.count() as u64 + counted.sum::<u64>()
}

fn bytes(audit: &Path) -> u64 {
    fs::metadata(audit.join("access.jsonl")).unwrap().len()
}

fn serve(directory: &Path, limits: &str, audit: &str) -> Process {
    write_config(directory, &format!("{CLIENTS}{limits}"), audit);
    Process::serve(directory)
}

/// Strangers at any rate use up neither half of a segment nor what a listed client leaves in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_clients_target_is_kept_whatever_strangers_do() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let fast = "[limits]\nrate_per_client = \"100000/s\"\n";
    let mut process = serve(
        directory.path(),
        fast,
        "sync = \"20ms\"\nrotate_size = \"1MiB\"",
    );
    let flood = Flood::start(process.proxy, 300);
    let started = Instant::now();
    let mut evil = 0;
    while started.elapsed() < Duration::from_secs(3) || evil < 100 {
        ask_evil(process.proxy, 1).await;
        evil += 1;
    }
    flood.end().await;
    assert!(bytes(&audit) < 1 << 19, "{} bytes", bytes(&audit));
    process.signal(Signal::INT);
    process.wait();
    whole(&audit);
    assert_eq!(evil_in(&records(&audit)), evil);
}

/// Prints what floods from 1, 16 and 4,000 addresses write in a minute.
///
/// `FLOOD_SECONDS` says how long each of them lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and takes minutes"]
async fn a_minute_of_flood() {
    let seconds = std::env::var("FLOOD_SECONDS").map_or(60, |it| it.parse().unwrap());
    for (rate, limits) in [
        ("20/s", ""),
        ("100000/s", "[limits]\nrate_per_client = \"100000/s\"\n"),
    ] {
        for addresses in [1, 16, 4000] {
            let directory = tempfile::tempdir().unwrap();
            let audit = directory.path().join("audit");
            let mut process = serve(directory.path(), limits, "");
            let flood = Flood::start(process.proxy, addresses);
            let mut last = bytes(&audit);
            let mut evil = 0;
            for _ in 0..seconds / 10 {
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(10) {
                    ask_evil(process.proxy, 1).await;
                    evil += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                let now = bytes(&audit);
                eprintln!(
                    "{addresses} addresses, {rate}: {} bytes a minute",
                    6 * (now - last)
                );
                last = now;
            }
            let asked = flood.end().await;
            process.signal(Signal::INT);
            process.wait();
            let records = records(&audit);
            let counted = evil_in(&records);
            eprintln!(
                "{addresses} addresses, {rate}: {asked} refusals, {last} bytes in {seconds} s; the listed client's: {counted} of {evil}"
            );
            assert_eq!(counted, evil);
        }
    }
}

const TASKS: u32 = 8;
