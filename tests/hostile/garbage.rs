//! Random bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

use super::{FAST, connect_head, plain_destination, reset, settled};

const CHROMIUM: &[u8] = include_bytes!("../../relay/tls/testdata/chromium.bin");
const OPENSSL: &[u8] = include_bytes!("../../relay/tls/testdata/openssl.bin");

/// Against: a crash, a hang or a leak by bytes that no author thought of. Several clients send ten
/// kinds of garbage for two seconds. Then everything is given back, no session has panicked, and an
/// honest request is served.
#[tokio::test]
async fn garbage_changes_nothing() {
    let server = TlsServer::start(&["ch3.zerto.com"]).await;
    let port = server.address.port();
    let mut relay = Relay::start(&format!(
        "{}{}{FAST}[timeouts]\nrequest_head = \"200ms\"\nclient_hello = \"200ms\"\nhalf_closed = \"200ms\"\nidle = \"500ms\"\n",
        upstream("ch3.zerto.com", port),
        plain_destination("plain.example", port),
    ))
    .await;
    let end = Instant::now() + Duration::from_secs(2);
    let clients: Vec<_> = (1..=16)
        .map(|seed| tokio::spawn(attack(relay.proxy, port, Dice(seed), end)))
        .collect();
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    assert!(sent > 300, "{sent} attacks only");
    let own = settled(&relay).await;

    let body = vec![0x5a; 100_000];
    let stream = crate::support::client::tunnel(relay.proxy, &format!("ch3.zerto.com:{port}"))
        .await
        .unwrap();
    let answer = server.upload(stream, "ch3.zerto.com", &body).await.unwrap();
    assert_eq!(answer, digest(&body));

    // Beyond its share a client's refusals are counted together, and recorded later.
    relay.stop().await;
    let records = relay.records();
    let counted = records.iter().filter_map(|it| it["data"]["count"].as_u64());
    let all = own + usize::try_from(counted.sum::<u64>()).unwrap();
    assert!(all > sent / 2, "{all} of {sent} attacks");
}

async fn attack(proxy: SocketAddr, port: u16, mut dice: Dice, end: Instant) -> usize {
    let mut sent = 0;
    while Instant::now() < end {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        for piece in garbage(&mut dice, port) {
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        sent += 1;
        match dice.below(4) {
            0 => reset(stream),
            1 => drop(stream),
            2 => {
                let _ = stream.shutdown().await;
                let _ = timeout(
                    Duration::from_millis(50),
                    stream.read_to_end(&mut Vec::new()),
                )
                .await;
            }
            _ => {
                let _ = timeout(Duration::from_millis(50), stream.read(&mut [0; 512])).await;
            }
        }
    }
    sent
}

/// Returns one attack, in the pieces in which it is sent.
fn garbage(dice: &mut Dice, port: u16) -> Vec<Vec<u8>> {
    let good = connect_head(&format!("ch3.zerto.com:{port}"));
    let plain = connect_head(&format!("plain.example:{port}"));
    let bytes = match dice.below(10) {
        0 => dice.bytes(2000),
        1 => dice
            .bytes(300)
            .iter()
            .map(|byte| byte % 95 + b' ')
            .collect(),
        2 => dice.damage(&good),
        3 => [&good[..], &dice.damage(CHROMIUM)].concat(),
        4 => [&good[..], &dice.damage(OPENSSL)].concat(),
        5 => good[..dice.below(good.len())].to_vec(),
        6 => [
            &good[..],
            &CHROMIUM[..dice.below(CHROMIUM.len())],
            &dice.bytes(100),
        ]
        .concat(),
        7 => [&b"CONNECT "[..], &b"\r\n \t:".repeat(dice.below(5000))].concat(),
        8 => [&good[..], b"\x16\x03\x01", &dice.bytes(3000)].concat(),
        _ => [&plain[..], &dice.bytes(60_000)].concat(),
    };
    let size = 1 + dice.below(bytes.len().max(1));
    bytes
        .chunks(size.max(bytes.len() / 20 + 1))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Gives numbers that look random and are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 20).unwrap() % bound
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.next().to_be_bytes()[3]).collect()
    }

    /// Returns these bytes with up to four of them changed.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            damaged[at] = self.next().to_be_bytes()[3];
        }
        damaged
    }
}
