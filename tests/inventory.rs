//! The trail tells who is expected to call home, since when, and where it counts.

use std::fs;

use callhome_trail::{Inventory, InventoryParts, Line, Reader, Record};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::client::{ask_from, connect, get, tunnel};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::TlsServer;
use crate::support::trail::audit;

fn inventories(relay: &Relay) -> Vec<Inventory> {
    // The relay makes the file with its first record.
    let Ok(mut reader) = Reader::open(&relay.trail()) else {
        return Vec::new();
    };
    let mut parts = InventoryParts::default();
    let mut inventories = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        if let Ok(line) = Line::parse(line.bytes)
            && let Some(record) = Record::of(&line)
        {
            inventories.extend(parts.take(&record));
        }
    }
    inventories
}

async fn inventory(relay: &Relay, at: usize) -> Inventory {
    relay.wait(|| inventories(relay).into_iter().nth(at)).await
}

fn since(inventory: &Inventory) -> Vec<(&str, Timestamp)> {
    let clients = inventory.clients.iter();
    clients.map(|it| (&*it.name, it.since)).collect()
}

fn client(name: &str, address: &str, keys: &str) -> String {
    format!("[[client]]\nname = \"{name}\"\nsources = [\"{address}\"]\n{keys}")
}

/// Starts a relay on a copy of the trail that a stopped one has left.
async fn restart(stopped: &Relay, keys: &str) -> Relay {
    let left = stopped.trail();
    let left = left.parent().unwrap();
    Relay::start_prepared(keys, |directory| {
        for file in fs::read_dir(left).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), directory.join(file.file_name())).unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn the_trail_tells_who_is_expected_and_where_it_counts() {
    let billing = upstream("billing.example", 443);
    let keys = format!(
        "{billing}purpose = \"billing\"\nversions = \">=9\"\nupload_min_bytes = \"2KiB\"\n{}{}",
        client(
            "zvm",
            "10.0.0.0/24",
            "role = \"zvm\"\nversion = \"9.7\"\nformerly = [\"old\"]\nexpect_every = \"1d\"\n\
             certificate_names = [\"zvm.example\"]\n"
        ),
        client("printer", "10.1.0.1", "calls_home = false\n"),
    );
    let relay = Relay::start(&keys).await;
    let written = serde_json::to_value(inventory(&relay, 0).await).unwrap();
    let since = written["clients"][0]["since"].clone();
    assert_eq!(
        written,
        json!({
            "clients": [
                {
                    "name": "zvm", "formerly": ["old"], "role": "zvm", "version": "9.7", "since": since,
                    "sources": ["10.0.0.0/24"], "certificate_names": ["zvm.example"],
                    "expect_every": 86400, "calls_home": true,
                },
                {
                    "name": "printer", "formerly": [], "role": null, "version": null, "since": since,
                    "sources": ["10.1.0.1/32"], "certificate_names": [],
                    "expect_every": null, "calls_home": false,
                },
            ],
            "destinations": [{
                "name": "upstream", "hosts": ["billing.example"], "purpose": "billing",
                "versions": ">=9.0", "upload_min_bytes": 2048,
            }],
        })
    );
    let part = relay.record(|it| it["event"] == "inventory").await;
    let started = relay.record(|it| it["event"] == "relay_started").await;
    let second = |value: &Value| value.as_str().unwrap()[..19].to_owned();
    assert!(second(&since) >= second(&started["time"]), "{since}");
    assert_eq!(
        (&part["data"]["part"], &part["data"]["parts"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_client_keeps_its_since_over_reloads_and_restarts() {
    let (a, b) = (client("a", "10.0.0.1", ""), client("b", "10.0.0.2", ""));
    let mut relay = Relay::start(&format!("{a}{b}")).await;
    let first = inventory(&relay, 0).await;
    let begun = first.clients[0].since;
    // Times in the inventory are whole seconds, so a later one must be another.
    let next_second = || async {
        let from = Timestamp::now().as_second();
        while Timestamp::now().as_second() == from {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    next_second().await;
    // A change of something else writes no inventory.
    relay
        .reload(&format!("{a}{b}[timeouts]\nidle = \"9m\"\n"))
        .await;
    let renamed = client("b2", "10.0.0.2", "formerly = [\"b\"]\n");
    relay.reload(&format!("{a}{renamed}")).await;
    let second = inventory(&relay, 1).await;
    assert_eq!(since(&second), [("a", begun), ("b2", begun)]);
    relay.reload(&a).await;
    inventory(&relay, 2).await;
    relay.reload(&format!("{a}{renamed}")).await;
    let fourth = inventory(&relay, 3).await;
    assert_eq!(since(&fourth)[0], ("a", begun));
    let back = fourth.clients[1].since;
    assert!(
        back > begun,
        "a client that was removed and comes back is new"
    );
    assert_eq!(inventories(&relay).len(), 4);

    relay.stop().await;
    next_second().await;
    let again = restart(&relay, &format!("{a}{renamed}")).await;
    let fifth = inventory(&again, 4).await;
    assert_eq!(since(&fifth), [("a", begun), ("b2", back)]);
}

/// The metrics of a client say when it uploaded last, also after a restart and under a new name.
#[tokio::test]
async fn the_last_upload_of_a_client_outlives_a_restart() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let billing = format!(
        "{}purpose = \"billing\"\n",
        upstream("billing.example", port)
    );
    let others =
        client("never", "10.0.0.1", "") + &client("printer", "10.0.0.2", "role = \"other\"\n");
    let mut relay = Relay::start(&format!(
        "{billing}{others}{}",
        client("zvm", "127.0.0.1", "")
    ))
    .await;
    let target = format!("billing.example:{port}");
    let stream = tunnel(relay.proxy, &target).await.unwrap();
    let body = vec![1; 2048];
    server
        .upload(stream, "billing.example", &body)
        .await
        .unwrap();
    let closed = relay.closing(0).await;
    assert!(tunnel(relay.proxy, "x.example:443").await.is_err());
    relay.closing(1).await;
    let metric =
        |kind: &str, name: &str| format!("callhome_relay_client_{kind}{{client=\"{name}\"}}");
    for (kind, value) in [
        ("tunnels_total", 1),
        ("uploads_total", 1),
        ("refusals_total", 1),
    ] {
        relay.until_metric(&metric(kind, "zvm"), value).await;
        assert_eq!(relay.metric(&metric(kind, "unlisted")).await, 0);
    }
    let last = relay.metric(&metric("last_upload_seconds", "zvm")).await;
    let end: Timestamp = closed["time"].as_str().unwrap().parse().unwrap();
    let age = end.as_second() - i64::try_from(last).unwrap();
    assert!((0..=10).contains(&age), "{age} seconds before the end");

    relay.stop().await;
    let renamed = client("zvm-2", "127.0.0.1", "formerly = [\"zvm\"]\n");
    let again = restart(&relay, &format!("{billing}{others}{renamed}")).await;
    again
        .until_metric(&metric("last_upload_seconds", "zvm-2"), last)
        .await;
    let metrics = get(again.admin, "/metrics").await.body;
    assert!(metrics.contains(&format!("{} 0\n", metric("last_upload_seconds", "never"))));
    assert!(!metrics.contains(&metric("last_upload_seconds", "printer")));
    assert!(!metrics.contains("client=\"zvm\""));
    again.reload(&billing).await;
    let metrics = get(again.admin, "/metrics").await.body;
    assert!(!metrics.contains("client=\"zvm-2\"") && metrics.contains("client=\"unlisted\""));
}

/// What a relay writes is what the readers judge by: an upload, a refusal at the billing
/// destination, and a machine that never came.
#[tokio::test]
async fn readers_judge_by_what_the_relay_wrote() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let billing = format!(
        "{}purpose = \"billing\"\n",
        upstream("billing.example", port)
    );
    let barred = "destinations = []\n";
    let clients = [
        client("well", "127.0.0.1", "role = \"zvm\"\n"),
        client("barred", "127.0.0.2", barred),
        client("never", "10.0.0.1", ""),
        client("printer", "10.0.0.2", "role = \"other\"\n"),
    ];
    let mut relay = Relay::start(&format!("{billing}{}", clients.concat())).await;
    let target = format!("billing.example:{port}");
    let stream = tunnel(relay.proxy, &target).await.unwrap();
    server
        .upload(stream, "billing.example", &[1; 2048])
        .await
        .unwrap();
    relay.closing(0).await;
    for _ in 0..3 {
        let head = connect(&target);
        let answer = ask_from("127.0.0.2", relay.proxy, head.as_bytes()).await;
        assert_eq!(answer.status, 403);
    }
    relay.stop().await;
    let trail = relay.trail();
    let trail = trail.parent().unwrap().to_str().unwrap().to_owned();
    let quiet = audit(["quiet", "--json", &trail]);
    assert_eq!(quiet.status.code(), Some(1), "one client is refused");
    let told: Value = serde_json::from_slice(&quiet.stdout).unwrap();
    let states: Vec<_> = told["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect();
    let expected = [
        ("barred", "refused"),
        ("never", "new"),
        ("well", "ok"),
        ("printer", "exempt"),
    ];
    assert_eq!(states, expected, "{told:#}");

    let month = Timestamp::now().strftime("%Y-%m").to_string();
    let report = audit(["report", "--json", "--month", &month, &trail]);
    let told: Value = serde_json::from_slice(&report.stdout).unwrap();
    let uploads: u64 = told["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["client"] == "well")
        .filter_map(|it| it["uploads"].as_u64())
        .sum();
    assert_eq!(uploads, 1, "{told:#}");
}
