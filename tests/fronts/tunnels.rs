//! Tunnels under TLS end, wait and count as plain ones do.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::support::client::{answer, connect};
use crate::support::pki::{Pki, TLS12, TLS13, Version, shake_hands};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::Relay;

/// Holds both ends of a tunnel whose client speaks TLS with the relay.
struct Open {
    near: TlsStream<TcpStream>,
    far: TcpStream,
    relay: Relay,
}

impl Open {
    async fn new(version: Version) -> Self {
        Self::with(version, "").await
    }

    async fn with(version: Version, keys: &str) -> Self {
        let pki = Pki::with_relay();
        let server = PlainServer::start().await;
        let front = [
            &pki.listener(None, ""),
            &server.destination("a.example"),
            keys,
        ];
        let relay = Relay::start(&front.concat()).await;
        let stream = TcpStream::connect(relay.proxy).await.unwrap();
        let mut near = shake_hands(&pki.client(None, version), stream)
            .await
            .unwrap();
        let head = connect(&format!("a.example:{}", server.address.port()));
        near.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut near).await.status, 200);
        let far = server.accept().await;
        Self { near, far, relay }
    }
}

#[tokio::test]
async fn an_end_is_passed_on_and_the_other_way_goes_on() {
    for version in [TLS12, TLS13] {
        let mut open = Open::new(version).await;
        open.near.write_all(b"up").await.unwrap();
        open.near.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut open.far).await, b"up");
        open.far.write_all(b"down").await.unwrap();
        open.far.shutdown().await.unwrap();
        // Without a close_notify the client's TLS would call this an error.
        assert_eq!(read_to_end(&mut open.near).await, b"down");
        let record = open.relay.closing(0).await;
        assert_eq!(record["closed_by"], "client");
        assert_eq!(record["error"], Value::Null);
        assert_eq!(
            (&record["bytes_up"], &record["bytes_down"]),
            (&2.into(), &4.into())
        );

        let mut open = Open::new(version).await;
        open.far.write_all(b"down").await.unwrap();
        open.far.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut open.near).await, b"down");
        open.near.write_all(b"still up").await.unwrap();
        open.near.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut open.far).await, b"still up");
        let record = open.relay.closing(0).await;
        assert_eq!(record["closed_by"], "upstream");
        assert_eq!(
            (&record["bytes_up"], &record["bytes_down"]),
            (&8.into(), &4.into())
        );
    }
}

#[tokio::test]
async fn an_end_without_a_word_is_an_end_and_told() {
    let mut open = Open::new(TLS13).await;
    open.near.write_all(b"up").await.unwrap();
    open.near.flush().await.unwrap();
    open.near.get_mut().0.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut open.far).await, b"up");
    open.far.write_all(b"down").await.unwrap();
    drop(open.far);
    assert_eq!(read_to_end(&mut open.near).await, b"down");
    let record = open.relay.closing(0).await;
    assert_eq!(record["closed_by"], "client");
    assert_eq!(record["error"], "client: a FIN without close_notify");
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let open = Open::new(TLS13).await;
    let (tcp, _) = open.near.into_inner();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let mut far = open.far;
    let read = timeout(PATIENCE, far.read(&mut [0; 9])).await.unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(open.relay.closing(0).await["closed_by"], "client");

    let mut open = Open::new(TLS13).await;
    open.far.set_zero_linger().unwrap();
    drop(open.far);
    let read = timeout(PATIENCE, open.near.read(&mut [0; 9]))
        .await
        .unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(open.relay.closing(0).await["closed_by"], "upstream");
}

/// A record that was changed on the way never reaches the destination, and the tunnel ends in a
/// reset.
#[tokio::test]
async fn damage_is_no_end() {
    let mut open = Open::new(TLS13).await;
    open.near.write_all(b"good").await.unwrap();
    open.near.flush().await.unwrap();
    let mut good = [0; 4];
    open.far.read_exact(&mut good).await.unwrap();
    let raw = open.near.get_mut().0;
    raw.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
    raw.write_all(&[0x5a; 20]).await.unwrap();
    let read = timeout(PATIENCE, open.far.read(&mut [0; 9])).await.unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let record = open.relay.closing(0).await;
    assert_eq!(record["closed_by"], "error");
    assert!(
        record["error"].as_str().unwrap().starts_with("client: "),
        "{record}"
    );
    assert_eq!(record["bytes_up"], 4);
}

/// Both sides send and neither reads for a while: nothing is lost or doubled, and no side waits for
/// ever.
#[tokio::test]
async fn both_ways_at_once_with_slow_readers() {
    for version in [TLS12, TLS13] {
        let open = Open::new(version).await;
        let pattern = |seed: u8| {
            (0..24_u32 << 20)
                .map(move |n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0] ^ seed)
                .collect::<Vec<u8>>()
        };
        let (up, down) = (pattern(1), pattern(2));
        let (mut near_read, mut near_write) = tokio::io::split(open.near);
        let (mut far_read, mut far_write) = open.far.into_split();
        let (sent_up, sent_down) = (up.clone(), down.clone());
        let moving = async {
            tokio::join!(
                async {
                    near_write.write_all(&sent_up).await.unwrap();
                    near_write.shutdown().await.unwrap();
                },
                async {
                    far_write.write_all(&sent_down).await.unwrap();
                    far_write.shutdown().await.unwrap();
                },
                async {
                    sleep(Duration::from_millis(300)).await;
                    read_to_end(&mut near_read).await
                },
                async {
                    sleep(Duration::from_millis(300)).await;
                    read_to_end(&mut far_read).await
                },
            )
        };
        let (.., got_down, got_up) = timeout(3 * PATIENCE, moving).await.unwrap();
        assert!(got_up == up && got_down == down);
        let record = open.relay.closing(0).await;
        assert_eq!(record["bytes_up"], up.len());
        assert_eq!(record["bytes_down"], down.len());
        assert_eq!(record["error"], Value::Null);
    }
}

#[tokio::test]
async fn limits_end_it() {
    for (keys, by) in [
        ("idle = \"200ms\"", "idle"),
        ("lifetime = \"200ms\"", "lifetime"),
    ] {
        let mut open = Open::with(TLS13, &format!("[timeouts]\n{keys}\n")).await;
        assert_eq!(read_to_end(&mut open.far).await, b"");
        // There is no close_notify, because what the destination would still have sent is missing.
        let read = timeout(PATIENCE, open.near.read(&mut [0; 9]))
            .await
            .unwrap();
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(open.relay.closing(0).await["closed_by"], by);
    }
    let mut open = Open::with(TLS13, "[timeouts]\nhalf_closed = \"200ms\"\n").await;
    open.near.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut open.far).await, b"");
    assert_eq!(open.relay.closing(0).await["closed_by"], "half_closed");
}

const PATIENCE: Duration = Duration::from_secs(10);
