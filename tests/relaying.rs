//! The relay's purpose: bytes of an allowed client reach an allowed server, and come back, each of
//! them once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use ring::digest::{Context, SHA256};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client;
use crate::support::dns::NameServer;
use crate::support::plain::{PlainServer, SilentServer, read_to_end};
use crate::support::relay::{Relay, is_closing, upstream};
use crate::support::tls::{TlsServer, client_hello, digest};

#[tokio::test]
async fn an_upload_arrives_and_is_recorded() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let relay = Relay::start(&upstream("billing.example", port)).await;
    let body = vec![0x5a; 256 << 20];

    let target = format!("billing.example:{port}");
    let stream = client::tunnel(relay.proxy, &target).await.unwrap();
    let answer = server
        .upload(stream, "billing.example", &body)
        .await
        .unwrap();
    assert_eq!(answer, digest(&body));
    assert_eq!(server.connections(), 1);

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

/// Sends more than the kernel's buffers and the relay's pipes can hold, many times over, and counts
/// at both ends.
#[tokio::test]
async fn a_quarter_of_a_gibibyte_arrives_byte_for_byte() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: u64 = 256;
    let Plain {
        server,
        relay,
        mut client,
        mut upstream,
    } = Plain::open().await;
    let sending = tokio::spawn(async move {
        let mut context = Context::new(&SHA256);
        let mut chunk = vec![0x5a; CHUNK];
        for number in 0..CHUNKS {
            // No two chunks are the same, so none can replace another unnoticed.
            chunk[..8].copy_from_slice(&number.to_be_bytes());
            context.update(&chunk);
            client.write_all(&chunk).await.unwrap();
        }
        client.shutdown().await.unwrap();
        (context.finish(), client)
    });
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut received = 0;
    loop {
        let count = upstream.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        context.update(&buffer[..count]);
        received += count as u64;
    }
    drop(upstream);
    let (sent, mut client) = sending.await.unwrap();
    assert_eq!(context.finish().as_ref(), sent.as_ref());
    assert_eq!(read_to_end(&mut client).await, b"");
    assert_eq!(received, CHUNKS * CHUNK as u64);
    let record = relay.closing(0).await;
    assert_eq!(record["bytes_up"], received);
    assert_eq!(record["bytes_down"], 0);
    assert_eq!(record["closed_by"], "client");
    drop(server);
}

#[tokio::test]
async fn single_bytes_go_both_ways_without_waiting_for_more() {
    let mut plain = Plain::open().await;
    plain.client.set_nodelay(true).unwrap();
    plain.upstream.set_nodelay(true).unwrap();
    for byte in (0..=255).cycle().take(2000) {
        plain.client.write_u8(byte).await.unwrap();
        assert_eq!(plain.upstream.read_u8().await.unwrap(), byte);
        plain.upstream.write_u8(!byte).await.unwrap();
        assert_eq!(plain.client.read_u8().await.unwrap(), !byte);
    }
    drop((plain.client, plain.upstream));
    let record = plain.relay.closing(0).await;
    assert_eq!(record["bytes_up"], 2000);
    assert_eq!(record["bytes_down"], 2000);
}

#[tokio::test]
async fn a_client_that_has_said_everything_still_hears_the_rest() {
    let mut plain = Plain::open().await;
    plain.client.write_all(b"question").await.unwrap();
    plain.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut plain.upstream).await, b"question");
    plain.upstream.write_all(b"a long answer").await.unwrap();
    plain.upstream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut plain.client).await, b"a long answer");
    let record = plain.relay.closing(0).await;
    assert_eq!(record["closed_by"], "client");
    assert_eq!(record["bytes_up"], 8);
    assert_eq!(record["bytes_down"], 13);
}

#[tokio::test]
async fn a_server_that_has_said_everything_still_hears_the_rest() {
    let mut plain = Plain::open().await;
    plain.upstream.write_all(b"a greeting").await.unwrap();
    plain.upstream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut plain.client).await, b"a greeting");
    plain.client.write_all(b"a long reply").await.unwrap();
    plain.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut plain.upstream).await, b"a long reply");
    let record = plain.relay.closing(0).await;
    assert_eq!(record["closed_by"], "upstream");
    assert_eq!(record["bytes_up"], 12);
    assert_eq!(record["bytes_down"], 10);
}

/// A reset must not become an end, because a reader would take a broken transfer for a complete
/// one.
#[tokio::test]
async fn a_reset_is_passed_on_as_one() {
    for from_client in [true, false] {
        let mut plain = Plain::open().await;
        plain.client.write_all(b"a").await.unwrap();
        plain.upstream.read_u8().await.unwrap();
        let (breaks, mut other, by) = if from_client {
            (plain.client, plain.upstream, "client")
        } else {
            (plain.upstream, plain.client, "upstream")
        };
        breaks.set_zero_linger().unwrap();
        drop(breaks);
        let error = other.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let record = plain.relay.closing(0).await;
        assert_eq!(record["closed_by"], by);
        assert!(
            record["error"].as_str().unwrap().starts_with(by),
            "{record}"
        );
    }
}

/// Some clients don't wait for the 200. Their first bytes go upstream first, with nothing before
/// them.
#[tokio::test]
async fn bytes_behind_the_head_are_the_first_in_the_tunnel() {
    let server = PlainServer::start().await;
    let relay = Relay::start(&server.destination("a.example")).await;
    let head = client::connect(&format!("a.example:{}", server.address.port()));
    for early in [1, 100, 12_000] {
        let early = vec![b'e'; early];
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        let sent = [head.as_bytes(), &early].concat();
        stream.write_all(&sent).await.unwrap();
        let answer = client::answer(&mut stream).await;
        assert_eq!(answer.status, 200);
        stream.write_all(b" and more").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(server.receive().await, [&early, &b" and more"[..]].concat());
    }
}

