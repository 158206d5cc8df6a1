//! Outages of the trail that a running relay has to tell apart, and what may not cause one.

use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client;
use crate::support::echo::{destination, echo, target};
use crate::support::process::{Process, relay, write_config};
use crate::support::wait;
use crate::support::written::{records, whole};

/// If the reader of standard output doesn't read, the trail is unavailable after a second. It is
/// back as soon as the reader reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_blocks_is_an_outage_until_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    write_config(
        directory.path(),
        &format!("{}{limits}", destination(echo)),
        "sync = \"20ms\"\nstdout = true",
    );
    let mut command = relay();
    command
        .args(["serve", "--config"])
        .arg(directory.path().join("relay.toml"));
    let (mut process, mut stdout) = Process::spawn_read(command);
    // A pipe holds 64 KiB.
    let mut opened = 0;
    let refused = wait::found(|| {
        let proxy = process.proxy;
        let target = target(echo);
        opened += 1;
        async move { client::tunnel(proxy, &target).await.err() }
    })
    .await;
    assert_eq!(refused.phrase, "audit_unavailable");
    assert_eq!(client::get(process.admin, "/readyz").await.status, 503);
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).unwrap();
        text
    });
    drop(wait::found(|| async { client::tunnel(process.proxy, &target(echo)).await.ok() }).await);
    // Unlike SIGTERM, SIGINT skips the pause for load balancers.
    process.signal(Signal::INT);
    process.wait();
    let copy = directory.path().join("copy.jsonl");
    fs::write(&copy, reader.join().unwrap()).unwrap();
    let report = whole(&directory.path().join("audit"));
    let read = whole(&copy);
    // The requests that it refused meanwhile are counted, with what they asked for.
    let records = records(&copy);
    let refused = records.iter().find(|it| {
        let data = &it["data"];
        data["reasons"]["audit_unavailable"].is_u64() && data["targets"][target(echo)].is_u64()
    });
    let data = &refused.expect("samples of the outage")["data"];
    assert_eq!(data["destinations"][0]["destination"], "upstream", "{data}");
    assert_eq!((read.records, &read.trail), (report.records, &report.trail));
    assert!(opened > 10, "{opened}");
}

/// One address asks as fast as it can for what it may not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_is_bounded_by_the_minute() {
    let directory = tempfile::tempdir().unwrap();
    let echo = echo().await;
    write_config(directory.path(), &destination(echo), "sync = \"20ms\"");
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
    let counted = wait::found(|| async {
        let records = records(&audit);
        let counts = records.iter().filter(|it| it["event"] == "refusals");
        let counted: u64 = counts.map(|it| it["data"]["count"].as_u64().unwrap()).sum();
        let own = records.iter().filter(|it| it["event"] == "request_denied");
        let own = own.count() as u64;
        (own + counted == asked).then_some((own, counted))
    })
    .await;
    // A client's rate is 20 a second by default, with a burst of twice that. All other refusals
    // share one record every ten seconds.
    assert!(counted.0 <= 40 + 20 * seconds, "{counted:?} of {asked}");
    assert!(counted.1 > 0, "{asked} requests are no flood");
}
