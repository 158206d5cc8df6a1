//! Requests that are refused because no record can be written.

use std::fs;
use std::time::{Duration, Instant};

use callhome_trail::verify::{Evidence, verify};

use super::Row;
use crate::support::client::{self, ask, connect};
use crate::support::relay::Relay;

/// The trail's directory goes away and later comes back.
pub(super) async fn audit_unavailable(row: &Row) {
    let relay = Relay::start("[clients]\nunlisted = \"any\"\n").await;
    let head = connect("a.example:443");
    relay
        .record(|record| record["event"] == "config_loaded")
        .await;
    let audit = relay.trail().parent().unwrap().to_owned();
    let away = audit.with_file_name("away");
    fs::rename(&audit, &away).unwrap();

    // The first request finds out, because its own record can't be written. A sync that was due may
    // find out earlier.
    let told_before = ask(relay.proxy, head.as_bytes()).await.status == 503;
    until_ready(&relay, 503, "audit trail").await;
    for _ in 0..3 {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        row.check_answer(&answer, "");
    }

    // The trail recovers by itself and has lost nothing. It counts the requests that were refused.
    fs::rename(&away, &audit).unwrap();
    until_ready(&relay, 200, "ready").await;
    let gap = relay.record(|record| record["event"] == "audit_gap").await;
    assert_eq!(gap["data"]["count"], 3 + u64::from(told_before));
    let denied = relay.count_of(|record| record["reason"] == "destination_not_allowed");
    assert_eq!(denied, usize::from(!told_before));
    let report = verify(&audit, &Evidence::default(), |_| ()).unwrap();
    assert_eq!(report.gaps.len(), 1);
}

async fn until_ready(relay: &Relay, status: u16, says: &str) {
    let start = Instant::now();
    loop {
        let answer = client::get(relay.admin, "/readyz").await;
        if answer.status == status {
            assert!(answer.body.contains(says), "{answer:?}");
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