#[tokio::test]
async fn a_client_hello_in_the_segment_of_the_head_is_one() {
    let server = TlsServer::start(&["a.example"]).await;
    let target = format!("a.example:{}", server.address.port());
    let relay = Relay::start(&upstream("a.example", server.address.port())).await;
    let mut tls = server.client("a.example");
    let proxy = relay.proxy;
    let answer = tokio::task::spawn_blocking(move || {
        let mut sent = client::connect(&target).into_bytes();
        tls.write_tls(&mut sent).unwrap();
        let mut stream = BlockingStream::connect(proxy).unwrap();
        stream.write_all(&sent).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        let mut stream = rustls::StreamOwned::new(tls, stream);
        stream.write_all(b"an early upload").unwrap();
        stream.conn.send_close_notify();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer.await.unwrap(), digest(b"an early upload"));
    let record = relay.closing(0).await;
    assert_eq!(record["tls"]["sni"], "a.example");
    assert_eq!(record["outcome"], "closed");
}

/// The other side of early data: nothing of it leaves the relay if the request is refused, at any
/// stage.
#[tokio::test]
async fn early_bytes_of_a_refused_request_go_nowhere() {
    let server = PlainServer::start().await;
    let relay = Relay::start(&upstream("a.example", server.address.port())).await;
    let target = format!("a.example:{}", server.address.port());
    let hello = client_hello("other.example");
    let sent = [client::connect(&target).as_bytes(), &hello].concat();
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    assert_eq!(client::answer(&mut stream).await.status, 200);
    assert_eq!(read_to_end(&mut stream).await.last(), Some(&112));
    assert_eq!(server.receive().await, b"");
    assert_eq!(relay.closing(0).await["reason"], "sni_mismatch");
}

/// A client that gives up frees its slot and its socket at once, even while the relay resolves for
/// it.
#[tokio::test]
async fn a_client_that_leaves_during_the_dial_frees_its_slot() {
    for resets in [false, true] {
        let silent = SilentServer::start();
        let port = silent.address.port();
        let server = PlainServer::start().await;
        let dns = NameServer::start().await;
        dns.addresses("silent.example", &["127.0.0.1"], 60);
        let relay = Relay::start(&format!(
            "[dns]\nservers = [\"{}\"]\n[timeouts]\nconnect = \"1m\"\n\
             [limits]\ntunnels = 1\ntunnels_per_client = 1\n{}\
             [[destination]]\nname = \"silent\"\nhosts = [\"silent.example\"]\nports = [{port}]\n\
             ip_ranges = [\"127.0.0.1\"]\n",
            dns.address,
            server.destination("a.example"),
        ))
        .await;
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        let head = client::connect(&format!("silent.example:{port}"));
        stream.write_all(head.as_bytes()).await.unwrap();
        let asked = || dns.queries("silent.example", RecordType::AAAA) > 0;
        relay.wait(|| asked().then_some(())).await;
        let other = format!("a.example:{}", server.address.port());
        let full = client::tunnel(relay.proxy, &other).await.unwrap_err();
        assert_eq!(full.phrase, "at_capacity");
        if resets {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);

        let abandoned = |record: &Value| record["target"]["host"] == "silent.example";
        let record = relay.record(abandoned).await;
        assert!(is_closing(&record));
        assert_eq!(record["event"], "request_failed");
        assert_eq!(record["outcome"], "abandoned");
        assert_eq!(record["closed_by"], "client");
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["reason"], Value::Null);
        assert!(client::tunnel(relay.proxy, &other).await.is_ok());
    }
}

/// The kernel probes both peers of a tunnel that lasts.
#[tokio::test]
async fn a_tunnel_that_lasts_has_keepalive_on_both_sides() {
    let server = PlainServer::start().await;
    let keys = "[timeouts]\nkeepalive = \"1s\"\n";
    let relay = Relay::start(&format!("{}{keys}", server.destination("a.example"))).await;
    let target = format!("a.example:{}", server.address.port());
    let _client = client::tunnel(relay.proxy, &target).await.unwrap();
    let _upstream = server.accept().await;
    let (proxy, upstream) = (port(relay.proxy), port(server.address));
    let start = Instant::now();
    while !has_keepalive(|local, _| local.ends_with(&proxy))
        || !has_keepalive(|_, remote| remote.ends_with(&upstream))
    {
        assert!(start.elapsed() < Duration::from_secs(5), "a side has none");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tells whether the kernel lists an established connection with these ends and a running keepalive
/// timer.
fn has_keepalive(ends: impl Fn(&str, &str) -> bool) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, state, _, timer, ..] = columns[..] else {
            panic!("{line}");
        };
        state == "01" && timer.starts_with("02:") && ends(local, remote)
    })
}

/// Writes a port as the kernel's table does, behind its address.
fn port(address: SocketAddr) -> String {
    format!(":{:04X}", address.port())
}

/// Holds both ends of an open tunnel to a server without TLS.
struct Plain {
    server: PlainServer,
    relay: Relay,
    client: TcpStream,
    upstream: TcpStream,
}

impl Plain {
    async fn open() -> Self {
        let server = PlainServer::start().await;
        let relay = Relay::start(&server.destination("a.example")).await;
        let target = format!("a.example:{}", server.address.port());
        let client = client::tunnel(relay.proxy, &target).await.unwrap();
        Self {
            upstream: server.accept().await,
            server,
            relay,
            client,
        }
    }
}
