//! Bytes that come instead of a good ClientHello: each kind has its reason, its alert and its
//! record.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::client::dial_from;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, is_closing, upstream};
use crate::support::sni::{CLIENT, HOST, hello_for, listener, relay_to};

const UNRECOGNIZED_NAME: &[u8] = b"\x15\x03\x03\x00\x02\x02\x70";
const INTERNAL_ERROR: &[u8] = b"\x15\x03\x03\x00\x02\x02\x50";
const CHROMIUM: &[u8] = include_bytes!("../../relay/tls/testdata/chromium.bin");

/// Sends these bytes, and returns the answer and the record.
async fn sends(relay: &Relay, bytes: &[u8]) -> (Vec<u8>, Value) {
    let n = relay.count_of(is_closing);
    let mut stream = dial_from(CLIENT, relay.proxy).await;
    stream.write_all(bytes).await.unwrap();
    let said = read_to_end(&mut stream).await;
    (said, relay.closing(n).await)
}

#[tokio::test]
async fn each_has_its_reason_and_its_alert() {
    let server = PlainServer::start().await;
    let relay = relay_to(HOST, server.address.port(), "").await;
    for (what, sent, reason, alert, sni) in refused() {
        let (said, record) = sends(&relay, &sent).await;
        assert_eq!(said, alert, "{what}");
        assert_eq!(record["event"], "request_denied", "{what}: {record}");
        assert_eq!(record["reason"], reason, "{what}: {record}");
        assert_eq!(record["decision"], "deny", "{what}");
        assert_eq!(record["tls"]["sni"], sni, "{what}");
    }
    assert_eq!(relay.metric("callhome_relay_session_panics_total").await, 0);
}

