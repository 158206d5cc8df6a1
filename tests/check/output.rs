//! What `check` prints, and when it sends nothing.

use callhome_trail::{Data, RelayStopped};
use serde_json::Value;

use super::{Ca, HOST, Https, check, check_with, command, looked_up};
use crate::support::dns::NameServer;
use crate::support::relay::upstream;
use crate::support::trail;

#[tokio::test]
async fn the_json_has_what_the_lines_have() {
    let ca = Ca::named("The CA");
    let server = Https::start(ca.good()).await;
    let keys = server.destination() + "[clients]\nunlisted = \"any\"\n";
    let ran = check_with(&keys, &["--json"], Some(&ca)).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(report["config"].as_str().unwrap().ends_with("relay.toml"));
    assert_eq!(report["offline"], false);
    assert!(report["warnings"][0].as_str().unwrap().contains("unlisted"));
    assert!(report["notes"][0].as_str().unwrap().contains("own path"));
    let walk = &report["destinations"][0];
    assert_eq!(walk["name"], "upstream");
    assert_eq!(walk["host"], HOST);
    assert_eq!(walk["port"], server.address.port());
    assert_eq!(walk["not_walked"], Value::Null);
    let hops: Vec<_> = walk["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| {
            (
                hop["hop"].as_str().unwrap(),
                hop["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        hops,
        [
            ("name", "ok"),
            ("ranges", "ok"),
            ("tcp", "ok"),
            ("tls", "warn"),
            ("http", "ok"),
            ("clock", "ok")
        ]
    );
    assert!(walk["hops"][0].get("cause").is_none());
    assert!(walk["hops"][3]["cause"].is_string() && walk["hops"][3]["next"].is_string());
    assert_eq!(report["summary"]["warn"], 1);
    assert_eq!(ran.code, Some(0));
}

#[tokio::test]
async fn offline_sends_nothing() {
    let dns = NameServer::start().await;
    dns.addresses(HOST, &["127.0.0.1"], 60);
    let keys = format!(
        "preset = \"zerto\"\n[clients]\nunlisted = \"any\"\n{}",
        looked_up(&dns, "")
    );
    let ran = check_with(&keys, &["--offline"], None).await;
    assert!(
        ran.out.contains("copy them from FTN-20210401"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("unlisted = \"any\""), "{}", ran.out);
    assert!(ran.out.contains("nothing was walked"), "{}", ran.out);
    assert_eq!((ran.code, dns.all_queries()), (Some(0), 0));

    // Without `--offline` the same server is asked, so a count of 0 does show something.
    let keys = looked_up(&dns, "");
    assert_eq!(check(&keys).await.code, Some(1));
    assert!(dns.all_queries() > 0);
}

/// A trail that is full tells how long it holds, one that has begun tells that it can't, and one
/// that doesn't exist has no note.
#[tokio::test]
async fn the_days_that_the_trail_holds_are_noted() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let keys = format!(
        "[clients]\nunlisted = \"any\"\n[audit]\ndirectory = \"{}\"\nrotate_size = \"4KiB\"\nmax_size = \"16KiB\"\n",
        audit.display()
    );
    let noted = async || {
        let ran = check_with(&keys, &["--offline"], None).await;
        assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
        let mut notes = ran.out.lines().filter(|line| line.contains("audit trail"));
        notes.next().map(str::to_owned)
    };
    assert_eq!(noted().await, None);
    let (relay, writer) = trail::start(&trail::options(&audit, 4096));
    let begun = noted().await.unwrap();
    assert!(begun.contains("less than a day of closed files"), "{begun}");
    for cut in 0..200 {
        let data = RelayStopped {
            cause: "test".into(),
            tunnels_cut: cut,
        };
        relay.relay_event(Data::RelayStopped(data));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    writer.close();
    let full = noted().await.unwrap();
    assert!(
        full.contains("holds 0 days, and `keep` is 400 days"),
        "{full}"
    );
    assert!(full.contains("raise max_size"), "{full}");
}

#[tokio::test]
async fn a_bad_file_is_shown_where_it_is_bad() {
    let ran = check("destinations = 1").await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(78), ""));
    assert!(ran.err.contains("relay.toml:2"), "{}", ran.err);
}

#[tokio::test]
async fn a_closed_pipe_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory, &upstream(HOST, 9), &[], None);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
