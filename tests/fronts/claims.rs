//! A listed machine that isn't let in leaves a record of what it asked for, and of which client it
//! would be.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{answer, ask_from, connect, dial_from};
use crate::support::pki::{Pki, TLS12, TLS13, Use, Version, shake_hands};
use crate::support::plain::read_to_end;
use crate::support::relay::{Relay, upstream};
use crate::support::sni;

const CLIENTS: &str = "
[clients]
unlisted = \"any\"
[[client]]
name = \"anywhere\"
certificate_names = [\"zvm-1\"]
[[client]]
name = \"bound\"
certificate_names = [\"zvm-2\"]
sources = [\"127.0.0.2\"]
[[client]]
name = \"by-address\"
sources = [\"127.0.0.3\"]
";

/// The destination that the clients ask for. A client of version 8 isn't expected there.
fn billing() -> String {
    let counts = "purpose = \"billing\"\nversions = \">=9\"\n";
    [&upstream("a.example", 443), counts].concat()
}

/// Checks who a refused request came from, and what it was for.
fn check(record: &Value, reason: &str, claimed: &str) {
    assert_eq!(record["reason"], reason, "{record}");
    assert_eq!(record["client"]["claimed"], claimed, "{record}");
    assert_eq!(record["target"]["host"], "a.example", "{record}");
    assert_eq!(record["target"]["port"], 443);
    assert_eq!(record["destination"], "upstream", "{record}");
    assert_eq!(record["billing"], true, "{record}");
}

/// Sends a CONNECT from an address, and waits for the end of the connection.
async fn send(relay: &Relay, from: &str) {
    let mut stream = dial_from(from, relay.proxy).await;
    let head = connect("a.example:443");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await;
}

async fn ask(pki: &Pki, relay: &Relay, from: &str, stem: &str, version: Version) -> String {
    let client = pki.client(Some((pki, stem)), version);
    let stream = dial_from(from, relay.proxy).await;
    let mut stream = shake_hands(&client, stream).await.unwrap();
    let head = connect("a.example:443");
    stream.write_all(head.as_bytes()).await.unwrap();
    answer(&mut stream).await.phrase
}

#[tokio::test]
async fn at_a_listener_that_asks_for_no_certificate() {
    let relay = Relay::start(&[CLIENTS, &billing()].concat()).await;
    send(&relay, "127.0.0.2").await;
    let record = relay.closing(0).await;
    check(&record, "client_not_allowed", "bound");
    assert_eq!(record["client"]["name"], Value::Null);
}

#[tokio::test]
async fn from_a_new_address() {
    let pki = Pki::with_relay();
    let front = pki.listener(Some(&pki), "");
    let relay = Relay::start(&[&front, CLIENTS, &billing()].concat()).await;
    pki.issue("client", Use::Client, &["zvm-2"]);
    for (number, version) in [TLS12, TLS13].into_iter().enumerate() {
        let phrase = ask(&pki, &relay, "127.0.0.9", "client", version).await;
        assert_eq!(phrase, "client_not_allowed");
        check(&relay.closing(number).await, "client_not_allowed", "bound");
    }
}

/// The target isn't known, because the handshake fails before it comes. A certificate that the
/// relay's authority hasn't issued names nobody, whatever it says.
#[tokio::test]
async fn with_a_certificate_that_has_expired() {
    let (pki, other) = (Pki::with_relay(), Pki::new());
    let relay = Relay::start(&[&pki.listener(Some(&pki), ""), CLIENTS].concat()).await;
    let mut number = 0;
    for (issuer, from, name, claimed) in [
        (&pki, "127.0.0.9", Some("zvm-1"), Some("anywhere")),
        (&pki, "127.0.0.3", Some("zvm-2"), Some("bound")),
        (&pki, "127.0.0.9", Some("zvm-9"), None),
        (&pki, "127.0.0.3", Some("zvm-9"), Some("by-address")),
        (&other, "127.0.0.9", None, None),
        (&other, "127.0.0.3", None, Some("by-address")),
    ] {
        for version in [TLS12, TLS13] {
            issuer.issue("client", Use::Expired, &[name.unwrap_or("zvm-1")]);
            let client = pki.client(Some((issuer, "client")), version);
            let stream = dial_from(from, relay.proxy).await;
            // In TLS 1.3 the client has finished before the relay checks its certificate.
            if let Ok(mut stream) = shake_hands(&client, stream).await {
                let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
                assert!(read.is_err());
            }
            let record = relay.closing(number).await;
            assert_eq!(record["reason"], "certificate_expired", "{record}");
            assert_eq!(record["client"]["certificate"], Value::from(name));
            assert_eq!(
                record["client"]["claimed"],
                Value::from(claimed),
                "{name:?}"
            );
            assert_eq!(record["client"]["name"], Value::Null);
            number += 1;
        }
    }
}

#[tokio::test]
async fn at_a_balancers_listener() {
    let front = "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]\n";
    let relay = Relay::start(&[front, CLIENTS, &billing()].concat()).await;
    send(&relay, "127.0.0.3").await;
    check(&relay.closing(0).await, "client_not_allowed", "by-address");
}

#[tokio::test]
async fn at_a_listener_that_speaks_tls() {
    let pki = Pki::with_relay();
    let front = pki.listener(None, "");
    let relay = Relay::start(&[&front, CLIENTS, &billing()].concat()).await;
    send(&relay, "127.0.0.3").await;
    check(
        &relay.closing(0).await,
        "tls_handshake_failed",
        "by-address",
    );
}

#[tokio::test]
async fn at_a_listener_for_server_names() {
    let relay = Relay::start(&[&sni::listener(443), CLIENTS, &billing()].concat()).await;
    let mut stream = dial_from("127.0.0.2", relay.proxy).await;
    let head = connect("a.example:443");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await;
    check(&relay.closing(0).await, "not_tls", "bound");
}

/// The first refusal of each ten seconds has a record, the others are counted with the target.
#[tokio::test]
async fn over_its_rate() {
    let limits = "[limits]\nrate_per_client = \"1/h\"\n";
    let mut relay = Relay::start(&[CLIENTS, limits, &billing()].concat()).await;
    let head = connect("b.example:443");
    for _ in 0..2 {
        ask_from("127.0.0.3", relay.proxy, head.as_bytes()).await;
    }
    let head = connect("a.example:443");
    for _ in 0..3 {
        let answer = ask_from("127.0.0.3", relay.proxy, head.as_bytes()).await;
        assert_eq!(answer.phrase, "rate_limited");
    }
    let is_limited = |it: &Value| it["reason"] == "rate_limited";
    check(
        &relay.record(is_limited).await,
        "rate_limited",
        "by-address",
    );
    relay.stop().await;
    let counted = relay.record(|it| it["event"] == "refusals").await;
    let data = &counted["data"];
    assert_eq!(data["client"], "by-address", "{data}");
    assert_eq!(data["claimed"], "by-address");
    assert_eq!(data["targets"]["a.example:443"], 2);
    let destinations = serde_json::json!([
        {"destination": "upstream", "reason": "rate_limited", "count": 2},
    ]);
    assert_eq!(data["destinations"], destinations);
}

/// A stranger claims nothing.
#[tokio::test]
async fn a_stranger_is_nobody() {
    let clients = CLIENTS.replace("\"any\"", "\"deny\"");
    let relay = Relay::start(&[&clients, &billing()[..]].concat()).await;
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let head = connect("a.example:443");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.phrase, "client_not_allowed");
    let record = relay.closing(0).await;
    assert_eq!(record["client"]["claimed"], Value::Null);
    assert_eq!(record["destination"], "upstream");
}
