//! The hops before the certificate: names, addresses, connections.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{HOST, check, check_with, looked_up};
use crate::support::dns::{NameServer, Script};
use crate::support::relay::upstream;

#[tokio::test]
async fn a_name_server_that_says_no_is_named() {
    let dns = NameServer::start().await;
    dns.script(HOST, Script::NoSuchName { ttl: 60 });
    let ran = check(&looked_up(&dns, "")).await;
    assert_eq!(
        ran.statuses(),
        ["FAIL", "skip", "skip", "skip", "skip", "skip"]
    );
    ran.has("name", "NXDOMAIN");
    ran.has("name", &dns.address.to_string());
    assert_eq!(ran.code, Some(1));

    dns.script(HOST, Script::Silence);
    let ran = check(&looked_up(&dns, "")).await;
    ran.has("name", "no name server answered in time");
    assert!(ran.out.contains("port 53"), "{}", ran.out);
}

#[tokio::test]
async fn addresses_are_screened_before_anything_is_dialled() {
    let dns = NameServer::start().await;
    dns.addresses(HOST, &["10.9.9.9"], 60);
    let ran = check(&looked_up(&dns, "")).await;
    assert_eq!(
        ran.statuses(),
        ["ok", "FAIL", "skip", "skip", "skip", "skip"]
    );
    ran.has("name", "10.9.9.9 (private_use), dns in ");
    ran.has("ranges", "10.9.9.9 (private_use)");
    assert_eq!(ran.code, Some(1));

    // One address is let through, and the other isn't.
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = refused.local_addr().unwrap().port();
    drop(refused);
    dns.addresses(HOST, &["10.9.9.9", "127.0.0.1"], 60);
    let keys = format!("ip_ranges = [\"127.0.0.0/8\"]\nports = [{port}]");
    let ran = check(&looked_up(&dns, &keys)).await;
    ran.has(
        "ranges",
        "warn 127.0.0.1 inside 127.0.0.0/8; never dialled: 10.9.9.9",
    );
    ran.has("tcp", &format!("FAIL 127.0.0.1:{port}: Connection refused"));
    assert!(ran.out.contains("firewall"), "{}", ran.out);
    assert_eq!(ran.code, Some(1));
}

#[tokio::test]
async fn a_way_back_to_the_relay_is_a_loop() {
    let keys = format!(
        "{}[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:8443\"\n",
        upstream(HOST, 8443)
    );
    let ran = check(&keys).await;
    ran.has("ranges", "FAIL loop_detected");
    assert_eq!(ran.hop("tcp"), "skip not reached");
}

#[tokio::test]
async fn what_is_no_tls_server_is_seen_to_be_none() {
    for (answer, expected) in [
        ("HTTP/1.0 302 Found\r\n\r\n", "the handshake broke off"),
        ("", "the handshake broke off"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let ran = check(&upstream(HOST, port)).await;
        ran.has("tls", expected);
        let captive = ran.out.contains("doesn't speak TLS");
        assert_eq!(captive, !answer.is_empty(), "{}", ran.out);
        assert_eq!(ran.code, Some(1));
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_walked_to_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = upstream(HOST, port) + "sni = \"any\"\ntls_only = false\n";
    let ran = check(&keys).await;
    assert_eq!(ran.statuses(), ["ok", "ok", "ok", "skip", "skip", "skip"]);
    ran.has("tls", "tls_only = false");
    assert_eq!(ran.code, Some(0));
}

#[tokio::test]
async fn destinations_keep_their_order_and_some_have_nowhere_to_go() {
    let dns = NameServer::start().await;
    dns.script("slow.example", Script::Silence);
    let keys = format!(
        "[[destination]]\nname = \"slow\"\nhosts = [\"slow.example\"]\n\
         [[destination]]\nname = \"wild\"\nhosts = [\"*.wild.example\"]\n\
         [[destination]]\nname = \"ranges\"\nip_ranges = [\"198.51.100.0/24\"]\n\
         [[destination]]\nname = \"quick\"\nhosts = [\"quick.example\"]\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n",
        dns.address
    );
    let ran = check_with(&keys, &["--json"], None).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let walks = report["destinations"].as_array().unwrap();
    let names: Vec<_> = walks
        .iter()
        .map(|walk| walk["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["slow", "wild", "ranges", "quick"]);
    assert_eq!(walks[1]["not_walked"], "no exact host, only wildcards");
    assert_eq!(walks[2]["not_walked"], "no host, only ip_ranges");
    assert_eq!(walks[1]["hops"], Value::Array(Vec::new()));
    assert_eq!(report["summary"]["fail"], 2);
    assert_eq!(report["summary"]["not_walked"], 2);
    assert_eq!(ran.code, Some(1));
}
