//! `report-only` towards an address that the internet could have.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::foreign::tools;
use crate::namespace;
use crate::support::client::{self, ask, connect};
use crate::support::dns::NameServer;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, report_only};
use crate::support::tls::client_hello;

/// A tunnel that only report-only allows needs a public address, so this runs where there is no
/// internet.
#[test]
fn its_tunnels_end_with_it() {
    tools::need(&["ip"]);
    let prepare = format!("ip link set lo up\nip address add {PUBLIC} dev lo");
    namespace::run_test(&["--net"], &prepare, "report_only::in_a_namespace");
}

#[tokio::test]
#[ignore = "its_tunnels_end_with_it runs this in a network namespace"]
async fn in_a_namespace() {
    let dns = NameServer::start().await;
    let server = PlainServer::start_at(PUBLIC).await;
    let listed = PlainServer::start().await;
    for name in ["unlisted.example", "mistaken.example", "guarded.example"] {
        dns.addresses(name, &[PUBLIC], 60);
    }
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "{}{}{}[[destination]]\nname = \"guarded\"\nhosts = [\"guarded.example\"]\n\
         ports = [{port}]\nip_ranges = [\"203.0.113.0/24\"]\n",
        report_only(Duration::from_millis(1500)),
        dns.table(),
        listed.destination("listed.example")
    ))
    .await;
    let mut kept = client::tunnel(
        relay.proxy,
        &format!("listed.example:{}", listed.address.port()),
    )
    .await
    .unwrap();
    let mut kept_upstream = listed.accept().await;

    // Here too the name in the ClientHello is compared with the target.
    let mut mistaken = client::tunnel(relay.proxy, &format!("mistaken.example:{port}"))
        .await
        .unwrap();
    mistaken
        .write_all(&client_hello("unlisted.example"))
        .await
        .unwrap();
    assert_eq!(server.receive().await, b"");
    assert_eq!(relay.closing(0).await["reason"], "sni_mismatch");

    let mut open = Vec::new();
    for name in ["unlisted.example", "guarded.example"] {
        let mut stream = client::tunnel(relay.proxy, &format!("{name}:{port}"))
            .await
            .unwrap();
        let hello = client_hello(name);
        stream.write_all(&hello).await.unwrap();
        open.push((name, hello, stream, server.accept().await));
    }
    for (name, hello, mut stream, mut upstream) in open {
        assert_eq!(read_to_end(&mut upstream).await, hello, "{name}");
        assert_eq!(read_to_end(&mut stream).await, b"", "{name}");
        let record = relay
            .record(|record| record["event"] == "tunnel_closed" && record["target"]["host"] == name)
            .await;
        assert_eq!(record["closed_by"], "policy_revoked");
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["enforced"], false);
        let answer = ask(relay.proxy, connect(&format!("{name}:{port}")).as_bytes()).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }

    kept.write_all(b"still here").await.unwrap();
    kept.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut kept_upstream).await, b"still here");
}

/// An address of the internet, which is on loopback inside the namespace.
const PUBLIC: &str = "11.22.33.44";