/// Returns what is sent, and the reason, the alert and the server name in the record.
type Refused = (&'static str, Vec<u8>, &'static str, &'static [u8], Value);

fn refused() -> Vec<Refused> {
    let two_names = {
        // The list has room for a second name where the first one was.
        let mut hello = hello_for(b"ab\x00\x00\x02cd");
        let at = hello
            .windows(7)
            .position(|it| it == b"ab\x00\x00\x02cd")
            .unwrap();
        hello[at - 1] = 2;
        hello
    };
    let hello = hello_for(HOST.as_bytes());
    let mut cut_short = hello.clone();
    cut_short[8] -= 1;
    let nameless = crate::support::tls::client_hello("127.0.0.1");
    vec![
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: billing.example\r\n\r\n".to_vec(),
            "not_tls",
            &b""[..],
            Value::Null,
        ),
        (
            "a CONNECT",
            b"CONNECT billing.example:443 HTTP/1.1\r\n\r\n".to_vec(),
            "not_tls",
            b"",
            Value::Null,
        ),
        ("a length that lies", cut_short, "not_tls", b"", Value::Null),
        (
            "an alert",
            UNRECOGNIZED_NAME.to_vec(),
            "not_tls",
            b"",
            Value::Null,
        ),
        (
            "no name",
            nameless,
            "sni_missing",
            UNRECOGNIZED_NAME,
            Value::Null,
        ),
        (
            "no host name",
            hello_for(b"billing_example"),
            "sni_mismatch",
            UNRECOGNIZED_NAME,
            "(invalid)".into(),
        ),
        (
            "a name with a NUL",
            hello_for(b"billing\0example"),
            "sni_mismatch",
            UNRECOGNIZED_NAME,
            "(invalid)".into(),
        ),
        (
            "two names",
            two_names,
            "sni_mismatch",
            UNRECOGNIZED_NAME,
            "(invalid)".into(),
        ),
        (
            "another name",
            hello_for(b"elsewhere.example"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
            "elsewhere.example".into(),
        ),
        (
            "a single label",
            hello_for(b"vcenter"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
            "vcenter".into(),
        ),
        (
            "an address",
            hello_for(b"8.8.8.8"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
            "8.8.8.8".into(),
        ),
        (
            "the relay's address",
            hello_for(b"10.0.0.1"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
            "10.0.0.1".into(),
        ),
        (
            "an IPv6 address",
            hello_for(b"2606:4700::1111"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
            "2606:4700::1111".into(),
        ),
    ]
}

/// The outer name decides, and the record says that there may be an inner one.
#[tokio::test]
async fn an_encrypted_client_hello_is_judged_by_its_outer_name() {
    let server = PlainServer::start().await;
    let port = server.address.port();
    let relay = relay_to("ch3.zerto.com", port, "").await;
    let mut stream = dial_from(CLIENT, relay.proxy).await;
    stream.write_all(CHROMIUM).await.unwrap();
    let mut upstream_end = server.accept().await;
    let mut received = vec![0; CHROMIUM.len()];
    upstream_end.read_exact(&mut received).await.unwrap();
    assert!(received == CHROMIUM);
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut upstream_end).await, b"");
    drop(upstream_end);
    assert_eq!(read_to_end(&mut stream).await, b"");
    let record = relay.closing(0).await;
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["tls"]["ech"], true);

    let elsewhere = relay_to("other.example", port, "").await;
    let (said, record) = sends(&elsewhere, CHROMIUM).await;
    assert_eq!(said, UNRECOGNIZED_NAME);
    assert_eq!(record["reason"], "destination_not_allowed");
    assert_eq!(record["tls"]["ech"], true);
}

/// One timeout covers the whole ClientHello from the first moment: silence, half of it, and a byte
/// now and then.
#[tokio::test]
async fn a_hello_that_does_not_come_is_not_waited_for() {
    let server = PlainServer::start().await;
    let timeouts = "[timeouts]\nclient_hello = \"400ms\"\n";
    let relay = relay_to(HOST, server.address.port(), timeouts).await;
    let hello = hello_for(HOST.as_bytes());
    for (n, sent) in [&b""[..], &hello[..1], &hello[..hello.len() - 1]]
        .into_iter()
        .enumerate()
    {
        let mut stream = dial_from(CLIENT, relay.proxy).await;
        stream.write_all(sent).await.unwrap();
        is_given_up(&relay, &mut stream, n).await;
    }
    let mut stream = dial_from(CLIENT, relay.proxy).await;
    stream.set_nodelay(true).unwrap();
    let (mut read, mut write) = stream.split();
    let started = Instant::now();
    let trickle = async {
        for byte in &hello {
            if write.write_all(std::slice::from_ref(byte)).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    tokio::select! {
        () = trickle => {}
        _ = read.read_to_end(&mut said) => {}
    }
    assert_eq!(said, b"");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let record = relay.closing(3).await;
    assert_eq!(record["reason"], "client_hello_timeout", "{record}");
}

async fn is_given_up(relay: &Relay, stream: &mut TcpStream, n: usize) {
    let started = Instant::now();
    assert_eq!(read_to_end(stream).await, b"");
    let waited = started.elapsed();
    assert!((300..2000).contains(&waited.as_millis()), "{waited:?}");
    let record = relay.closing(n).await;
    assert_eq!(record["event"], "request_denied", "{record}");
    assert_eq!(record["reason"], "client_hello_timeout");
    assert_eq!(record["client"]["address"], CLIENT);
}

/// A balancer that only tests the port leaves no record, and a client that leaves in the middle
/// leaves one.
#[tokio::test]
async fn leaving_is_no_refusal() {
    let relay = relay_to(HOST, 9, "").await;
    drop(dial_from(CLIENT, relay.proxy).await);
    relay
        .until_metric("callhome_relay_connections_silent_total", 1)
        .await;
    assert_eq!(relay.count_of(is_closing), 0);
    let mut stream = dial_from(CLIENT, relay.proxy).await;
    stream
        .write_all(&hello_for(HOST.as_bytes())[..20])
        .await
        .unwrap();
    drop(stream);
    let record = relay.closing(0).await;
    assert_eq!(record["outcome"], "abandoned", "{record}");
    assert_eq!(record["reason"], Value::Null);
}

/// The accept loop's own answer is an alert too, and silence counts against a client's rate.
#[tokio::test]
async fn limits_hold() {
    let limits = "[limits]\nconnections_per_client = 1\nrate_per_client = \"1/h\"\n[timeouts]\nclient_hello = \"200ms\"\n";
    let relay = relay_to(HOST, 9, limits).await;
    let mut silent = dial_from(CLIENT, relay.proxy).await;
    relay
        .until_metric("callhome_relay_connections_open", 1)
        .await;
    let mut stream = dial_from(CLIENT, relay.proxy).await;
    assert_eq!(read_to_end(&mut stream).await, INTERNAL_ERROR);
    assert_eq!(read_to_end(&mut silent).await, b"");
    relay
        .until_metric("callhome_relay_connections_open", 0)
        .await;
    // The burst is two, and the silent client was the first.
    let (_, record) = sends(&relay, &hello_for(b"elsewhere.example")).await;
    assert_eq!(record["reason"], "destination_not_allowed");
    relay
        .until_metric("callhome_relay_connections_open", 0)
        .await;
    let (_, record) = sends(&relay, &hello_for(b"elsewhere.example")).await;
    assert_eq!(record["reason"], "rate_limited");
}

/// The port is the listener's, and policy judges it too.
#[tokio::test]
async fn a_port_that_no_destination_has_is_refused() {
    let keys = format!("{}{}", listener(8443), upstream(HOST, 443));
    let relay = Relay::start(&keys).await;
    let (said, record) = sends(&relay, &hello_for(HOST.as_bytes())).await;
    assert_eq!(said, UNRECOGNIZED_NAME);
    assert_eq!(record["reason"], "port_not_allowed");
    assert_eq!(record["target"]["port"], 8443);
}
