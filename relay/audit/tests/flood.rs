//! Tests that a flood of refusals is counted, and takes no more than its share of the trail.

use super::*;

/// A client can't push the records of other clients' refusals out with its own. This holds for
/// refusals of each kind.
#[test]
fn what_is_beyond_a_rate_is_counted_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    for n in 0..3000 {
        let session = beyond_rate(&audit, [10, 0, 0, 1]);
        match n % 3 {
            0 => session.refused(&Reason::MalformedRequest.into()),
            1 => session.refused(&Reason::NotTls.into()),
            _ => session.abandoned(),
        }
    }
    refuse(&audit);
    writer.close();

    let text = fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
    let records: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counted = records.iter().filter(|it| it["event"] == "refusals");
    let counted: u64 = counted.filter_map(|it| it["data"]["count"].as_u64()).sum();
    let own = records
        .iter()
        .filter(|it| it["session"].is_string())
        .count();
    assert_eq!(own as u64 + counted, 3001);
    // The records are the first of each period, and those of the client within its rate.
    assert!((2..10).contains(&own), "{own}");
    assert!(
        records
            .iter()
            .any(|it| it["reason"] == "destination_not_allowed")
    );
    for why in ["malformed_request", "not_tls", "abandoned"] {
        assert!(text.contains(&format!("\"{why}\":")), "{why} isn't counted");
    }
}

#[test]
fn a_flood_of_refusals_takes_half_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 100_000,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for _ in 0..50 {
        for _ in 0..100 {
            refuse(&audit);
        }
        thread::sleep(Duration::from_millis(10));
    }
    writer.close();
    // It depends on timing whether the last segment was closed at the end.
    let mut reader = Reader::open(directory.path()).unwrap();
    let mut size = 0;
    while let Some(line) = reader.next_line().unwrap() {
        size += line.bytes.len();
    }
    assert!(
        (40_000..80_000).contains(&size),
        "{size} bytes of 5,000 refusals"
    );
    let report = whole(directory.path());
    assert!(report.gaps.is_empty());
}
