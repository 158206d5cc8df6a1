//! Behind a balancer: the client is the one that the balancer announces, in every respect.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::support::client::{self, answer, connect, dial_from};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, is_closing, upstream};
use crate::support::tls::{TlsServer, digest};

/// Returns a listener whose balancers are 127.0.0.1 and 127.0.1.0/24.
const BALANCED: &str = "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\", \"127.0.1.0/24\"]\n";

fn line(client: &str) -> Vec<u8> {
    let (address, port) = client.rsplit_once(':').unwrap();
    format!("PROXY TCP4 {address} 192.0.2.1 {port} 3128\r\n").into_bytes()
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &length,
        block,
    ]
    .concat()
}

/// Returns a header of version 2, with a TLV behind the addresses.
fn header(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let SocketAddr::V4(client) = client else {
        panic!("{client}")
    };
    let port = client.port().to_be_bytes();
    let block = [
        &client.ip().octets()[..],
        &[192, 0, 2, 1],
        &port,
        &[0x0c, 0x38],
        &[0x04, 0, 3, 0, 0, 0],
    ];
    binary(0x21, 0x11, &block.concat())
}

async fn send(relay: &Relay, parts: &[&[u8]]) -> TcpStream {
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream.write_all(&parts.concat()).await.unwrap();
    stream
}

#[tokio::test]
async fn the_announced_client_is_the_client() {
    let server = TlsServer::start(&["billing.example"]).await;
    let port = server.address.port();
    let keys = upstream("billing.example", port);
    let relay = Relay::start(&format!(
        "{BALANCED}{keys}[[client]]\nname = \"zvm\"\nrole = \"zvm\"\nsources = [\"10.20.0.11\"]\n"
    ))
    .await;
    let head = connect(&format!("billing.example:{port}"));
    let announced = "10.20.0.11:51514";
    let at_once = [line(announced), head.clone().into_bytes()].concat();
    for (number, segments) in [
        vec![line(announced), head.clone().into_bytes()],
        vec![header(announced), head.clone().into_bytes()],
        vec![at_once.clone()],
        vec![[header(announced), head.into_bytes()].concat()],
        at_once.chunks(1).map(<[u8]>::to_vec).collect(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for segment in segments {
            stream.write_all(&segment).await.unwrap();
            sleep(Duration::from_micros(200)).await;
        }
        assert_eq!(answer(&mut stream).await.status, 200);
        let body = vec![7; 100_000];
        let received = server
            .upload(stream, "billing.example", &body)
            .await
            .unwrap();
        assert_eq!(received, digest(&body));
        let record = relay.closing(number).await;
        assert_eq!(record["event"], "tunnel_closed", "{record}");
        let client = &record["client"];
        assert_eq!(client["address"], "10.20.0.11");
        assert_eq!(client["port"], 51514);
        assert_eq!(client["via"], "127.0.0.1");
        assert_eq!(client["name"], "zvm");
    }
}

#[tokio::test]
async fn it_is_admitted_or_refused_as_itself() {
    let relay = Relay::start(&format!(
        "{BALANCED}[clients]\nunlisted = \"deny\"\n[[client]]\nname = \"a\"\nsources = [\"10.0.0.1\"]\n"
    ))
    .await;
    let head = connect("a.example:443");
    for (number, (client, phrase)) in [
        ("10.0.0.1:1", "destination_not_allowed"),
        ("10.0.0.2:1", "client_not_allowed"),
        // The balancer itself is no client.
        ("127.0.0.1:1", "client_not_allowed"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = send(&relay, &[&header(client), head.as_bytes()]).await;
        assert_eq!(answer(&mut stream).await.phrase, phrase, "{client}");
        let record = relay.closing(number).await;
        assert_eq!(record["client"]["via"], "127.0.0.1");
        assert_eq!(record["target"]["raw"], "a.example:443");
    }
}

/// A peer that isn't trusted is a client like any other, and its header isn't read.
#[tokio::test]
async fn only_balancers_may_connect() {
    let relay = Relay::start(BALANCED).await;
    let head = connect("a.example:443");
    for (number, first) in [header("10.0.0.1:1"), line("10.0.0.1:1"), Vec::new()]
        .iter()
        .enumerate()
    {
        let mut stream = dial_from("127.0.0.2", relay.proxy).await;
        stream.write_all(first).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert_eq!(
            (answer.status, &*answer.phrase),
            (403, "client_not_allowed")
        );
        let record = relay.closing(number).await;
        assert_eq!(record["client"]["address"], "127.0.0.2");
        assert_eq!(record["client"]["via"], Value::Null);
        // A request that comes without a header is noted, though it gets no other answer.
        let raw = first.is_empty().then_some("a.example:443");
        assert_eq!(record["target"]["raw"], Value::from(raw));
        let error = record["error"].as_str().unwrap();
        assert!(error.contains("proxy_protocol_from"), "{error}");
    }
    let mut stream = dial_from("127.0.1.77", relay.proxy).await;
    stream
        .write_all(&[line("10.0.0.1:1"), head.into_bytes()].concat())
        .await
        .unwrap();
    assert_eq!(answer(&mut stream).await.phrase, "destination_not_allowed");
    assert_eq!(relay.closing(3).await["client"]["via"], "127.0.1.77");
}

#[tokio::test]
async fn whoever_announces_nobody_may_only_probe() {
    let relay = Relay::start(&format!("{BALANCED}[timeouts]\nrequest_head = \"300ms\"\n")).await;
    let nobody = [
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, &[0xff; 12]),
        binary(0x21, 0x00, b"whatever this is"),
        binary(0x21, 0x31, &[b'/'; 216]),
        binary(0x21, 0x12, &[1; 12]),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ::1 ::2 1 2\r\n".to_vec(),
    ];
    for first in &nobody {
        let mut probe = send(&relay, &[first]).await;
        probe.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut probe).await, b"");
    }
    let probes = nobody.len() as u64;
    relay
        .until_metric("callhome_relay_connections_silent_total", probes)
        .await;
    assert_eq!(relay.count_of(is_closing), 0);

    let get = "GET /proxy.pac HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    for (number, (first, head)) in nobody
        .iter()
        .flat_map(|first| [(first, connect("a.example:443")), (first, get.clone())])
        .enumerate()
    {
        let mut stream = send(&relay, &[first, head.as_bytes()]).await;
        let answer = answer(&mut stream).await;
        assert_eq!(
            (answer.status, &*answer.phrase),
            (403, "client_not_allowed")
        );
        let record = relay.closing(number).await;
        assert!(
            record["error"]
                .as_str()
                .unwrap()
                .contains("announces nobody")
        );
        assert_eq!(record["client"]["address"], "127.0.0.1");
        assert_eq!(record["client"]["via"], Value::Null);
    }
}

