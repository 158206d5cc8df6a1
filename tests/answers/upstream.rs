//! Requests that are allowed and then fail on the way.

use hickory_resolver::proto::op::ResponseCode;
use serde_json::Value;

use super::{Row, assert_says};
use crate::support::client::{ask, connect};
use crate::support::dns::{NameServer, Script};
use crate::support::plain::{PlainServer, SilentServer};
use crate::support::relay::{Relay, upstream};

/// Adds a destination whose names this server resolves.
fn named(dns: &NameServer) -> String {
    format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n\
         [[destination]]\nname = \"named\"\nhosts = [\"*.site.example\"]\n",
        dns.address
    )
}

pub(super) async fn dns_failed(row: &Row) {
    let dns = NameServer::start().await;
    dns.script("gone.site.example", Script::NoSuchName { ttl: 60 });
    dns.script("broken.site.example", Script::Rcode(ResponseCode::ServFail));
    dns.addresses("empty.site.example", &[], 60);
    let relay = Relay::start(&named(&dns)).await;
    for (name, rcode) in [
        ("gone.site.example", "NXDOMAIN"),
        ("broken.site.example", "SERVFAIL"),
        ("empty.site.example", "NOERROR"),
    ] {
        let answer = ask(relay.proxy, connect(&format!("{name}:443")).as_bytes()).await;
        let session = row.check_answer(&answer, &format!("; rcode=\"{rcode}\""));
        let record = row.check_record(&relay, &answer, &session).await;
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["destination"], "named");
        assert_eq!(record["target"]["host"], name);
        assert!(record["dns_ms"].is_f64(), "{record}");
        assert_eq!(record["connect_ms"], Value::Null);
        assert_eq!(record["target"]["address"], Value::Null);
    }
}

pub(super) async fn dns_timeout(row: &Row) {
    let dns = NameServer::start().await;
    dns.script("mute.site.example", Script::Silence);
    let relay = Relay::start(&named(&dns)).await;
    let answer = ask(relay.proxy, connect("mute.site.example:443").as_bytes()).await;
    let record = row.check(&relay, &answer).await;
    assert_eq!(record["decision"], "allow");
    let took = record["dns_ms"].as_f64().unwrap();
    assert!((300.0..2000.0).contains(&took), "{record}");
}

pub(super) async fn connection_refused(row: &Row) {
    let address = PlainServer::start().await.address;
    let record = fails_to_dial(row, address.port(), "127.0.0.1").await;
    assert_says(&record, &address.to_string());
}

/// The broadcast address of loopback. The kernel refuses TCP to it without sending a packet.
pub(super) async fn unreachable(row: &Row) {
    let record = fails_to_dial(row, 443, "127.255.255.255").await;
    assert_says(&record, "127.255.255.255:443");
    assert_says(&record, "unreachable");
}

pub(super) async fn connection_timeout(row: &Row) {
    let server = SilentServer::start();
    let record = fails_to_dial(row, server.address.port(), "127.0.0.1").await;
    assert_says(&record, &server.address.to_string());
    let took = record["duration_ms"].as_f64().unwrap();
    assert!((300.0..2000.0).contains(&took), "{record}");
}

async fn fails_to_dial(row: &Row, port: u16, address: &str) -> Value {
    let destination = upstream("billing.example", port).replace("127.0.0.1", address);
    let relay = Relay::start(&format!("{destination}[timeouts]\nconnect = \"300ms\"\n")).await;
    let target = format!("billing.example:{port}");
    let answer = ask(relay.proxy, connect(&target).as_bytes()).await;
    let record = row.check(&relay, &answer).await;
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["destination"], "upstream");
    assert_eq!(record["target"]["raw"], target);
    assert_eq!(record["target"]["address_source"], "static");
    record
}
