//! Connections that are refused before a request is read: at a balancer's header or in the TLS
//! handshake.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Row;
use crate::support::client;
use crate::support::pki::{Pki, TLS12, TLS13, Use, shake_hands};
use crate::support::relay::{Relay, is_closing};
use crate::support::tls::client_hello;

const BALANCED: &str = "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]\n\
                        [timeouts]\nproxy_header = \"200ms\"\n";

pub(super) async fn proxy_header_invalid(row: &Row) {
    let relay = Relay::start(BALANCED).await;
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let with = |rest: &[u8]| [signature, rest].concat();
    for sent in [
        client::connect("a.example:443").into_bytes(),
        b"\r\n".to_vec(),
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n".to_vec(),
        b"PROXY TCP9 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
        vec![b'P'; 2],
        [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
        // Headers with another version, another family, a length that is wrong in either direction,
        // or no end.
        with(&[0x31, 0x11, 0, 12]),
        with(&[0x21, 0x41, 0, 0]),
        with(&[0x21, 0x11, 0, 4, 10, 0, 0, 1]),
        with(&[
            0x21, 0x11, 0, 15, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 4, 0, 9,
        ]),
        with(&[0x21, 0x11, 0xff, 0xff]),
    ] {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let record = row.check(&relay, &client::answer(&mut stream).await).await;
        assert_eq!(record["target"]["raw"], Value::Null);
        assert_eq!(record["client"]["via"], Value::Null);
        assert!(record["error"].is_string());
    }
}

pub(super) async fn proxy_header_timeout(row: &Row) {
    let relay = Relay::start(BALANCED).await;
    let line = b"PROXY TCP4 10.0.0.1 10.0.0.2 51514 3128\r\n";
    // The timeout covers the whole header, so a client that sends drop by drop gains nothing.
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let (mut read, mut write) = stream.split();
    let drops = async {
        for byte in line {
            sleep(Duration::from_millis(20)).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = client::answer(&mut read) => answer,
        () = drops => unreachable!("it is pending"),
    };
    let record = row.check(&relay, &answer).await;
    let waited = record["duration_ms"].as_f64().unwrap();
    assert!((200.0..3000.0).contains(&waited), "{record}");

    // A connection without a byte is counted and leaves no record.
    let mut silent = TcpStream::connect(relay.proxy).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    relay
        .until_metric("callhome_relay_connections_silent_total", 1)
        .await;
    assert_eq!(relay.count_of(is_closing), 1);
}

pub(super) async fn tls_handshake_failed(row: &Row) {
    let pki = Pki::with_relay();
    let relay = Relay::start(&pki.listener(None, "")).await;
    let hello = client_hello("relay.example");
    for (number, (sent, alert)) in [
        // Bytes that aren't TLS, that are cut off, or that are of an obsolete version.
        (&b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"[..], true),
        (&[0; 100], true),
        (&hello[..hello.len() - 1], false),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        assert_eq!(told.first() == Some(&21), alert, "{told:02x?}");
        check(row, &relay, number).await;
    }
}

pub(super) async fn tls_handshake_timeout(row: &Row) {
    let pki = Pki::with_relay();
    let keys = [
        &pki.listener(None, ""),
        "[timeouts]\ntls_handshake = \"200ms\"\n",
    ]
    .concat();
    let relay = Relay::start(&keys).await;
    let hello = client_hello("relay.example");
    // The client stops after its first byte, before its last, or after the relay's flight.
    for (number, sent) in [&hello[..1], &hello[..hello.len() - 1], &hello]
        .into_iter()
        .enumerate()
    {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut flight = Vec::new();
        stream.read_to_end(&mut flight).await.unwrap();
        assert_eq!(flight.is_empty(), sent.len() < hello.len());
        let record = check(row, &relay, number).await;
        let waited = record["duration_ms"].as_f64().unwrap();
        assert!((200.0..3000.0).contains(&waited), "{record}");
    }
    let mut silent = TcpStream::connect(relay.proxy).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(relay.count_of(is_closing), 3);
}

pub(super) async fn certificate_missing(row: &Row) {
    refuses_certificate(row, |_, _| None).await;
}

pub(super) async fn certificate_expired(row: &Row) {
    refuses_certificate(row, |pki, _| {
        pki.issue("client", Use::Expired, &["zvm-1"]);
        Some("client")
    })
    .await;
}

pub(super) async fn certificate_untrusted(row: &Row) {
    refuses_certificate(row, |pki, other| {
        other.issue("client", Use::Client, &["zvm-1"]);
        for file in ["client.pem", "client.key"] {
            std::fs::copy(other.path(file), pki.path(file)).unwrap();
        }
        Some("client")
    })
    .await;
}

/// Shows the certificate that `prepare` names, in both versions, to a relay that knows zvm-1.
async fn refuses_certificate(row: &Row, prepare: impl Fn(&Pki, &Pki) -> Option<&'static str>) {
    let (pki, other) = (Pki::with_relay(), Pki::new());
    let clients = "[clients]\nunlisted = \"any\"\n[[client]]\nname = \"zvm\"\ncertificate_names = [\"zvm-1\"]\n";
    let relay = Relay::start(&[&pki.listener(Some(&pki), ""), clients].concat()).await;
    for (number, version) in [TLS12, TLS13].into_iter().enumerate() {
        let shows = prepare(&pki, &other).map(|stem| (&pki, stem));
        let stream = TcpStream::connect(relay.proxy).await.unwrap();
        // In TLS 1.3 the client has finished before the relay checks its certificate.
        if let Ok(mut stream) = shake_hands(&pki.client(shows, version), stream).await {
            let read = timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
            assert!(read.unwrap().is_err());
        }
        let record = check(row, &relay, number).await;
        assert_eq!(record["client"]["name"], Value::Null);
    }
}

/// The client gets an alert or nothing, and the record has the rest.
async fn check(row: &Row, relay: &Relay, number: usize) -> Value {
    let record = relay.closing(number).await;
    assert_eq!(record["event"], "request_denied", "{record}");
    assert_eq!(record["outcome"], "refused");
    assert_eq!(record["decision"], "deny");
    assert_eq!(record["reason"], row.token, "{record}");
    assert_eq!(record["target"]["raw"], Value::Null);
    assert_eq!(relay.count_of(is_closing), number + 1);
    record
}
