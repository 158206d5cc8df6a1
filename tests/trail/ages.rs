//! A clock that is wrong deletes nothing: what it jumped makes no record older, unless somebody
//! confirms it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use callhome_trail::{Reader, segments};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client;
use crate::support::clock::FakeClock;
use crate::support::echo::{destination, echo, target};
use crate::support::process::{Process, write_config};
use crate::support::trail::printed;
use crate::support::wait;
use crate::support::written::whole;

const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

/// A machine with a relay that keeps its trail for thirty days.
struct Machine {
    directory: TempDir,
    clock: FakeClock,
    echo: SocketAddr,
    boots: u32,
}

/// Opens and closes this many tunnels.
pub(super) async fn tunnels(process: &Process, echo: SocketAddr, count: usize) {
    for _ in 0..count {
        drop(client::tunnel(process.proxy, &target(echo)).await.unwrap());
    }
}

impl Machine {
    async fn new(audit: &str) -> Self {
        let (directory, echo) = (tempfile::tempdir().unwrap(), echo().await);
        let machine = Self {
            directory,
            clock: FakeClock::new(),
            echo,
            boots: 0,
        };
        machine.configure(audit);
        machine
    }

    fn configure(&self, audit: &str) {
        let limits = "[limits]\nrate_per_client = \"100000/s\"\n";
        let audit = format!("keep = \"30d\"\nrotate_size = \"24KiB\"\nsync = \"20ms\"\n{audit}");
        let keys = format!("{}{limits}", destination(self.echo));
        write_config(self.directory.path(), &keys, &audit);
    }

    fn audit(&self) -> PathBuf {
        self.directory.path().join("audit")
    }

    /// Starts the relay after the machine has booted at this time.
    fn boot(&mut self, seconds: i64) -> Process {
        self.boots += 1;
        self.clock.boot(self.boots);
        self.clock.set(seconds);
        self.clock.serve(self.directory.path())
    }

    /// Fills segments, so that the relay closes one at least and looks at the ages of all.
    async fn fill(&self, process: &Process) {
        wait::until("the first records", || self.active().is_some());
        let last = self.active();
        while self.active() == last {
            tunnels(process, self.echo, 5).await;
        }
        // The writer has looked once it takes more.
        let last = self.last();
        tunnels(process, self.echo, 1).await;
        wait::until("the last tunnel", || self.last() > last);
    }

    fn last(&self) -> Option<u64> {
        self.records().last()?["seq"].as_u64()
    }

    /// The first record of the segment that is being written.
    fn active(&self) -> Option<u64> {
        let segments = segments::list(&self.audit()).unwrap();
        let last = segments.last()?;
        Some(last.first)
    }

    /// How many segments are closed.
    fn closed(&self) -> usize {
        let mut segments = segments::list(&self.audit()).unwrap();
        segments.retain(|segment| !segments::is_active(&segment.path));
        segments.len()
    }

    /// The first record that is left.
    fn first(&self) -> u64 {
        segments::list(&self.audit()).unwrap()[0].first
    }

    fn of(&self, event: &str) -> Vec<Value> {
        let mut records = self.records();
        records.retain(|it| it["event"] == event);
        records
    }

    /// Every record. The relay may be deleting the oldest, so it is read again until all are there.
    fn records(&self) -> Vec<Value> {
        let read = || {
            let mut reader = Reader::open(&self.audit())?;
            let mut records = Vec::new();
            while let Some(raw) = reader.next_line()? {
                records.extend(serde_json::from_slice::<Value>(raw.bytes).ok());
            }
            Ok::<_, std::io::Error>(records)
        };
        let mut found = None;
        wait::until("the records", || {
            found = read().ok();
            found.is_some()
        });
        found.unwrap()
    }

    fn clock(&self, more: &[&str]) -> Value {
        let audit = self.audit();
        let args = ["clock", audit.to_str().unwrap(), "--json"];
        let text = printed(args.into_iter().chain(more.iter().copied()));
        serde_json::from_str(&text).unwrap()
    }

