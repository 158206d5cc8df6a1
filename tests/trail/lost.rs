//! Tunnels that were open when the relay ended get an end, whatever the clock says then.

use std::fs;
use std::path::Path;

use callhome_trail::{Head, HeadFile, segments};
use rustix::process::Signal;
use serde_json::Value;

use super::ages::tunnels;
use crate::support::client;
use crate::support::clock::FakeClock;
use crate::support::echo::{destination, echo, target};
use crate::support::process::write_config;
use crate::support::wait;
use crate::support::written::{records, whole};

fn sessions(records: &[Value], event: &str) -> Vec<String> {
    let records = records.iter().filter(|it| it["event"] == event);
    let mut sessions: Vec<_> = records
        .map(|it| it["session"].as_str().unwrap().to_owned())
        .collect();
    sessions.sort();
    sessions
}

/// The segments that are closed.
fn closed(audit: &Path) -> usize {
    segments::list(audit).unwrap().len() - 1
}

/// Five tunnels are open, the file with their openings is closed, and the clock is set a day ahead
/// before the relay starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_before_a_rotation_and_a_step_of_the_clock_are_lost_at_the_next_start() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), FakeClock::new());
    let audit = directory.path().join("audit");
    let echo = echo().await;
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    write_config(
        directory.path(),
        &format!("{}{limits}", destination(echo)),
        "rotate_size = \"24KiB\"\nsync = \"20ms\"",
    );
    let process = clock.serve(directory.path());
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(client::tunnel(process.proxy, &target(echo)).await.unwrap());
    }
    wait::until("the openings", || {
        sessions(&records(&audit), "tunnel_opened").len() == 5
    });
    let expected = sessions(&records(&audit), "tunnel_opened");
    while closed(&audit) < 2 {
        tunnels(&process, echo, 10).await;
    }
    clock.set(86_400);
    while closed(&audit) < 4 {
        tunnels(&process, echo, 10).await;
    }
    let ended = |audit: &Path| {
        let records = records(audit);
        let opened = sessions(&records, "tunnel_opened").len();
        opened == sessions(&records, "tunnel_closed").len() + 5
    };
    wait::until("the ends of the others", || ended(&audit));
    process.signal(Signal::KILL);
    drop(process);
    drop(open);

    let mut process = clock.serve(directory.path());
    wait::until("the lost tunnels", || {
        sessions(&records(&audit), "tunnel_lost") == expected
    });
    // Those of this run are its own.
    let kept = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    tunnels(&process, echo, 10).await;
    process.signal(Signal::INT);
    process.wait();
    drop(kept);
    let mut process = clock.serve(directory.path());
    process.signal(Signal::INT);
    process.wait();
    assert_eq!(sessions(&records(&audit), "tunnel_lost"), expected);
    whole(&audit);
}

/// The relay is killed again and again while it may still be searching.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_the_search_loses_nothing() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), FakeClock::new());
    let audit = directory.path().join("audit");
    let echo = echo().await;
    let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
    write_config(
        directory.path(),
        &format!("{}{limits}", destination(echo)),
        "rotate_size = \"24KiB\"\nsync = \"20ms\"",
    );
    let process = clock.serve(directory.path());
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(client::tunnel(process.proxy, &target(echo)).await.unwrap());
    }
    tunnels(&process, echo, 100).await;
    wait::until("the openings", || {
        sessions(&records(&audit), "tunnel_opened").len() == 140
    });
    process.signal(Signal::KILL);
    drop(process);
    drop(open);
    for _ in 0..10 {
        let process = clock.serve(directory.path());
        process.signal(Signal::KILL);
    }
    let mut process = clock.serve(directory.path());
    let without_end = |audit: &Path| {
        let records = records(audit);
        let mut open = sessions(&records, "tunnel_opened");
        for event in ["tunnel_closed", "tunnel_lost"] {
            for session in sessions(&records, event) {
                let at = open.iter().position(|it| *it == session);
                open.remove(at.expect("one end for each"));
            }
        }
        open.len()
    };
    wait::until("the ends", || without_end(&audit) == 0);
    process.signal(Signal::INT);
    process.wait();
    whole(&audit);
}

/// Bad bytes between the openings and the end keep no tunnel from being found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_the_way_hides_no_tunnel_behind_it() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), FakeClock::new());
    let audit = directory.path().join("audit");
    let echo = echo().await;
    write_config(directory.path(), &destination(echo), "sync = \"20ms\"");
    let process = clock.serve(directory.path());
    let first = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    let second = client::tunnel(process.proxy, &target(echo)).await.unwrap();
    wait::until("the openings", || {
        sessions(&records(&audit), "tunnel_opened").len() == 2
    });
    // A crash tears nothing that the head covers.
    wait::until("the head", || {
        let head = Head::load(&audit).unwrap();
        let last = records(&audit).last().unwrap()["seq"].as_u64();
        matches!(head, HeadFile::Read(head) if Some(head.seq) == last)
    });
    process.signal(Signal::KILL);
    drop(process);
    drop((first, second));
    let path = audit.join("access.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("\"tunnel_opened\"").unwrap();
    let mut bytes = text.into_bytes();
    bytes[at + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut process = clock.serve(directory.path());
    process.signal(Signal::INT);
    process.wait();
    let mut lost = 0;
    for segment in segments::list(&audit).unwrap() {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut segments::open(&segment.path).unwrap(), &mut text)
            .unwrap();
        lost += text.matches("\"tunnel_lost\"").count();
    }
    assert_eq!(lost, 1, "the other's opening is no record any more");
}
