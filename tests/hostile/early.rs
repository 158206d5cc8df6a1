//! Bytes that come before their turn, from either side.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{answer, ask, tunnel};
use crate::support::dns::{NameServer, Script};
use crate::support::relay::{Relay, upstream};

use super::plain::{Manner, Plain};
use super::{FAST, connect_head, plain_destination, read_to_end, settled};

/// Against: a second request hidden behind the first (pipelining, request smuggling). One
/// connection gets one answer.
#[tokio::test]
async fn nothing_behind_a_refused_head_is_served() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "{}{FAST}",
        plain_destination("plain.example", port)
    ))
    .await;
    let good = connect_head(&format!("plain.example:{port}"));
    let denied = connect_head("denied.example:443");
    let page = b"GET / HTTP/1.1\r\nHost: relay.example\r\nConnection: keep-alive\r\n\r\n".to_vec();
    let with_content =
        b"POST / HTTP/1.1\r\nHost: relay.example\r\nContent-Length: 500\r\n\r\n".to_vec();
    let malformed = b"CONNECT a b HTTP/1.1\r\n\r\n".to_vec();
    for (first, status) in [
        (denied, 403),
        (page, 200),
        (with_content, 405),
        (malformed, 400),
    ] {
        let sent = [&first[..], &good, &good].concat();
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        let answer = answer(&mut stream).await;
        assert_eq!(answer.status, status);
        assert!(
            !answer.body.contains("HTTP/1."),
            "a second answer: {}",
            answer.body
        );
    }
    // The page has no record.
    assert_eq!(settled(&relay).await, 3);
    assert_eq!(server.connections(), 0);
}

/// Against: bytes sent along with a CONNECT that reach the destination too early, or although the
/// CONNECT is refused. Those of an allowed CONNECT arrive once, in order.
#[tokio::test]
async fn early_bytes_wait_for_the_decision() {
    let server = Plain::start(Manner::Echoes).await;
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "{}{FAST}",
        plain_destination("plain.example", port)
    ))
    .await;
    for target in [
        "denied.example:443".to_owned(),
        "plain.example:443".to_owned(),
    ] {
        let answer = ask(
            relay.proxy,
            &[&connect_head(&target)[..], b"early"].concat(),
        )
        .await;
        assert_eq!(answer.status, 403);
    }
    assert_eq!(server.connections(), 0);

    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let sent = [
        &connect_head(&format!("plain.example:{port}"))[..],
        b"early",
    ]
    .concat();
    stream.write_all(&sent).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    stream.write_all(b" and late").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"early and late");
    assert_eq!(server.received(0), b"early and late");
    settled(&relay).await;
}

/// Against: a client that fills memory by sending while its name is being resolved.
#[tokio::test]
async fn early_bytes_are_held_up_to_a_bound() {
    let dns = NameServer::start().await;
    dns.script("slow.example", Script::Silence);
    let relay = Relay::start(&format!(
        "[[destination]]\nname = \"slow\"\nhosts = [\"slow.example\"]\n{FAST}[dns]\nservers = [\"{}\"]\ntimeout = \"700ms\"\n",
        dns.address
    ))
    .await;
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream
        .write_all(&connect_head("slow.example:443"))
        .await
        .unwrap();
    let flood = vec![0x16; 1 << 20];
    let mut taken = 0;
    // Unread bytes stay in the kernel's buffers, and when those are full the client must wait.
    let write = async {
        while let Ok(count) = stream.write(&flood).await {
            taken += count;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(300), write).await;
    assert!(taken < 16 << 20, "{taken} bytes were taken");
    let record = relay.closing(0).await;
    assert_eq!(record["reason"], "dns_timeout");
    drop(stream);
    settled(&relay).await;
}

/// Against: a destination that talks to a client before the client's ClientHello was judged.
#[tokio::test]
async fn a_destination_is_not_heard_before_the_hello() {
    let server = Plain::start(Manner::Greets(b"hello, client")).await;
    let port = server.address.port();
    let keys = format!(
        "{}[timeouts]\nclient_hello = \"300ms\"\n",
        upstream("tls.example", port)
    );
    let relay = Relay::start(&keys).await;
    let mut stream = tunnel(relay.proxy, &format!("tls.example:{port}"))
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"");
    let record = relay.closing(0).await;
    assert_eq!(record["reason"], "client_hello_timeout");
    assert_eq!(record["bytes_down"], 0);
    settled(&relay).await;

    // Without a ClientHello to wait for, the destination may speak first.
    let relay = Relay::start(&plain_destination("plain.example", port)).await;
    let mut stream = tunnel(relay.proxy, &format!("plain.example:{port}"))
        .await
        .unwrap();
    let mut greeting = [0; 13];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello, client");
    drop(stream);
    settled(&relay).await;
}

/// Against: a destination that breaks off at the worst moment. The client gets an answer, and the
/// record names the side.
#[tokio::test]
async fn a_destination_that_leaves_ends_the_tunnel() {
    const HELLO: &[u8] = include_bytes!("../../relay/tls/testdata/openssl.bin");
    for manner in [Manner::Resets, Manner::Closes] {
        let server = Plain::start(manner).await;
        let port = server.address.port();
        let relay = Relay::start(&format!(
            "{}{}[timeouts]\nclient_hello = \"300ms\"\nhalf_closed = \"300ms\"\n",
            upstream("ch3.zerto.com", port),
            plain_destination("plain.example", port),
        ))
        .await;
        // No ClientHello is needed, then one is sent, then one is missing.
        for (host, sent) in [
            ("plain.example", &b""[..]),
            ("ch3.zerto.com", HELLO),
            ("ch3.zerto.com", b""),
        ] {
            let n = relay.count_of(crate::support::relay::is_closing);
            let mut stream = match tunnel(relay.proxy, &format!("{host}:{port}")).await {
                Ok(stream) => stream,
                // The reset came before the relay had looked at its new connection.
                Err(answer) => {
                    let told = (answer.status, answer.phrase.as_str());
                    assert_eq!(told, (502, "connection_refused"), "{manner:?}");
                    assert_eq!(relay.closing(n).await["outcome"], "failed");
                    continue;
                }
            };
            let _ = stream.write_all(sent).await;
            assert_eq!(read_to_end(&mut stream).await, b"", "{manner:?} {host}");
            drop(stream);
            let record = relay.closing(n).await;
            assert_eq!(record["event"], "tunnel_closed");
            if host == "ch3.zerto.com" && sent.is_empty() {
                assert_eq!(record["reason"], "client_hello_timeout", "{manner:?}");
            } else {
                assert_eq!(
                    record["closed_by"], "upstream",
                    "{manner:?} {host}: {record}"
                );
            }
        }
        settled(&relay).await;
    }
}
