//! Hostile text, sent or written into a trail, stays in its line, field and cell, and doesn't
//! control a terminal. Every format gets the same text.

use std::fs;
use std::time::Duration;

use calamine::{Data, Reader as _, Xlsx};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::hostile::{self, TARGETS, is_hidden};
use crate::support::relay::Relay;
use crate::support::trail::{Trail, audit, ecs_schema, export, printed};

/// Each text becomes one valid JSON line of printable ASCII with one member `raw`, and one line,
/// field or cell in every format.
#[tokio::test]
async fn a_target_is_text_and_nothing_else() {
    let mut relay = Relay::start("[limits]\nrate_per_client = \"1000/s\"\n").await;
    for (n, target) in TARGETS.iter().enumerate() {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        let head = [b"CONNECT ", *target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        // It may be refused, and the connection closed, before all of it is sent.
        let _ = stream.write_all(&head).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{n}: {answer:?}");
        assert!(
            answer
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')),
            "{n}: {answer:?}"
        );
        let record = relay.closing(n).await;
        assert_eq!(record["outcome"], "refused", "{n}: {record}");
        let raw = record["target"]["raw"].as_str();
        assert!(
            raw.is_none_or(|raw| !raw.contains("S3CRET")),
            "{n}: {record}"
        );
    }
    let text = fs::read(relay.trail()).unwrap();
    assert!(text.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
    let records: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let refused = records.iter().filter(|record| !record["session"].is_null());
    assert_eq!(refused.count(), TARGETS.len());
    assert!(records.iter().all(|record| record["event"] != "forged"));
    relay.stop().await;
    let directory = relay.trail().parent().unwrap().to_owned();
    let sessions = TARGETS.len();
    let squid = export("squid", &directory);
    assert_eq!(squid.lines().count(), sessions);
    assert!(
        squid
            .lines()
            .all(|line| line.split_ascii_whitespace().count() == 10)
    );
    assert!(!squid.contains("S3CRET"));
    assert_harmless_csv(&export("csv", &directory), sessions);
    let tail = printed(["tail", "-n", "1000", directory.to_str().unwrap()]);
    assert!(!tail.contains(|c| is_hidden(c) && c != '\n'));
}

#[test]
fn hostile_text_stays_in_its_place() {
    let trail = Trail::hostile();
    let file = trail.file();
    let sessions = 2 * TARGETS.len();

    let squid = export("squid", &file);
    assert_eq!(squid.lines().count(), sessions);
    for line in squid.lines() {
        assert!(
            line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line}"
        );
        assert_eq!(line.split_ascii_whitespace().count(), 10, "{line}");
    }

    let combined = export("combined", &file);
    assert_eq!(combined.lines().count(), sessions);
    for line in combined.lines() {
        assert!(
            line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line}"
        );
        assert_eq!(line.split('"').count(), 7, "{line}");
        assert_eq!(line.split(' ').count(), 12, "{line}");
    }

    // Counted refusals have a row too.
    let rows = sessions + hostile::texts().count();
    assert_harmless_csv(&export("csv", &file), rows);

    let ecs = export("ecs", &file);
    assert_eq!(ecs.lines().count(), trail.len());
    assert!(!ecs.contains(|c| is_hidden(c) && c != '\n'));
    let schema = ecs_schema();
    for line in ecs.lines() {
        let document = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&document), "{document:#}");
    }

    let shown = printed(["tail", "-n", "1000000", file.to_str().unwrap()]);
    assert_eq!(shown.lines().count(), trail.len());
    assert!(!shown.contains(|c| is_hidden(c) && c != '\n'));
}

#[test]
fn hostile_text_stays_in_its_place_in_reports() {
    let trail = Trail::hostile();
    let file = trail.file();
    let report = |more: &[&str]| {
        let month = ["report", "--month", "2026-11", file.to_str().unwrap()];
        printed([&month[..], more].concat())
    };
    let table = report(&[]);
    assert!(!table.contains(|c| is_hidden(c) && c != '\n'));
    // The lines are a client, a destination and the head, three lines of the trail, and its gaps.
    let rows = distinct_texts() + 1;
    assert!(table.lines().count() > rows + TARGETS.len());

    let json = report(&["--json"]);
    assert!(!json.contains(|c| is_hidden(c) && c != '\n'));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), rows);

    assert_harmless_csv(&report(&["--csv"]), rows);

    let xlsx = trail.beside("report.xlsx");
    report(&["--xlsx", xlsx.to_str().unwrap()]);
    let mut workbook: Xlsx<_> = calamine::open_workbook(&xlsx).unwrap();
    let names = workbook.sheet_names();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(name.len() <= 31 && name.is_ascii(), "{name}");
        // The totals are formulas of the report's own, and name nothing but cells.
        for (_, _, formula) in workbook.worksheet_formula(&name).unwrap().used_cells() {
            let cells = formula.strip_prefix("SUBTOTAL(109,");
            let cells = cells.and_then(|rest| rest.strip_suffix(')'));
            let is_cell = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ':';
            assert!(
                formula.is_empty() || cells.is_some_and(|cells| cells.chars().all(is_cell)),
                "{name}: {formula}"
            );
        }
        for (_, _, cell) in workbook.worksheet_range(&name).unwrap().used_cells() {
            if let Data::String(text) = cell {
                assert!(!text.contains(is_hidden), "{text:?}");
                assert!(!text.starts_with(['=', '+', '-', '@']), "{text:?}");
            }
        }
    }
}

#[test]
fn hostile_text_stays_in_its_place_in_a_verdict() {
    let trail = Trail::hostile();
    let file = trail.file();
    let output = audit(["verify", "--accept-gaps", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("gap") && !text.contains(|c| is_hidden(c) && c != '\n'),
        "{text:?}"
    );
}

fn assert_harmless_csv(text: &str, rows: usize) {
    assert_eq!(text.lines().count(), rows + 1, "{text}");
    assert!(!text.contains(|c| is_hidden(c) && c != '\n'));
    // The reader isn't flexible: each row has to have as many cells as the header.
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    for row in reader.records() {
        for cell in &row.unwrap() {
            // A semicolon ends a cell where decimals have a comma.
            for cell in cell.split(';') {
                let cell = cell.trim_start_matches([' ', '"']);
                assert!(
                    !cell.starts_with(['=', '+', '-', '@', '\u{ff1d}']),
                    "{cell:?}"
                );
            }
        }
    }
}

fn distinct_texts() -> usize {
    hostile::texts()
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}
