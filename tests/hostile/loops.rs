//! Ways back to the relay itself.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{answer, ask};
use crate::support::relay::Relay;

use super::{FAST, connect_head, metric, metric_becomes, settled};

/// Returns a destination without TLS, under a name and port of its own.
fn destination(name: &str, address: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\nports = [{port}]\nsni = \"any\"\ntls_only = false\n\
         addresses = [\"{address}\"]\nip_ranges = [\"127.0.0.0/8\", \"::1\"]\n"
    )
}

async fn is_a_loop(relay: &Relay, name: &str, port: u16) {
    let n = relay.count_of(crate::support::relay::is_closing);
    let accepted = metric(relay.admin, "connections_total").await;
    let answer = ask(
        relay.proxy,
        &connect_head(&format!("{name}.example:{port}")),
    )
    .await;
    assert_eq!(
        (answer.status, answer.phrase.as_str()),
        (502, "loop_detected"),
        "{name}"
    );
    let record = relay.closing(n).await;
    assert_eq!(record["decision"], "deny", "{name}");
    assert_eq!(
        record["target"]["address"],
        Value::Null,
        "{name}: nothing was dialled"
    );
    let now = metric(relay.admin, "connections_total").await;
    assert_eq!(now, accepted + 1, "{name}: the relay reached itself");
}

/// Replaces a relay's destinations, now that its ports are known.
async fn reload(relay: &Relay, keys: &str, destinations: &[String]) {
    let outcome = relay
        .reload(&format!("{keys}{}", destinations.concat()))
        .await;
    assert_eq!(outcome["event"], "config_loaded", "{outcome}");
}

/// Against: a relay that connects to itself until it has no resources left, or to its admin port,
/// which only loopback may reach. No address may lead there.
#[tokio::test]
async fn the_relay_is_never_its_own_destination() {
    for (listen, addresses) in [
        (
            "0.0.0.0:0",
            &["127.0.0.1", "127.0.0.2", "127.255.255.254"][..],
        ),
        ("[::]:0", &["127.0.0.1", "::1", "127.0.0.2"]),
        ("127.0.0.1:0", &["127.0.0.1"]),
    ] {
        let keys = format!("[[listener]]\nname = \"first\"\nbind = \"{listen}\"\n{FAST}");
        let mut relay = Relay::start(&keys).await;
        let port = relay.proxy.port();
        relay.proxy = SocketAddr::from(([127, 0, 0, 1], port));
        for address in addresses {
            reload(&relay, &keys, &[destination("itself", address, port)]).await;
            is_a_loop(&relay, "itself", port).await;
        }
        let admin = relay.admin.port();
        reload(&relay, &keys, &[destination("admin", "127.0.0.1", admin)]).await;
        is_a_loop(&relay, "admin", admin).await;
        settled(&relay).await;
    }
}

/// Against: the same by a published address, and through a translator that maps it back (NAT64).
#[tokio::test]
async fn a_published_address_is_the_relay() {
    for address in ["127.0.0.9", "64:ff9b::127.0.0.9", "2001:db8:64::127.0.0.9"] {
        let relay = Relay::start(&format!(
            "{}[policy]\nself_addresses = [\"127.0.0.9\"]\n{FAST}\
             [dns]\nservers = [\"127.0.0.1:9\"]\nnat64_prefixes = [\"2001:db8:64::/96\"]\n",
            destination("published", address, 443)
        ))
        .await;
        is_a_loop(&relay, "published", 443).await;
        settled(&relay).await;
    }
}

/// Against: two relays that connect to each other in turn. Neither can know, so a client's limits
/// have to stop it.
#[tokio::test]
async fn two_relays_in_a_circle_come_to_an_end() {
    const LIMITS: &str = "[limits]\ntunnels_per_client = 3\nrate_per_client = \"100000/s\"\n";
    let (one, other) = (Relay::start(LIMITS).await, Relay::start(LIMITS).await);
    let (to_one, to_other) = (one.proxy.port(), other.proxy.port());
    reload(&one, LIMITS, &[destination("next", "127.0.0.1", to_other)]).await;
    reload(&other, LIMITS, &[destination("next", "127.0.0.1", to_one)]).await;

    let mut stream = TcpStream::connect(one.proxy).await.unwrap();
    let mut depth = 0;
    let refused = loop {
        let next = if depth % 2 == 0 { to_other } else { to_one };
        stream
            .write_all(&connect_head(&format!("next.example:{next}")))
            .await
            .unwrap();
        let answer = answer(&mut stream).await;
        if answer.status != 200 {
            break answer;
        }
        depth += 1;
        assert!(depth <= 6, "no end");
    };
    assert_eq!(
        (refused.status, refused.phrase.as_str()),
        (503, "at_capacity")
    );
    assert_eq!(depth, 6);
    drop(stream);
    for relay in [&one, &other] {
        metric_becomes(relay.admin, "tunnels_open", 0).await;
        settled(relay).await;
    }
}
