//! Clients that are known by their certificates.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{Answer, answer, connect, dial_from};
use crate::support::pki::{Pki, TLS12, TLS13, Use, Version, shake_hands};
use crate::support::relay::Relay;

const CLIENTS: &str = "
[clients]
unlisted = \"any\"
[[client]]
name = \"anywhere\"
certificate_names = [\"zvm-1\", \"ZVM-1.example\"]
[[client]]
name = \"bound\"
certificate_names = [\"zvm-2\"]
sources = [\"127.0.0.2\", \"127.0.3.0/24\"]
[[client]]
name = \"by-address\"
sources = [\"127.0.0.3\"]
";

/// Asks from an address, with a certificate of these names.
async fn ask(pki: &Pki, proxy: SocketAddr, from: &str, names: &[&str], version: Version) -> Answer {
    pki.issue("client", Use::Client, names);
    let client = pki.client(Some((pki, "client")), version);
    let stream = dial_from(from, proxy).await;
    let mut stream = shake_hands(&client, stream).await.unwrap();
    stream
        .write_all(connect("a.example:443").as_bytes())
        .await
        .unwrap();
    answer(&mut stream).await
}

/// Each row is asked in both versions. A client that isn't refused itself is refused for its
/// destination.
#[tokio::test]
async fn the_certificate_says_who_it_is() {
    let pki = Pki::with_relay();
    let relay = Relay::start(&[&pki.listener(Some(&pki), ""), CLIENTS].concat()).await;
    let mut number = 0;
    for (from, names, client, certificate) in [
        ("127.0.0.1", &["zvm-1"][..], Some("anywhere"), Some("zvm-1")),
        (
            "127.0.0.1",
            &["ZVM-1.Example"],
            Some("anywhere"),
            Some("zvm-1.example"),
        ),
        (
            "127.0.0.1",
            &["else", "zvm-1"],
            Some("anywhere"),
            Some("zvm-1"),
        ),
        (
            "127.0.0.1",
            &["zvm-1", "zvm-1.example"],
            Some("anywhere"),
            Some("zvm-1"),
        ),
        // Source and certificate must both match.
        ("127.0.0.2", &["zvm-2"], Some("bound"), Some("zvm-2")),
        ("127.0.3.9", &["zvm-2"], Some("bound"), Some("zvm-2")),
        ("127.0.0.1", &["zvm-2"], None, Some("zvm-2")),
        ("127.0.0.3", &["zvm-2"], None, Some("zvm-2")),
        // The certificate decides, even if the source is another client's.
        ("127.0.0.2", &["zvm-1"], Some("anywhere"), Some("zvm-1")),
        ("127.0.0.3", &["zvm-1"], Some("anywhere"), Some("zvm-1")),
        // An unknown certificate is no client, whatever `unlisted` says and even from a client's
        // address.
        ("127.0.0.1", &["zvm-3"], None, Some("zvm-3")),
        ("127.0.0.3", &["zvm-3"], None, Some("zvm-3")),
        ("127.0.0.1", &["*.example"], None, None),
        ("127.0.0.1", &["127.0.0.1"], None, None),
        ("127.0.0.1", &[], None, None),
        // A certificate of two clients is no client.
        ("127.0.0.2", &["zvm-1", "zvm-2"], None, Some("zvm-1")),
    ] {
        for version in [TLS12, TLS13] {
            let answer = ask(&pki, relay.proxy, from, names, version).await;
            let expected = match client {
                Some(_) => "destination_not_allowed",
                None => "client_not_allowed",
            };
            assert_eq!(answer.phrase, expected, "{from} {names:?}");
            let record = relay.closing(number).await;
            assert_eq!(record["client"]["name"], Value::from(client), "{record}");
            assert_eq!(record["client"]["certificate"], Value::from(certificate));
            assert_eq!(record["client"]["address"], from);
            number += 1;
        }
    }
}

/// A port that asks for no certificate has no client that is known by one.
#[tokio::test]
async fn without_a_certificate_its_address_is_nobodys() {
    let relay = Relay::start(CLIENTS).await;
    for (number, (from, phrase)) in [
        ("127.0.0.2", "client_not_allowed"),
        ("127.0.3.9", "client_not_allowed"),
        ("127.0.0.3", "destination_not_allowed"),
        ("127.0.0.1", "destination_not_allowed"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = dial_from(from, relay.proxy).await;
        let head = connect("a.example:443");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.phrase, phrase, "{from}");
        let record = relay.closing(number).await;
        assert_eq!(record["client"]["certificate"], Value::Null);
    }
}

/// The balancer's header comes before TLS, and the client behind the balancer has its own
/// certificate.
#[tokio::test]
async fn behind_a_balancer() {
    let pki = Pki::with_relay();
    let front = pki.listener(Some(&pki), "proxy_protocol_from = [\"127.0.0.1\"]");
    let clients = CLIENTS.replace("127.0.0.2", "10.0.0.2");
    let relay = Relay::start(&[front, clients].concat()).await;
    pki.issue("client", Use::Client, &["zvm-2"]);
    for (number, (announced, phrase)) in [
        ("10.0.0.2", "destination_not_allowed"),
        ("10.0.0.9", "client_not_allowed"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        let line = format!("PROXY TCP4 {announced} 10.0.0.1 51514 3128\r\n");
        stream.write_all(line.as_bytes()).await.unwrap();
        let client = pki.client(Some((&pki, "client")), TLS13);
        let mut stream = shake_hands(&client, stream).await.unwrap();
        let head = connect("a.example:443");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.phrase, phrase);
        let client = &relay.closing(number).await["client"];
        assert_eq!(client["address"], announced);
        assert_eq!(client["via"], "127.0.0.1");
        assert_eq!(client["certificate"], "zvm-2");
    }
}

/// A reload that removes the client ends its tunnels. Another CA ends no tunnel and admits no old
/// certificate.
#[tokio::test]
async fn a_reload_is_held_against_the_certificate() {
    let (pki, other) = (Pki::with_relay(), Pki::new());
    let server = crate::support::plain::PlainServer::start().await;
    let front = |clients: &str| {
        [
            pki.listener(Some(&pki), ""),
            clients.to_owned(),
            server.destination("a.example"),
        ]
        .concat()
    };
    let relay = Relay::start(&front(CLIENTS)).await;
    pki.issue("client", Use::Client, &["zvm-1"]);
    let client = pki.client(Some((&pki, "client")), TLS13);
    let stream = TcpStream::connect(relay.proxy).await.unwrap();
    let mut stream = shake_hands(&client, stream).await.unwrap();
    let head = connect(&format!("a.example:{}", server.address.port()));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    let _far = server.accept().await;

    let ca = std::fs::read(pki.path("ca.pem")).unwrap();
    std::fs::copy(other.path("ca.pem"), pki.path("ca.pem")).unwrap();
    assert_eq!(
        relay.reload(&front(CLIENTS)).await["event"],
        "config_loaded"
    );
    assert_eq!(relay.metric("callhome_relay_tunnels_open").await, 1);
    let refused = TcpStream::connect(relay.proxy).await.unwrap();
    // In TLS 1.3 the client learns of it after its own handshake.
    if let Ok(mut refused) = shake_hands(&client, refused).await {
        let _ = refused.write_all(head.as_bytes()).await;
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut refused, &mut byte).await;
        assert!(read.is_err(), "{read:?}");
    }
    assert_eq!(relay.closing(0).await["reason"], "certificate_untrusted");

    std::fs::write(pki.path("ca.pem"), ca).unwrap();
    let without = CLIENTS.replace("\"zvm-1\", ", "");
    relay.reload(&front(&without)).await;
    let record = relay.closing(1).await;
    assert_eq!(record["closed_by"], "policy_revoked");
    assert_eq!(record["client"]["certificate"], "zvm-1");
}
