//! SIGHUP: a new configuration is taken whole or not at all, and open tunnels are held against it.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{self, ask, connect};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, upstream};

/// Holds both ends of an open tunnel.
struct Open {
    client: TcpStream,
    upstream: TcpStream,
}

impl Open {
    async fn through(relay: &Relay, server: &PlainServer, host: &str) -> Self {
        let target = format!("{host}:{}", server.address.port());
        let client = client::tunnel(relay.proxy, &target).await.unwrap();
        Self {
            client,
            upstream: server.accept().await,
        }
    }

    async fn carries(&mut self) {
        carry(&mut self.client, &mut self.upstream).await;
        carry(&mut self.upstream, &mut self.client).await;
    }

    async fn is_closed(&mut self) {
        assert_eq!(read_to_end(&mut self.client).await, b"");
        assert_eq!(read_to_end(&mut self.upstream).await, b"");
    }
}

async fn carry(from: &mut TcpStream, to: &mut TcpStream) {
    let mut read = [0; 10];
    from.write_all(b"still here").await.unwrap();
    to.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still here");
}

fn destination(server: &PlainServer, name: &str) -> String {
    server
        .destination(&format!("{name}.example"))
        .replace("\"upstream\"", &format!("\"{name}\""))
        // One server has all the names, and each range can belong to one destination only.
        .replace(
            "ip_ranges = [\"127.0.0.0/8\"]",
            "ip_ranges = [\"127.0.0.1\"]",
        )
}

#[tokio::test]
async fn what_is_still_allowed_goes_on_and_what_is_not_ends() {
    let (kept, dropped) = (PlainServer::start().await, PlainServer::start().await);
    let kept_only = destination(&kept, "kept");
    let dropped_too = dropped
        .destination("dropped.example")
        .replace("\"upstream\"", "\"dropped\"");
    let relay = Relay::start(&format!("{kept_only}{dropped_too}")).await;
    let mut stays = Open::through(&relay, &kept, "kept.example").await;
    let mut goes = Open::through(&relay, &dropped, "dropped.example").await;
    stays.carries().await;
    goes.carries().await;

    let loaded = relay.reload(&kept_only).await;
    assert_eq!(loaded["event"], "config_loaded");
    let policy = loaded["data"]["policy"].as_str().unwrap();
    assert!(policy.starts_with("2:"), "{loaded}");
    goes.is_closed().await;
    stays.carries().await;

    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed");
    assert_eq!(record["closed_by"], "policy_revoked");
    assert_eq!(record["outcome"], "closed");
    assert_eq!(record["target"]["host"], "dropped.example");
    assert_eq!(record["bytes_up"], 10);
    assert_eq!(record["bytes_down"], 10);
    assert!(record["policy"].as_str().unwrap().starts_with("1:"));

    let target = format!("dropped.example:{}", dropped.address.port());
    let answer = ask(relay.proxy, connect(&target).as_bytes()).await;
    assert_eq!(answer.phrase, "destination_not_allowed");
    assert_eq!(relay.closing(1).await["policy"], policy);
    drop(stays);
    assert_eq!(relay.closing(2).await["target"]["host"], "kept.example");
}

/// Each rule that may have changed is tried: port, range, client, client's destinations.
#[tokio::test]
async fn every_rule_revokes() {
    let server = PlainServer::start().await;
    let allowed = destination(&server, "kept");
    let port = server.address.port();
    let relay = Relay::start(&allowed).await;
    let client = |rest| format!("[[client]]\nname = \"zvm\"\n{rest}\n{allowed}");
    for (number, keys) in [
        allowed.replace(&port.to_string(), "443"),
        allowed
            .replace("ip_ranges = [\"127.0.0.1\"]", "ip_ranges = [\"127.0.0.2\"]")
            .replace("addresses = [\"127.0.0.1\"]", "addresses = [\"127.0.0.2\"]"),
        client("sources = [\"127.0.0.2\"]"),
        client("sources = [\"127.0.0.1\"]\ndestinations = []"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut open = Open::through(&relay, &server, "kept.example").await;
        open.carries().await;
        let loaded = relay.reload(&keys).await;
        assert_eq!(loaded["event"], "config_loaded", "{loaded}");
        open.is_closed().await;
        let record = relay.closing(number).await;
        assert_eq!(record["closed_by"], "policy_revoked", "{keys}");
        relay.reload(&allowed).await;
    }
}

/// The tunnel is open, and its ClientHello is still awaited.
#[tokio::test]
async fn a_tunnel_that_has_said_nothing_yet_is_revoked_too() {
    let server = PlainServer::start().await;
    let relay = Relay::start(&upstream("a.example", server.address.port())).await;
    let mut open = Open::through(&relay, &server, "a.example").await;
    open.client.write_all(&[22, 3, 1]).await.unwrap();
    relay.reload("destination = []").await;
    assert_eq!(read_to_end(&mut open.upstream).await, b"");
    assert_eq!(relay.closing(0).await["closed_by"], "policy_revoked");
}

#[tokio::test]
async fn what_cannot_be_taken_changes_nothing() {
    let server = PlainServer::start().await;
    let keys = destination(&server, "kept");
    let relay = Relay::start(&keys).await;
    let mut open = Open::through(&relay, &server, "kept.example").await;
    let good = std::fs::read_to_string(relay.file()).unwrap();
    let without = good.replace("kept.example", "other.example");
    assert_ne!(good, without);
    for (text, says) in [
        (format!("{without}nonsense = 1\n"), "nonsense"),
        (format!("{without}["), "relay.toml"),
        (
            without.replace("127.0.0.1\"]", "127.0.0.01\"]"),
            "127.0.0.01",
        ),
        (
            without.replace("name = \"test\"", "name = \"renamed\""),
            "name",
        ),
        (
            without.replace("bind = \"127.0.0.1:0\"", "bind = \"127.0.0.2:0\""),
            "[[listener]], [admin] needs a restart",
        ),
        (
            format!("{without}stdout = true\n"),
            "[audit] needs a restart",
        ),
        (
            format!("{without}[limits]\nconnections = 4294967295\n"),
            "descriptors",
        ),
        (String::from("\0"), "relay.toml"),
    ] {
        let rejected = relay.reload_file(&text).await;
        assert_eq!(rejected["event"], "config_rejected", "{text}");
        let error = rejected["data"]["error"].as_str().unwrap();
        assert!(error.contains(says), "no {says:?} in {error:?}");

        open.carries().await;
        drop(Open::through(&relay, &server, "kept.example").await);
        let ready = client::get(relay.admin, "/readyz").await;
        assert_eq!(ready.status, 200);
        assert!(
            ready.body.contains("degraded: the last reload"),
            "{ready:?}"
        );
    }
    assert_eq!(
        relay
            .metric("callhome_relay_config_reloads_total{result=\"rejected\"}")
            .await,
        8
    );

    // A good configuration is taken, and the complaint disappears.
    let loaded = relay.reload(&keys).await;
    assert_eq!(loaded["event"], "config_loaded");
    let ready = client::get(relay.admin, "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    open.carries().await;
    assert_eq!(relay.metric("callhome_relay_policy_generation").await, 2);
    let closed: Vec<Value> = relay.records();
    assert!(
        closed
            .iter()
            .all(|record| record["closed_by"] != "policy_revoked")
    );
}
