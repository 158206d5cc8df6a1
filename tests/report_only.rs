//! `report-only`: names that are on no list pass, and nothing else does, for as long as was said.

use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::client::{self, ask, ask_from, connect};
use crate::support::dns::NameServer;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::client_hello;

fn until(lasts: Duration) -> String {
    let end = Timestamp::now() + lasts;
    format!("[policy]\nmode = \"report-only\"\nreport_only_until = {end}\n")
}

fn servers(dns: &NameServer) -> String {
    format!("[dns]\nservers = [\"{}\"]\n", dns.address)
}

#[tokio::test]
async fn only_names_pass() {
    let dns = NameServer::start().await;
    dns.addresses("special.example", &["127.0.0.1"], 60);
    let relay = Relay::start(&format!(
        "{}{}{}[clients]\nunlisted = \"any\"\n\
         [[client]]\nname = \"held\"\nsources = [\"127.0.0.2\"]\ndestinations = [\"upstream\"]\n",
        until(Duration::from_mins(5)),
        servers(&dns),
        upstream("listed.example", 443)
    ))
    .await;
    // It passes policy, and fails because nobody knows it: that is what the trail must show.
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
        until(Duration::from_millis(700)),
        servers(&dns),
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

    // The same file is as good as before, with the mode over; a relay starts with it.
    assert_eq!(relay.reload(&keys).await["event"], "config_loaded");
    assert_eq!(asks().await.phrase, "destination_not_allowed");
}

/// A tunnel that only report-only allowed needs an address that the internet could have, so it runs where there is no internet:
/// in a network namespace that has loopback and nothing else. Where none can be made, as in most containers, it is not run.
#[test]
fn its_tunnels_end_with_it() {
    if !cfg!(target_os = "linux") || !in_namespace("true").status.success() {
        eprintln!("not run: no network namespace can be made here");
        return;
    }
    let inside = format!(
        "ip link set lo up && ip address add {PUBLIC} dev lo && exec '{}' --exact --ignored --nocapture \
         report_only::in_a_namespace",
        std::env::current_exe().unwrap().display()
    );
    let output = in_namespace(&inside);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn in_namespace(script: &str) -> std::process::Output {
    Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", script])
        .output()
        .unwrap()
}

#[tokio::test]
#[ignore = "its_tunnels_end_with_it runs this in a network namespace"]
async fn in_a_namespace() {
    let dns = NameServer::start().await;
    let server = PlainServer::start_at(PUBLIC).await;
    let listed = PlainServer::start().await;
    for name in ["unlisted.example", "mistaken.example", "guarded.example"] {
        dns.addresses(name, &[PUBLIC], 60);
    }
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "{}{}{}[[destination]]\nname = \"guarded\"\nhosts = [\"guarded.example\"]\n\
         ports = [{port}]\nip_ranges = [\"203.0.113.0/24\"]\n",
        until(Duration::from_millis(1500)),
        servers(&dns),
        listed.destination("listed.example")
    ))
    .await;
    let mut kept = client::tunnel(
        relay.proxy,
        &format!("listed.example:{}", listed.address.port()),
    )
    .await
    .unwrap();
    let mut kept_upstream = listed.accept().await;

    // The name in the ClientHello is held against the target here too.
    let mut mistaken = client::tunnel(relay.proxy, &format!("mistaken.example:{port}"))
        .await
        .unwrap();
    mistaken
        .write_all(&client_hello("unlisted.example"))
        .await
        .unwrap();
    assert_eq!(server.receive().await, b"");
    assert_eq!(relay.closing(0).await["reason"], "sni_mismatch");

    let mut open = Vec::new();
    for name in ["unlisted.example", "guarded.example"] {
        let mut stream = client::tunnel(relay.proxy, &format!("{name}:{port}"))
            .await
            .unwrap();
        let hello = client_hello(name);
        stream.write_all(&hello).await.unwrap();
        open.push((name, hello, stream, server.accept().await));
    }
    for (name, hello, mut stream, mut upstream) in open {
        assert_eq!(read_to_end(&mut upstream).await, hello, "{name}");
        assert_eq!(read_to_end(&mut stream).await, b"", "{name}");
        let record = relay
            .record(|record| record["event"] == "tunnel_closed" && record["target"]["host"] == name)
            .await;
        assert_eq!(record["closed_by"], "policy_revoked");
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["enforced"], false);
        let answer = ask(relay.proxy, connect(&format!("{name}:{port}")).as_bytes()).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }

    kept.write_all(b"still here").await.unwrap();
    kept.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut kept_upstream).await, b"still here");
}

/// Routed to somebody on the internet, and to loopback inside the namespace.
const PUBLIC: &str = "11.22.33.44";
