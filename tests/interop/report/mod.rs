//! The figures of `audit report` equal those of another program in another language, over three
//! months of two relays.

mod months;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::foreign::tools;
use crate::support::trail::printed;
use months::Months;

#[test]
fn another_program_counts_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut reports = Vec::new();
    for seed in 1..=SEEDS {
        let trails =
            ["one", "two"].map(|name| directory.path().join(format!("{name}-{seed}.jsonl")));
        let [one, two] = &trails;
        std::fs::write(one, Months::new(seed).of_one()).unwrap();
        std::fs::write(two, Months::new(seed + SEEDS).of_two()).unwrap();
        for month in ["2026-10", "2026-11", "2026-12"] {
            let (counted, report) = (counted(month, one, two), report(month, one, two));
            assert_eq!(counted["days_covered"], report["days_covered"], "{month}");
            let (ours, theirs) = (rows(&report), rows(&counted));
            let names = |rows: &BTreeMap<String, Value>| rows.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&ours), names(&theirs), "seed {seed}, {month}");
            for (name, row) in ours {
                assert_eq!(row, theirs[&name], "seed {seed}, {month}, {name}");
            }
            let addresses = |it: &Value| sorted(it["addresses"].as_array().unwrap());
            assert_eq!(addresses(&report), addresses(&counted), "{seed} {month}");
            reports.push(report);
        }
    }
    has_every_kind(&reports);
}

/// Returns what the other program counts.
fn counted(month: &str, one: &Path, two: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/report/count.py");
    let mut python = tools::command("python3");
    python.arg(script).arg(month).args([one, two]);
    let output = python.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the report with the members that the other program has.
fn report(month: &str, one: &Path, two: &Path) -> Value {
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let text = printed(["report", "--json", "--month", month, one, two]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<_> = report["rows"].as_array().unwrap().iter().map(row).collect();
    let addresses: Vec<_> = report["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            json!([
                it["client"],
                it["address"],
                it["tunnels"],
                it["uploads"],
                microseconds(&it["last_upload"])
            ])
        })
        .collect();
    json!({"days_covered": report["days_covered"], "rows": rows, "addresses": addresses})
}

fn row(row: &Value) -> Value {
    let sum = |member: &str| {
        let counts = row[member].as_object().unwrap().values();
        counts.map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    let mut told = json!({
        "not_uploads": sum("not_uploads"),
        "refused": sum("refusals"),
        "failed": sum("failures"),
        "first_upload": microseconds(&row["first_upload"]),
        "last_upload": microseconds(&row["last_upload"]),
    });
    for member in [
        "client",
        "listed",
        "destination",
        "tunnels",
        "open",
        "lost",
        "not_enforced",
        "bytes_up",
        "bytes_down",
        "uploads",
        "unjudged",
        "days_without_upload",
    ] {
        told[member] = row[member].clone();
    }
    told
}

fn rows(report: &Value) -> BTreeMap<String, Value> {
    let rows = report["rows"].as_array().unwrap();
    let name = |row: &Value| format!("{} {} {}", row["listed"], row["client"], row["destination"]);
    rows.iter().map(|row| (name(row), row.clone())).collect()
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

fn microseconds(time: &Value) -> Option<i64> {
    let time: Timestamp = time.as_str()?.parse().unwrap();
    Some(time.as_microsecond())
}

/// Checks that the months have what they are made for. Otherwise two programs could agree on
/// nothing.
fn has_every_kind(reports: &[Value]) {
    let rows = reports
        .iter()
        .flat_map(|report| report["rows"].as_array().unwrap());
    for member in [
        "uploads",
        "unjudged",
        "not_uploads",
        "open",
        "lost",
        "not_enforced",
        "refused",
        "failed",
    ] {
        let count = rows.clone().filter(|row| row[member] != 0).count();
        assert!(count > 1, "{count} rows with {member}");
    }
    // The days on which the relay that lists it ran, as the months were drawn.
    let silent = rows.filter(|row| row["client"] == "zvm-silent");
    let days = |row: &Value| row["days_without_upload"].as_array().unwrap().len();
    let days: Vec<_> = silent.map(days).collect();
    assert_eq!(days, [29, 28, 31].repeat(days.len() / 3));
}

/// How many histories are compared.
const SEEDS: u64 = 2;
