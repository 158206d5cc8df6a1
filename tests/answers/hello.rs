//! Tunnels that end after the 200 because of their ClientHello. The server sees a connection and no
//! byte.

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{Denied, Row};
use crate::support::client;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, is_closing, upstream};
use crate::support::tls::client_hello;

/// A fatal `unrecognized_name` (RFC 8446, 6.2), because the name is wrong.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

pub(super) async fn sni_mismatch(row: &Row) {
    for name in ["other.example", "a.billing.example", "example"] {
        let record = refuses(row, "", &client_hello(name), UNRECOGNIZED_NAME).await;
        assert_eq!(record["tls"]["sni"], name);
        assert_eq!(record["tls"]["versions"][0], "1.3");
        assert_eq!(record["tls"]["ech"], false);
    }
    // Where a client may leave the name out, it still may not send another one.
    let lax = "sni = \"if-present\"\n";
    refuses(row, lax, &client_hello("other.example"), UNRECOGNIZED_NAME).await;
}

pub(super) async fn sni_missing(row: &Row) {
    let record = refuses(row, "", &client_hello("192.0.2.1"), UNRECOGNIZED_NAME).await;
    assert_eq!(record["tls"]["sni"], Value::Null);
    assert_eq!(record["tls"]["versions"][0], "1.3");
}

pub(super) async fn not_tls(row: &Row) {
    for sent in [
        &b"GET / HTTP/1.1\r\nHost: billing.example\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        // An alert is TLS, but no client begins with one.
        &[21, 3, 1, 0, 2, 1, 0],
        &[0],
    ] {
        let record = refuses(row, "", sent, b"").await;
        assert_eq!(record["tls"], Value::Null);
        assert!(record["error"].is_string(), "{record}");
    }
}

pub(super) async fn client_hello_timeout(row: &Row) {
    let hello = client_hello("billing.example");
    for sent in [&hello[..0], &hello[..1], &hello[..hello.len() - 1]] {
        let record = refuses(row, "", sent, b"").await;
        assert_eq!(record["tls"], Value::Null);
        let waited = record["duration_ms"].as_f64().unwrap();
        assert!((150.0..2000.0).contains(&waited), "{record}");
    }
}

/// Opens a tunnel, sends these bytes in it, and reads that alert and the end.
async fn refuses(row: &Row, keys: &str, sent: &[u8], alert: &[u8]) -> Value {
    assert!(row.verdict == Denied);
    let server = PlainServer::start().await;
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "{}{keys}[timeouts]\nclient_hello = \"150ms\"\n",
        upstream("billing.example", port)
    ))
    .await;
    let target = format!("billing.example:{port}");
    let mut stream = client::tunnel(relay.proxy, &target).await.unwrap();
    stream.write_all(sent).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, alert, "{sent:02x?}");
    assert_eq!(server.receive().await, b"", "nothing goes upstream");

    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed", "{record}");
    assert_eq!(record["decision"], "deny", "{record}");
    assert_eq!(record["outcome"], "refused");
    assert_eq!(record["reason"], row.token);
    assert_eq!(record["destination"], "upstream");
    assert_eq!(record["target"]["raw"], target);
    assert_eq!(record["target"]["address"], "127.0.0.1");
    assert_eq!(record["bytes_up"], 0);
    assert_eq!(record["bytes_down"], 0);
    let session = record["session"].clone();
    let opened = relay
        .record(|record| record["event"] == "tunnel_opened")
        .await;
    assert_eq!(opened["session"], session);
    assert_eq!(opened["decision"], "allow");
    assert_eq!(relay.count_of(is_closing), 1);
    record
}
