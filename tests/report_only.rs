//! `report-only`: names that are on no list pass, and nothing else does, for the time configured.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::{ask, ask_from, connect};
use crate::support::dns::NameServer;
use crate::support::relay::{Relay, report_only, upstream};

#[tokio::test]
async fn only_names_pass() {
    let dns = NameServer::start().await;
    dns.addresses("special.example", &["127.0.0.1"], 60);
    let relay = Relay::start(&format!(
        "{}{}{}[clients]\nunlisted = \"any\"\n\
         [[client]]\nname = \"held\"\nsources = [\"127.0.0.2\"]\ndestinations = [\"upstream\"]\n",
        report_only(Duration::from_mins(5)),
        dns.table(),
        upstream("listed.example", 443)
    ))
    .await;
    // It passes policy and fails because the name doesn't exist. The trail must show both.
    let answer = ask(relay.proxy, connect("unlisted.example:443").as_bytes()).await;
    assert_eq!(answer.phrase, "dns_failed");
    let record = relay.closing(0).await;
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["enforced"], false);
    assert_eq!(record["destination"], Value::Null);

    for (number, (source, target, reason)) in [
        ("127.0.0.1", "unlisted.example:80", "port_not_allowed"),
        ("127.0.0.1", "listed.example:80", "port_not_allowed"),
        ("127.0.0.1", "203.0.113.1:443", "destination_not_allowed"),
        (
            "127.0.0.2",
            "unlisted.example:443",
            "destination_not_allowed",
        ),
        ("127.0.0.1", "special.example:443", "address_not_allowed"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask_from(source, relay.proxy, connect(target).as_bytes()).await;
        assert_eq!(answer.phrase, reason, "{source} {target}");
        let record = relay.closing(number + 1).await;
        assert_eq!(record["reason"], reason);
        assert_eq!(record["decision"], "deny");
        assert_eq!(record["enforced"], true, "it was refused: {record}");
    }
}

#[tokio::test]
async fn it_ends_by_itself() {
    let dns = NameServer::start().await;
    let keys = format!(
        "{}{}{}",
        report_only(Duration::from_millis(700)),
        dns.table(),
        upstream("listed.example", 443)
    );
    let relay = Relay::start(&keys).await;
    let asks = || {
        ask(
            relay.proxy,
            b"CONNECT unlisted.example:443 HTTP/1.0\r\n\r\n",
        )
    };
    assert_eq!(asks().await.phrase, "dns_failed");
    let second = |record: &Value| {
        let policy = record["data"]["policy"].as_str();
        record["event"] == "config_loaded" && policy.is_some_and(|id| id.starts_with("2:"))
    };
    relay.record(second).await;
    assert_eq!(asks().await.phrase, "destination_not_allowed");
    assert_eq!(relay.closing(1).await["enforced"], true);

    // The same file is still valid although its mode has ended, so a relay starts with it.
    assert_eq!(relay.reload(&keys).await["event"], "config_loaded");
    assert_eq!(asks().await.phrase, "destination_not_allowed");
}
