//! Requests that are refused for their bytes, from any client and for any target.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Row, assert_says};
use crate::support::client::{self, ask, connect};
use crate::support::plain::read_to_end;
use crate::support::relay::{Relay, is_closing};

/// No request gets as far as the destination here, and the rate is too high to matter.
const KEYS: &str = "destination = []\n[limits]\nrate_per_client = \"1000/s\"\n";

pub(super) async fn malformed_request(row: &Row) {
    let relay = Relay::start(KEYS).await;
    let target = "billing.example:443";
    let connect = "CONNECT billing.example:443 HTTP/1.1\r\n";
    let host = "Host: billing.example:443\r\n";
    for (head, raw) in [
        ("\r\n\r\n", None),
        ("\u{16}\u{3}\u{1}", None),
        ("CONNECT billing.example:443\r\n\r\n", Some(target)),
        (
            "CONNECT  billing.example:443 HTTP/1.1\r\n\r\n",
            Some(" billing.example:443"),
        ),
        ("CONNECT billing.example:443 http/1.1\r\n\r\n", Some(target)),
        (
            "CONNECT billing.example:443 HTTP/1.1\nHost: billing.example\n\n",
            Some(target),
        ),
        (&format!("{connect}\r\n"), Some(target)),
        (&format!("{connect}{host}{host}\r\n"), Some(target)),
        (
            &format!("{connect}Host: user@billing.example\r\n\r\n"),
            Some(target),
        ),
        (
            &format!("{connect}{host}Content-Length: 5\r\n\r\nhello"),
            Some(target),
        ),
        (
            &format!("{connect}{host}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
            Some(target),
        ),
        (
            &format!("{connect}{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Some(target),
        ),
        (&format!("{connect}{host}X: a\r\n b\r\n\r\n"), Some(target)),
        (&format!("{connect}{host}X : a\r\n\r\n"), Some(target)),
        (&format!("{connect}{host}X: a\0b\r\n\r\n"), Some(target)),
        (&format!("{connect}{host}X: a\rb\r\n\r\n"), Some(target)),
    ] {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["destination"], Value::Null);
        assert_eq!(record["target"]["host"], Value::Null);
        assert_eq!(record["target"]["raw"].as_str(), raw, "{head:?}");
        assert!(record["error"].is_string(), "{record}");
    }

    // A client that ends its head early gets this answer, because a timeout would be wrong.
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream.write_all(connect.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let record = row.check(&relay, &client::answer(&mut stream).await).await;
    assert_says(&record, "closed within");
}

pub(super) async fn malformed_target(row: &Row) {
    let relay = Relay::start(KEYS).await;
    for target in [
        "billing.example",
        "billing.example:",
        "billing.example:0",
        "billing.example:0443",
        "billing.example:65536",
        "billing.example:+443",
        "bil_ling.example:443",
        "billing..example:443",
        "billing.0x7f:443",
        "127.1:443",
        "127.0.0.01:443",
        "2130706433:443",
        "[::1%25lo]:443",
        "::1:443",
        "billing.example:443/",
        "https://billing.example:443",
        "user:S3CRET@billing.example:443",
        "billing.example:443?S3CRET",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: billing.example\r\n\r\n");
        let answer = ask(relay.proxy, head.as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["target"]["raw_length"], target.len(), "{target}");
        assert_eq!(record["target"]["host"], Value::Null);
        let line = record.to_string();
        assert!(!line.contains("S3CRET"), "{line}");
        if !target.contains("S3CRET") {
            assert_eq!(record["target"]["raw"], target);
        }
    }
}

pub(super) async fn method_not_allowed(row: &Row) {
    let relay = Relay::start(KEYS).await;
    for (head, target) in [
        (
            "GET http://billing.example/a?token=S3CRET HTTP/1.1\r\nHost: billing.example\r\n\r\n",
            "http://billing.example/a?***",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
        (
            "connect a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "a.example:443",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "/",
        ),
    ] {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["target"]["raw"], target);
    }

    // A browser that posts a file is still sending when the answer comes. A reset would destroy
    // that answer.
    let body = vec![b'x'; 200 * 1024];
    let length = body.len();
    let head =
        format!("POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    relay
        .record(|record| record["target"]["raw"] == "http://a.example/")
        .await;
    for part in body.chunks(10_000) {
        stream.write_all(part).await.unwrap();
    }
    row.check(&relay, &client::answer(&mut stream).await).await;
}

pub(super) async fn version_not_supported(row: &Row) {
    let relay = Relay::start(KEYS).await;
    for (head, target) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "*"),
        (
            "CONNECT billing.example:443 HTTP/2.0\r\nHost: billing.example\r\n\r\n",
            "billing.example:443",
        ),
        ("GET / HTTP/0.9\r\n\r\n", "/"),
    ] {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["target"]["raw"], target);
    }
}

pub(super) async fn request_timeout(row: &Row) {
    let relay = Relay::start("[timeouts]\nrequest_head = \"100ms\"\n").await;
    for sent in ["CONNECT billing.example:443 HTTP/1.1\r\nHost:", "C"] {
        let answer = ask(relay.proxy, sent.as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        let target = (sent.len() > 1).then_some("billing.example:443");
        assert_eq!(record["target"]["raw"].as_str(), target);
        let waited = record["duration_ms"].as_f64().unwrap();
        assert!((100.0..2000.0).contains(&waited), "{record}");
    }
}

pub(super) async fn head_too_large(row: &Row) {
    let relay = Relay::start("[limits]\nrequest_head = \"1KiB\"\n").await;
    let connect = "CONNECT billing.example:443 HTTP/1.1\r\nHost: billing.example\r\n";
    let filler = "a".repeat(1024);
    for head in [
        format!("{connect}X: {filler}\r\n\r\n"),
        format!("{connect}{}\r\n", "X: \r\n".repeat(101)),
        format!("CONNECT {filler}"),
    ] {
        let answer = ask(relay.proxy, head.as_bytes()).await;
        row.check(&relay, &answer).await;
    }
    // The limit is the largest head that is read.
    let length = connect.len() + "X: \r\n\r\n".len();
    let head = format!("{connect}X: {}\r\n\r\n", "a".repeat(1024 - length));
    assert_eq!(head.len(), 1024);
    assert_eq!(ask(relay.proxy, head.as_bytes()).await.status, 403);
}

/// Health probes connect and leave, and port scanners wait. Neither may fill the trail.
#[tokio::test]
async fn silence_is_counted_and_not_recorded() {
    let relay = Relay::start("[timeouts]\nrequest_head = \"50ms\"\n").await;
    drop(TcpStream::connect(relay.proxy).await.unwrap());
    let mut silent = TcpStream::connect(relay.proxy).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, b"");
    relay
        .until_metric("callhome_relay_connections_silent_total", 2)
        .await;
    // Records are in order: now that a later one is there, an earlier one would be too.
    ask(relay.proxy, connect("a.example:443").as_bytes()).await;
    relay.closing(0).await;
    assert_eq!(relay.count_of(is_closing), 1);
}
