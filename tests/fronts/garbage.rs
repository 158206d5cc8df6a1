//! Whatever a client sends instead, its connection ends, with one record or none, and no session
//! panics.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::pki::{Pki, TLS13, Use, shake_hands};
use crate::support::relay::{Relay, is_closing};
use crate::support::tls::client_hello;

const FAST: &str = "[limits]\nrate_per_client = \"100000/s\"\n[timeouts]\ntls_handshake = \"2s\"\nproxy_header = \"2s\"\n";

/// A small generator is enough, and its numbers are the same each time.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    }
}

#[tokio::test]
async fn damaged_beginnings() {
    let pki = Pki::with_relay();
    let front = pki.listener(Some(&pki), "proxy_protocol_from = [\"127.0.0.1\"]");
    let relay = Relay::start(&[&front, FAST].concat()).await;
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(),
        vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2],
    ]
    .concat();
    let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec();
    let mut below = numbers();
    let mut sessions = Vec::new();
    for round in 0..300 {
        let header = if round % 2 == 0 { &v1 } else { &v2 };
        let mut bytes = [&header[..], &client_hello("relay.example")].concat();
        for _ in 0..below(4) {
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
        }
        bytes.truncate(bytes.len() - below(2) * below(bytes.len()));
        let proxy = relay.proxy;
        sessions.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(proxy).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let _ = stream.shutdown().await;
            let mut told = Vec::new();
            let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut told));
            let _ = read.await.expect("an end in time");
        }));
    }
    for session in sessions {
        session.await.unwrap();
    }
    all_ended(&relay).await;
    let silent = relay
        .metric("callhome_relay_connections_silent_total")
        .await;
    // The trail lags a little.
    let recorded = relay
        .wait(|| {
            let recorded = relay.count_of(is_closing) as u64;
            (silent + recorded >= 300).then_some(recorded)
        })
        .await;
    assert_eq!(silent + recorded, 300);
    assert!(recorded > 200);
}

/// A client that never reads asks for new keys over and over.
#[tokio::test]
async fn new_keys_without_end() {
    let pki = Pki::with_relay();
    pki.issue("client", Use::Client, &["zvm-1"]);
    let relay = Relay::start(&[&pki.listener(None, ""), FAST].concat()).await;
    let stream = TcpStream::connect(relay.proxy).await.unwrap();
    let mut stream = shake_hands(&pki.client(None, TLS13), stream).await.unwrap();
    for _ in 0..2000 {
        if stream.get_mut().1.refresh_traffic_keys().is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    let _ = stream
        .write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let _ = timeout(Duration::from_secs(10), stream.read(&mut [0; 64]))
        .await
        .expect("an end");
    drop(stream);
    all_ended(&relay).await;
}

async fn all_ended(relay: &Relay) {
    relay
        .until_metric("callhome_relay_connections_open", 0)
        .await;
    assert_eq!(relay.metric("callhome_relay_session_panics_total").await, 0);
}
