//! What the relay is for: bytes of an allowed client reach an allowed server, and come back.

use crate::support::client;
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

#[tokio::test]
async fn an_upload_arrives_and_is_recorded() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let relay = Relay::start(&upstream("billing.example", port)).await;
    let body = vec![0x5a; 3 << 20];

    let target = format!("billing.example:{port}");
    let stream = client::tunnel(relay.proxy, &target).await.unwrap();
    let answer = server
        .upload(stream, "billing.example", &body)
        .await
        .unwrap();
    assert_eq!(answer, digest(&body));

    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed");
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["outcome"], "closed");
    assert_eq!(record["closed_by"], "client");
    assert_eq!(record["destination"], "upstream");
    assert_eq!(record["target"]["raw"], target);
    assert_eq!(record["target"]["address"], "127.0.0.1");
    assert_eq!(record["target"]["address_source"], "static");
    assert_eq!(record["tls"]["sni"], "billing.example");
    assert!(record["bytes_up"].as_u64().unwrap() > body.len() as u64);
}
