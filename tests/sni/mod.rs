//! Clients that were given no proxy: their DNS points them at the relay, and the server name is the
//! target.

mod loops;
mod refusals;

use crate::support::relay::upstream;
use crate::support::sni::{CLIENT, HOST, listener, relay_to};
use crate::support::tls::{TlsServer, digest};

#[tokio::test]
async fn what_is_allowed_passes_through_unchanged() {
    let server = TlsServer::start(&[HOST]).await;
    let port = server.address.port();
    let relay = relay_to(HOST, port, "").await;
    let body: Vec<u8> = (0..8_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let stream = crate::support::client::dial_from(CLIENT, relay.proxy).await;
    // The client sees the server's certificate, and the digest is of what the server received.
    let received = server.upload(stream, HOST, &body).await.unwrap();
    assert_eq!(received, digest(&body));

    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed", "{record}");
    assert_eq!(record["listener"], "passthrough");
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["closed_by"], "client");
    assert_eq!(record["destination"], "upstream");
    let target = &record["target"];
    assert_eq!(
        (&target["host"], &target["port"]),
        (&HOST.into(), &port.into())
    );
    assert_eq!(
        target["raw"],
        serde_json::Value::Null,
        "nobody wrote host:port"
    );
    assert_eq!(record["tls"]["sni"], HOST);
    assert!(record["bytes_up"].as_u64().unwrap() > body.len() as u64);
    let opened = relay.record(|it| it["event"] == "tunnel_opened").await;
    assert_eq!(opened["session"], record["session"]);
    assert_eq!(
        opened["tls"]["sni"], HOST,
        "known before the tunnel is open"
    );
}

/// A new policy ends a tunnel that it no longer allows, here as everywhere.
#[tokio::test]
async fn a_new_policy_ends_what_it_refuses() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = crate::support::plain::PlainServer::start().await;
    let port = server.address.port();
    let relay = relay_to(HOST, port, "").await;
    let mut client = crate::support::client::dial_from(CLIENT, relay.proxy).await;
    let hello = crate::support::tls::client_hello(HOST);
    client.write_all(&hello).await.unwrap();
    let mut upstream_end = server.accept().await;
    let mut received = vec![0; hello.len()];
    upstream_end.read_exact(&mut received).await.unwrap();
    assert_eq!(received, hello);

    let other = format!("{}{}", listener(port), upstream("other.example", port));
    assert_eq!(relay.reload(&other).await["event"], "config_loaded");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    assert_eq!(relay.closing(0).await["closed_by"], "policy_revoked");
}
