//! Tests that a flood of refusals is counted, and takes no more than its share of the trail.

use super::damage::active;
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

/// However many clients flood, listed or not, their refusals close no segment, and take no more
/// than half of it.
#[test]
fn a_flood_of_refusals_takes_half_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 1 << 20,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for round in 0..20 {
        for n in 0..200 {
            refuse_from(&audit, [10, 0, 1, n], None);
            let name = format!("zvm-{}", n % 50);
            refuse_from(&audit, [10, 0, 2, n % 50], Some(&name));
        }
        wait_for(|| waiting(&audit) < 100);
        if round == 10 {
            thread::sleep(Duration::from_secs(1));
        }
    }
    let size = active(directory.path()).metadata().unwrap().len();
    assert!((100_000..1 << 19).contains(&size), "{size} bytes");
    assert_eq!(segments::list(directory.path()).unwrap().len(), 1);
    writer.close();
    let (own, counted) = count(directory.path());
    assert_eq!(own + counted, 8000);
    assert!(own > 100 && counted > 200, "{own} and {counted}");
    assert!(whole(directory.path()).gaps.is_empty());
}

/// What a listed client asked for stays in the trail, as a record or as a sample, also where it has
/// used up its own share.
#[test]
fn what_a_listed_client_asked_for_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 1 << 20,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for n in 0..500_u16 {
        let [high, low] = n.to_be_bytes();
        refuse_from(&audit, [10, 1, high, low], None);
    }
    refuse_from(&audit, [10, 0, 0, 9], Some("zvm-1"));
    for _ in 0..90 {
        refuse_from(&audit, [10, 0, 0, 8], Some("zvm-2"));
    }
    writer.close();
    let records = records(directory.path());
    let own = |it: &&serde_json::Value| it["client"]["name"] == "zvm-1";
    let own = records.iter().find(own).expect("a record of its own");
    assert_eq!(own["target"]["raw"], "example.com:443");
    let counted = records.iter().find(|it| it["data"]["client"] == "zvm-2");
    let data = &counted.expect("its refusals are counted")["data"];
    assert!(
        data["targets"]["example.com:443"].as_u64() > Some(10),
        "{data}"
    );
    assert_eq!(data["address"], "10.0.0.8");
    assert_eq!(data["destinations"][0]["reason"], "destination_not_allowed");
    assert_eq!(data["destinations"][0]["count"], data["count"]);
}

/// Requests that come while the trail can't be written are counted in the gap, and the trail has
/// samples of them afterwards.
#[test]
fn an_outage_leaves_samples() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    for _ in 0..3 {
        let mut session = session_from(&audit, [10, 0, 0, 9], Some("zvm-1"));
        session.destination(Some(&"billing".into()));
        session.refused(&Reason::AuditUnavailable.into());
    }
    writer.close();
    let records = records(directory.path());
    // The writer may have come in between, and made several records.
    let sum = |event: &str, member: &str| {
        let found = records.iter().filter(|it| it["event"] == event);
        let counts = found.filter_map(|it| it["data"].pointer(member)?.as_u64());
        counts.sum::<u64>()
    };
    assert_eq!(sum("audit_gap", "/count"), 3);
    assert_eq!(sum("refusals", "/reasons/audit_unavailable"), 3);
    assert_eq!(sum("refusals", "/targets/example.com:443"), 3);
    let refusals = records.iter().find(|it| it["event"] == "refusals");
    let data = &refusals.expect("samples")["data"];
    assert_eq!(data["client"], "zvm-1", "{data}");
    assert_eq!(data["destinations"][0]["destination"], "billing");
}

/// Begins a session of a client, which is listed if it has a name.
fn session_from(audit: &Audit, client: [u8; 4], name: Option<&str>) -> Recorder {
    let mut session = audit.session("proxy".into(), "1:p".into(), (client, 4000).into());
    let name = name.map(Into::into);
    session.client(name.as_ref(), Some("zvm"));
    session.sent(b"example.com:443");
    session
}

fn refuse_from(audit: &Audit, client: [u8; 4], name: Option<&str>) {
    session_from(audit, client, name).refused(&Reason::DestinationNotAllowed.into());
}

fn records(directory: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(active(directory)).unwrap();
    let records = text.lines().map(serde_json::from_str);
    records.collect::<Result<_, _>>().unwrap()
}

/// Counts the refusals that have a record of their own, and those that were counted.
fn count(directory: &Path) -> (u64, u64) {
    let records = records(directory);
    let counted = records.iter().filter(|it| it["event"] == "refusals");
    let counted = counted.filter_map(|it| it["data"]["count"].as_u64()).sum();
    let own = records.iter().filter(|it| it["session"].is_string());
    (own.count() as u64, counted)
}
