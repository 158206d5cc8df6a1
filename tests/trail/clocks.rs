//! A clock that was set while no relay ran is in the trail, and `verify` lists where its times go
//! back.

use std::fs;
use std::path::Path;

use callhome_trail::verify::Evidence;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::forger::{Forger, trail, whole};
use super::old;
use crate::support::schema;
use crate::support::trail::printed;

/// Goes on with a trail whose last checkpoint says that the clock was off by this much, `ago`
/// before now. It is one of an older relay, whose head anyone could write. Returns its records.
fn go_on(directory: &Path, off: SignedDuration, same_boot: bool) -> Vec<Value> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let mut forger = Forger::of(directory);
    let last = forger.lines.last().unwrap().clone();
    let record: Value = serde_json::from_str(&last).unwrap();
    let (data, now) = (&record["data"], Timestamp::now());
    let other_boot = "00000000-0000-4000-8000-000000000000";
    let boot = if same_boot { boot.trim() } else { other_boot };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the uptime of a machine"
    )]
    let uptime_ms = (uptime * 1000.0) as u64;
    let text = last
        .replace(record["time"].as_str().unwrap(), &(now + off).to_string())
        .replace(data["boot"].as_str().unwrap(), boot)
        .replace(
            &format!("\"uptime_ms\":{}", data["uptime_ms"]),
            &format!("\"uptime_ms\":{uptime_ms}"),
        );
    let from = forger.lines.len() - 1;
    forger.lines[from] = text;
    forger.chain(from).write();
    forger.mend();
    trail(directory, 1);
    schema::validate(directory);
    let lines = Forger::of(directory).lines;
    let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn steps(records: &[Value]) -> Vec<f64> {
    let steps = records.iter().filter(|it| it["event"] == "clock_stepped");
    let steps = steps.inspect(|it| assert_eq!(it["data"]["before_start"], true));
    steps
        .map(|it| it["data"]["seconds"].as_f64().unwrap())
        .collect()
}

const DAYS: i64 = 24;

#[test]
fn a_clock_that_was_set_while_the_relay_was_down_is_recorded() {
    for days in [-46, 47] {
        let directory = old::copy_of("stopped");
        // The clock was off then, and has been set since.
        let records = go_on(
            directory.path(),
            SignedDuration::from_hours(DAYS * days),
            true,
        );
        let steps = steps(&records);
        #[expect(clippy::cast_precision_loss, reason = "a few days")]
        let expected = (-86_400 * days) as f64;
        assert_eq!(steps.len(), 1, "{days}: {steps:?}");
        assert!((steps[0] - expected).abs() < 10.0, "{days}: {steps:?}");
        let report = whole(directory.path(), &Evidence::default());
        assert_eq!(report.clock_steps, 1);
        // The times go back at the wrong record, or behind it.
        assert_eq!(report.times_back, 1, "{report:#?}");
    }
}

#[test]
fn across_a_boot_a_time_that_goes_back_tells_and_one_days_later_may_be_time_off() {
    let directory = old::copy_of("stopped");
    let records = go_on(
        directory.path(),
        SignedDuration::from_hours(DAYS * 47),
        false,
    );
    let steps = steps(&records);
    assert_eq!(steps.len(), 1);
    assert!((steps[0] + 47.0 * 86_400.0).abs() < 10.0, "{steps:?}");
    let directory = old::copy_of("stopped");
    let records = go_on(
        directory.path(),
        SignedDuration::from_hours(-DAYS * 47),
        false,
    );
    let step = records.iter().find(|it| it["event"] == "clock_stepped");
    let data = &step.unwrap()["data"];
    assert_eq!(data["maybe_off"], true);
    let seconds = data["seconds"].as_f64().unwrap();
    assert!((seconds - 47.0 * 86_400.0).abs() < 10.0, "{seconds}");
    let report = whole(directory.path(), &Evidence::default());
    assert_eq!((report.clock_steps, report.unconfirmed.len()), (0, 1));
}

#[test]
fn a_clock_that_was_not_set_leaves_no_record() {
    let directory = old::copy_of("stopped");
    let records = go_on(directory.path(), SignedDuration::ZERO, true);
    assert_eq!(steps(&records), [0.0; 0]);
    for _ in 0..2 {
        trail(directory.path(), 1);
    }
    let report = whole(directory.path(), &Evidence::default());
    assert_eq!((report.clock_steps, report.times_back), (0, 0));
}

#[test]
fn verify_lists_where_the_times_go_back() {
    let directory = old::copy_of("stopped");
    let _ = go_on(
        directory.path(),
        SignedDuration::from_hours(DAYS * 47),
        true,
    );
    let report = whole(directory.path(), &Evidence::default());
    let [back] = report.time_back.as_slice() else {
        panic!("{report:#?}");
    };
    assert!(back.from > back.to);
    assert_eq!(back.seq, 14);
    let text = printed(["verify", directory.path().to_str().unwrap()]);
    let line = format!(
        "time     goes back at record 14: from {} to {}",
        back.from, back.to
    );
    assert!(text.contains(&line), "{text}");
}