    /// The jumps that wait for a confirmation, in whole days.
    fn unconfirmed(&self) -> Vec<i64> {
        let told = self.clock(&[]);
        let jumps = told["unconfirmed"].as_array().unwrap();
        let days = jumps
            .iter()
            .map(|it| it["open"].as_f64().unwrap() / 86_400.0);
        #[expect(clippy::cast_possible_truncation, reason = "a few years")]
        let days = days.map(|days| days.round() as i64);
        days.collect()
    }
}

fn stop(mut process: Process) {
    process.signal(Signal::INT);
    assert!(process.wait().success());
}

/// The time of 1970, as a machine has it whose clock has no battery.
fn in_1970() -> i64 {
    -jiff::Timestamp::now().as_second() + 100
}

fn verified(audit: &Path) -> String {
    printed(["verify", audit.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_for_seconds_deletes_nothing() {
    let mut machine = Machine::new("").await;
    let process = machine.boot(0);
    machine.fill(&process).await;
    machine.clock.set(410 * DAY);
    machine.fill(&process).await;
    assert_eq!(machine.first(), 1);
    assert_eq!(machine.unconfirmed(), [410]);
    machine.clock.set(0);
    machine.fill(&process).await;
    assert_eq!(machine.first(), 1);
    assert_eq!(machine.unconfirmed(), [0; 0], "it was taken back");
    assert_eq!(machine.of("clock_stepped").len(), 2);
    stop(process);
    let report = whole(&machine.audit());
    assert_eq!((report.clock_steps, report.unconfirmed.len()), (2, 0));
    // Ages go on as if nothing had been: what was written under the wrong clock is old in time.
    for night in 1..40 {
        stop(machine.boot(20 * HOUR * night));
    }
    assert_eq!(machine.unconfirmed(), [0; 0]);
    assert!(machine.first() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_months_off_count_once_they_are_confirmed() {
    let mut machine = Machine::new("").await;
    let process = machine.boot(0);
    machine.fill(&process).await;
    stop(process);
    let process = machine.boot(60 * DAY);
    machine.fill(&process).await;
    assert_eq!(machine.first(), 1);
    assert_eq!(machine.of("trail_pruned").len(), 0);
    let [step] = machine.of("clock_stepped").try_into().unwrap();
    assert_eq!(step["data"]["before_start"], true);
    assert_eq!(step["data"]["maybe_off"], true);
    assert!(process.said().contains("audit clock --confirm"));
    let told = verified(&machine.audit());
    assert!(told.contains("a jump of 60 d ahead"), "{told}");

    assert_eq!(machine.clock(&["--confirm"])["confirmed"], step["seq"]);
    // Ten seconds later the writer looks by itself, and sooner where a segment is full.
    machine.fill(&process).await;
    wait::until("the confirmation", || {
        machine.of("clock_confirmed").len() == 1
    });
    assert_eq!(machine.of("clock_confirmed")[0]["data"]["to"], step["seq"]);
    wait::until("the pruning", || machine.first() > 1);
    assert_eq!(machine.of("trail_pruned")[0]["data"]["reason"], "keep");
    // What came after the time off is as young as it is.
    let left = machine.records();
    assert!(left.iter().any(|it| it["seq"] == step["seq"]));
    wait::until("the end of the file", || {
        !machine.audit().join("clock.confirm").exists()
    });
    assert_eq!(machine.unconfirmed(), [0; 0]);
    stop(process);
    let report = whole(&machine.audit());
    assert_eq!((report.unconfirmed.len(), report.gaps.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_runs_on_later_counts_once_it_is_confirmed_while_nothing_runs() {
    let mut machine = Machine::new("").await;
    let process = machine.boot(0);
    machine.fill(&process).await;
    // The machine was frozen with its memory, and only its wall clock was told.
    machine.clock.set(60 * DAY);
    machine.fill(&process).await;
    assert_eq!(machine.first(), 1);
    stop(process);
    let process = machine.clock.serve(machine.directory.path());
    machine.fill(&process).await;
    assert_eq!(machine.first(), 1, "a start forgets no jump");
    assert_eq!(machine.unconfirmed(), [60]);
    stop(process);
    machine.clock(&["--confirm"]);
    let process = machine.clock.serve(machine.directory.path());
    machine.fill(&process).await;
    wait::until("the pruning", || machine.first() > 1);
    stop(process);
    assert_eq!(machine.unconfirmed(), [0; 0]);
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_boot_in_1970_and_each_later_one_delete_nothing() {
    let mut machine = Machine::new("").await;
    for _ in 0..3 {
        let process = machine.boot(in_1970());
        machine.fill(&process).await;
        machine.clock.set(0);
        machine.fill(&process).await;
        stop(process);
    }
    // By power failure, too.
    let process = machine.boot(in_1970());
    machine.fill(&process).await;
    machine.clock.set(0);
    machine.fill(&process).await;
    process.signal(Signal::KILL);
    drop(process);
    let process = machine.boot(0);
    machine.fill(&process).await;
    stop(process);
    assert_eq!(machine.first(), 1);
    // Only the first jump has nothing before it that was right.
    assert_eq!(machine.unconfirmed().len(), 1);
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_that_comes_ten_minutes_late_leaves_nothing_behind() {
    let mut machine = Machine::new("").await;
    for night in 0..3 {
        let process = machine.boot(night * 20 * HOUR - 4 * HOUR);
        machine.fill(&process).await;
        machine.clock.set(night * 20 * HOUR);
        machine.fill(&process).await;
        stop(process);
    }
    assert_eq!(machine.unconfirmed(), [0; 0]);
    assert_eq!(machine.first(), 1);
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_at_the_wrong_time_deletes_nothing_either() {
    let mut machine = Machine::new("").await;
    let process = machine.boot(0);
    machine.fill(&process).await;
    stop(process);
    for boot in [true, true, false] {
        let process = if boot {
            machine.boot(730 * DAY)
        } else {
            machine.clock.serve(machine.directory.path())
        };
        machine.fill(&process).await;
        stop(process);
        assert_eq!(machine.first(), 1);
        assert_eq!(machine.unconfirmed(), [730]);
    }
    let process = machine.boot(0);
    machine.fill(&process).await;
    stop(process);
    assert_eq!(machine.first(), 1);
    assert_eq!(machine.unconfirmed(), [0; 0]);
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nightly_starts_keep_normal_ageing() {
    let mut machine = Machine::new("").await;
    for night in 0..40 {
        let process = machine.boot(night * 20 * HOUR);
        if night < 2 {
            machine.fill(&process).await;
        }
        stop(process);
    }
    wait::until("the pruning", || machine.first() > 1);
    assert_eq!(machine.unconfirmed(), [0; 0]);
    let pruned = &machine.of("trail_pruned")[0]["data"];
    assert_eq!(pruned["reason"], "keep");
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_that_is_too_large_is_pruned_whatever_the_clock_says() {
    let mut machine = Machine::new("").await;
    let process = machine.boot(0);
    machine.fill(&process).await;
    stop(process);
    machine.configure("max_size = \"48KiB\"");
    let process = machine.boot(730 * DAY);
    while machine.first() == 1 {
        tunnels(&process, machine.echo, 5).await;
    }
    stop(process);
    assert_eq!(machine.of("trail_pruned")[0]["data"]["reason"], "max_size");
    whole(&machine.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_closes_no_segment() {
    let mut machine = Machine::new("rotate_every = \"1d\"").await;
    let process = machine.boot(0);
    machine.clock.set(3 * DAY);
    wait::until("the step", || machine.of("clock_stepped").len() == 1);
    stop(process);
    let process = machine.clock.serve(machine.directory.path());
    tunnels(&process, machine.echo, 1).await;
    stop(process);
    assert_eq!(machine.closed(), 0);
    // A day that has passed does.
    let process = machine.boot(3 * DAY + 23 * HOUR);
    stop(process);
    let process = machine.boot(4 * DAY + 21 * HOUR);
    tunnels(&process, machine.echo, 1).await;
    stop(process);
    assert_eq!(machine.closed(), 1);
}
