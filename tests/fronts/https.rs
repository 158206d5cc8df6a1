//! The HTTPS proxy gives the same answers and records as the plain one, and its certificates can be
//! replaced.

use std::fs;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{answer, connect};
use crate::support::pki::{Pki, TLS12, TLS13, Use, shake_hands};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

#[tokio::test]
async fn both_versions_carry_an_upload() {
    let pki = Pki::with_relay();
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let keys = [pki.listener(None, ""), upstream("billing.example", port)].concat();
    let relay = Relay::start(&keys).await;
    let body = vec![9; 3 << 20];
    for (number, version) in [TLS12, TLS13].into_iter().enumerate() {
        let stream = TcpStream::connect(relay.proxy).await.unwrap();
        let mut stream = shake_hands(&pki.client(None, version), stream)
            .await
            .unwrap();
        let head = connect(&format!("billing.example:{port}"));
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.status, 200);
        let received = server
            .upload(stream, "billing.example", &body)
            .await
            .unwrap();
        assert_eq!(received, digest(&body));
        let record = relay.closing(number).await;
        assert_eq!(record["event"], "tunnel_closed", "{record}");
        assert_eq!(record["closed_by"], "client");
        assert_eq!(record["error"], Value::Null);
        assert_eq!(record["client"]["certificate"], Value::Null);
        assert_eq!(record["tls"]["sni"], "billing.example");
        assert!(record["bytes_up"].as_u64().unwrap() > body.len() as u64);
    }
}

#[tokio::test]
async fn refusals_are_told_inside() {
    let pki = Pki::with_relay();
    let relay = Relay::start(&pki.listener(None, "")).await;
    let long = format!("CONNECT {}:1 HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    for (head, status) in [
        (&*connect("a.example:443"), 403),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            405,
        ),
        ("nonsense\r\n\r\n", 400),
        (&long, 431),
    ] {
        let mut stream = pki.connect(relay.proxy).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.status, status, "{head}");
        // TLS confirms that the end is complete.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

/// After the 200 an alert for the inner connection is a part of the tunnel's bytes.
#[tokio::test]
async fn an_alert_to_the_inner_connection_is_inside() {
    let pki = Pki::with_relay();
    let server = PlainServer::start().await;
    let port = server.address.port();
    let keys = [pki.listener(None, ""), upstream("billing.example", port)].concat();
    let relay = Relay::start(&keys).await;
    let mut stream = pki.connect(relay.proxy).await;
    let head = connect(&format!("billing.example:{port}"));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    let hello = crate::support::tls::client_hello("other.example");
    stream.write_all(&hello).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, [21, 3, 3, 0, 2, 2, 112]);
    assert_eq!(relay.closing(0).await["reason"], "sni_mismatch");
}

#[tokio::test]
async fn the_pac_names_the_way_it_was_asked() {
    let pki = Pki::with_relay();
    let relay = Relay::start(&pki.listener(None, "")).await;
    for (host, named) in [
        ("relay.example:3129", "HTTPS relay.example:3129"),
        ("relay.example", "HTTPS relay.example:443"),
    ] {
        let mut stream = pki.connect(relay.proxy).await;
        let get = format!("GET /proxy.pac HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let page = answer(&mut stream).await;
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains(&format!("var relay = \"{named}\";")),
            "{}",
            page.body
        );
        assert_eq!(page.field("Connection"), Some("close"));
    }
}

#[tokio::test]
async fn only_http_1_1_is_spoken() {
    let pki = Pki::with_relay();
    let relay = Relay::start(&pki.listener(None, "")).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(Some("http/1.1"))),
        (&[], Some(None)),
        (&["h2"], None),
    ] {
        let mut config = (**pki.client(None, TLS13).config()).clone();
        config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let client = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = TcpStream::connect(relay.proxy).await.unwrap();
        let stream = shake_hands(&client, stream).await;
        let got = stream
            .as_ref()
            .ok()
            .map(|stream| stream.get_ref().1.alpn_protocol());
        assert_eq!(got, chosen.map(|it| it.map(str::as_bytes)), "{offered:?}");
    }
    let record = relay.closing(0).await;
    assert_eq!(record["reason"], "tls_handshake_failed");
}

/// Returns the certificate that the relay shows to a client that connects now.
async fn shown(pki: &Pki, relay: &Relay) -> Vec<u8> {
    let stream = pki.connect(relay.proxy).await;
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    certificates[0].to_vec()
}

#[tokio::test]
async fn certificates_are_replaced_and_tunnels_stay() {
    let pki = Pki::with_relay();
    let server = PlainServer::start().await;
    let keys = [pki.listener(None, ""), server.destination("a.example")].concat();
    let relay = Relay::start(&keys).await;
    let mut tunnel = pki.connect(relay.proxy).await;
    let head = connect(&format!("a.example:{}", server.address.port()));
    tunnel.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut tunnel).await.status, 200);
    let mut far = server.accept().await;

    let first = pki.certificate("relay.pem").to_vec();
    pki.issue("relay", Use::Server, &["relay.example"]);
    let second = pki.certificate("relay.pem").to_vec();
    assert_eq!(shown(&pki, &relay).await, first, "not before it is told to");
    assert_eq!(relay.reload(&keys).await["event"], "config_loaded");
    assert_eq!(shown(&pki, &relay).await, second);

    let good_key = fs::read(pki.path("relay.key")).unwrap();
    pki.issue("other", Use::Server, &["relay.example"]);
    for (file, content, says) in [
        (
            "relay.key",
            fs::read(pki.path("other.key")).unwrap(),
            "relay.key: ",
        ),
        ("relay.key", b"nothing".to_vec(), "no private key"),
        ("relay.key", Vec::new(), "no private key"),
        (
            "relay.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec(),
            "relay.pem: ",
        ),
        ("relay.pem", good_key.clone(), "no certificate"),
    ] {
        let before = fs::read(pki.path(file)).unwrap();
        fs::write(pki.path(file), content).unwrap();
        let rejected = relay.reload(&keys).await;
        assert_eq!(rejected["event"], "config_rejected");
        let error = rejected["data"]["error"].as_str().unwrap();
        assert!(
            error.contains("listener \"proxy\"") && error.contains(says),
            "{error}"
        );
        assert_eq!(shown(&pki, &relay).await, second, "the old one stays");
        fs::write(pki.path(file), before).unwrap();
    }
    let ready = crate::support::client::get(relay.admin, "/readyz").await;
    assert!(
        ready.body.contains("degraded: the last reload"),
        "{ready:?}"
    );
    let rejected = "callhome_relay_config_reloads_total{result=\"rejected\"}";
    assert_eq!(relay.metric(rejected).await, 5);

    // The tunnel has lived all the while.
    tunnel.write_all(b"up").await.unwrap();
    far.write_all(b"down").await.unwrap();
    let (mut up, mut down) = ([0; 2], [0; 4]);
    far.read_exact(&mut up).await.unwrap();
    tunnel.read_exact(&mut down).await.unwrap();
    assert_eq!((&up, &down), (b"up", b"down"));
}