#[tokio::test]
async fn limits_are_the_announced_clients() {
    let relay = Relay::start(&format!(
        "{BALANCED}[limits]\nconnections_per_client = 3\nrate_per_client = \"2/h\"\n"
    ))
    .await;
    let head = connect("a.example:443");
    // These are far more than one client may have, and each is another client's.
    let mut open = Vec::new();
    for client in 0..20 {
        let stream = send(&relay, &[&line(&format!("10.0.1.{client}:1"))]).await;
        open.push(stream);
    }
    relay
        .until_metric("callhome_relay_connections_open", 20)
        .await;
    for _ in 0..3 {
        open.push(send(&relay, &[&header("10.0.0.1:1")]).await);
    }
    relay
        .until_metric("callhome_relay_connections_open", 23)
        .await;
    let mut fourth = send(&relay, &[&header("10.0.0.1:4"), head.as_bytes()]).await;
    let refused = answer(&mut fourth).await;
    assert_eq!((refused.status, &*refused.phrase), (503, "at_capacity"));
    assert_eq!(
        relay
            .metric("callhome_relay_connections_turned_away_total")
            .await,
        1
    );
    assert_eq!(relay.count_of(is_closing), 0);
    drop(open);
    relay
        .until_metric("callhome_relay_connections_open", 0)
        .await;

    // The burst is twice the rate, for each client.
    for client in ["10.0.0.1:1", "10.0.0.2:1"] {
        for expected in [403, 403, 403, 403, 429] {
            let mut stream = send(&relay, &[&line(client), head.as_bytes()]).await;
            assert_eq!(answer(&mut stream).await.status, expected, "{client}");
        }
    }
}

/// A trusted peer that is broken, or whose port an attacker reaches, doesn't fill the trail.
#[tokio::test]
async fn bad_headers_have_a_rate_too() {
    let relay = Relay::start(&format!("{BALANCED}[limits]\nrate_per_client = \"2/h\"\n")).await;
    for number in 0..12 {
        let mut stream = send(&relay, &[b"GARBAGE"]).await;
        assert_eq!(answer(&mut stream).await.status, 400, "{number}");
    }
    relay.closing(4).await;
    assert_eq!(
        relay.count_of(is_closing),
        5,
        "the rest is counted together"
    );
}

/// The relay dials a balancer that brings the connection back and announces the relay itself.
#[tokio::test]
async fn a_loop_through_the_balancer_is_noticed() {
    let balancer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = balancer.local_addr().unwrap();
    let relay = Relay::start(&format!(
        "{BALANCED}{}sni = \"any\"\ntls_only = false\n",
        upstream("loop.example", address.port())
    ))
    .await;
    let proxy = relay.proxy;
    let balancing = tokio::spawn(async move {
        let (mut near, client) = balancer.accept().await.unwrap();
        let mut far = TcpStream::connect(proxy).await.unwrap();
        let first = format!(
            "PROXY TCP4 {} {} {} {}\r\n",
            client.ip(),
            address.ip(),
            client.port(),
            address.port()
        );
        far.write_all(first.as_bytes()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let head = connect(&format!("loop.example:{}", address.port()));
    let mut stream = send(&relay, &[&line("10.0.0.1:1"), head.as_bytes()]).await;
    assert_eq!(answer(&mut stream).await.status, 200);
    stream.write_all(head.as_bytes()).await.unwrap();
    let looped = answer(&mut stream).await;
    assert_eq!((looped.status, &*looped.phrase), (502, "loop_detected"));
    drop(stream);
    balancing.await.unwrap();
}

#[tokio::test]
async fn pages_are_for_the_announced_client() {
    let server = PlainServer::start().await;
    let relay = Relay::start(&format!(
        "{BALANCED}{}[[client]]\nname = \"a\"\nsources = [\"10.0.0.1\"]\n",
        server.destination("a.example")
    ))
    .await;
    let get = b"GET /proxy.pac HTTP/1.1\r\nHost: relay.example:3128\r\n\r\n";
    let mut stream = send(&relay, &[&header("10.0.0.1:1"), get]).await;
    let page = answer(&mut stream).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("PROXY relay.example:3128"),
        "{}",
        page.body
    );
    let mut stream = send(&relay, &[&header("10.0.0.2:1"), get]).await;
    assert_eq!(client::answer(&mut stream).await.status, 403);
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}
