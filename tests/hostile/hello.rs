//! What a client may send first in its tunnel, and how it may cut that up.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::client::tunnel;
use crate::support::relay::Relay;

use super::plain::{Manner, Plain};
use super::{FAST, read_to_end, settled};

const OPENSSL: &[u8] = include_bytes!("../../relay/tls/testdata/openssl.bin");
const OPENSSL_TLS12: &[u8] = include_bytes!("../../relay/tls/testdata/openssl-tls12.bin");
const CHROMIUM: &[u8] = include_bytes!("../../relay/tls/testdata/chromium.bin");
const RECORDED: [(&str, &[u8]); 3] = [
    ("ch3.zerto.com", OPENSSL),
    ("autologs.zerto.com", OPENSSL_TLS12),
    ("ch3.zerto.com", CHROMIUM),
];
/// A `change_cipher_spec` record, which clients send right behind their ClientHello.
const BEHIND: &[u8] = b"\x14\x03\x03\x00\x01\x01";
const UNRECOGNIZED_NAME: &[u8] = b"\x15\x03\x03\x00\x02\x02\x70";

async fn start(port: u16, client_hello: &str) -> Relay {
    Relay::start(&format!(
        "[[destination]]\nname = \"vendor\"\nhosts = [\"ch3.zerto.com\", \"autologs.zerto.com\"]\nports = [{port}]\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.0/8\"]\n{FAST}[timeouts]\nclient_hello = \"{client_hello}\"\n"
    ))
    .await
}

/// Against: a relay that judges only the first segment, or that changes what it has judged. The
/// ClientHello is cut anywhere, over segments and records. It arrives as it was sent, and the rest
/// behind it.
#[tokio::test]
async fn a_hello_in_pieces_arrives_unchanged() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let relay = start(port, "30s").await;
    let mut tunnels = 0;
    for (name, hello) in RECORDED {
        let mut ways = vec![segments(hello, 1), segments(hello, 7), vec![hello.to_vec()]];
        ways.extend((1..hello.len()).step_by(hello.len() / 9).map(|at| {
            let (head, tail) = hello.split_at(at);
            vec![head.to_vec(), tail.to_vec()]
        }));
        for size in [1, 2, 3, 4, 5, 100, 517] {
            let records = over_records(hello, size);
            ways.push(segments(&records, 1 << 10));
            ways.push(segments(&records, size + 4));
        }
        for pieces in ways {
            let mut stream = tunnel(relay.proxy, &format!("{name}:{port}"))
                .await
                .unwrap();
            stream.set_nodelay(true).unwrap();
            // Pause only here and there: the test stays quick, and each kind of cut still has its
            // pauses.
            let pause = pieces.len() / 4;
            for (n, piece) in pieces.iter().enumerate() {
                stream.write_all(piece).await.unwrap();
                if n % (pause + 1) == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            stream.write_all(BEHIND).await.unwrap();
            stream.shutdown().await.unwrap();
            let sent = [&pieces.concat(), BEHIND].concat();
            let received = server.receives(tunnels, sent.len()).await;
            assert!(received == sent, "{name} in {} pieces", pieces.len());
            tunnels += 1;
        }
    }
    assert_eq!(settled(&relay).await, tunnels);
    for record in relay
        .records()
        .iter()
        .filter(|record| record["event"] == "tunnel_closed")
    {
        assert_eq!(record["reason"], serde_json::Value::Null);
        assert_eq!(record["tls"]["sni"], record["target"]["host"]);
    }
}

/// Against: a tunnel for one name used for another, and protocols that aren't TLS on a port that is
/// for TLS. The destination receives nothing, not even early bytes.
#[tokio::test]
async fn what_is_not_allowed_to_be_said_is_not_passed_on() {
    let server = Plain::start(Manner::Greets(b"220 welcome\r\n")).await;
    let port = server.address.port();
    let patient = start(port, "30s").await;
    let hasty = start(port, "200ms").await;
    for (name, sent, reason) in forbidden() {
        let alert = match reason {
            "sni_mismatch" | "sni_missing" => UNRECOGNIZED_NAME,
            _ => b"",
        };
        let relay = if reason == "client_hello_timeout" {
            &hasty
        } else {
            &patient
        };
        for early in [false, true] {
            let n = relay.count_of(crate::support::relay::is_closing);
            let target = format!("{name}:{port}");
            let what = sent[..sent.len().min(40)].escape_ascii();
            let (mut stream, skip) = if early {
                let head = super::connect_head(&target);
                let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
                stream
                    .write_all(&[head, sent.clone()].concat())
                    .await
                    .unwrap();
                (stream, callhome_relay::http::answer::ESTABLISHED)
            } else {
                let mut stream = tunnel(relay.proxy, &target).await.unwrap();
                // A ClientHello over 16 KiB may be refused before all of it is sent.
                let _ = stream.write_all(&sent).await;
                (stream, &b""[..])
            };
            let said = read_to_end(&mut stream).await;
            assert_eq!(said.strip_prefix(skip), Some(alert), "{what}");
            let record = relay.closing(n).await;
            assert_eq!(record["event"], "tunnel_closed", "{what}");
            assert_eq!(record["reason"], reason, "{what}");
            assert_eq!(record["decision"], "deny", "{what}");
            assert_eq!(record["bytes_up"], 0, "{what}");
            assert_eq!(record["bytes_down"], 0, "{what}");
        }
    }
    settled(&patient).await;
    settled(&hasty).await;
    assert!(server.heard_nothing());
}

/// Lists what is sent in a tunnel to which name, and the reason to refuse it.
fn forbidden() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let nameless = replace(
        OPENSSL,
        b"\0\0\0\x12\0\x10\0\0\rch3.zerto.com",
        b"\x4a\x4a\0\x12\0\x10\0\0\rch3.zerto.com",
    );
    let nul = replace(OPENSSL, b"ch3.zerto.com", b"ch3.zerto\0com");
    let mut ends_early = OPENSSL.to_vec();
    ends_early[8] -= 1;
    let mut endless = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff".to_vec();
    endless.resize(20_000, 0);
    let mut cases = vec![
        ("autologs.zerto.com", OPENSSL.to_vec(), "sni_mismatch"),
        (
            "autologs.zerto.com",
            over_records(CHROMIUM, 40),
            "sni_mismatch",
        ),
        ("ch3.zerto.com", OPENSSL_TLS12.to_vec(), "sni_mismatch"),
        ("ch3.zerto.com", nul, "sni_mismatch"),
        ("ch3.zerto.com", nameless, "sni_missing"),
        ("ch3.zerto.com", ends_early, "not_tls"),
        ("ch3.zerto.com", endless, "not_tls"),
    ];
    let other_protocols: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nHost: ch3.zerto.com\r\n\r\n",
        b"CONNECT ch3.zerto.com:443 HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", // SSL 2
        b"\x17\x03\x03\x00\x05hello",                    // application data
        b"\x16\x03\x01\x00\x00\x16\x03\x01",             // an empty record
        b"\x16\x03\x01\xff\xff\x01",                     // a record that is too long
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",         // a ServerHello
        UNRECOGNIZED_NAME,
        BEHIND,
    ];
    let silences = [&b""[..], &OPENSSL[..1], &CHROMIUM[..CHROMIUM.len() - 1]];
    for (list, reason) in [
        (&other_protocols[..], "not_tls"),
        (&silences, "client_hello_timeout"),
    ] {
        cases.extend(
            list.iter()
                .map(|sent| ("ch3.zerto.com", sent.to_vec(), reason)),
        );
    }
    cases
}

fn segments(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

/// Returns the same handshake message in records of this many bytes (RFC 8446, 5.1).
fn over_records(hello: &[u8], size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for fragment in hello[5..].chunks(size) {
        let length = u16::try_from(fragment.len()).unwrap();
        records.extend_from_slice(&hello[..3]);
        records.extend_from_slice(&length.to_be_bytes());
        records.extend_from_slice(fragment);
    }
    records
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("found");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// Against: a client that makes its records long, so that old ones leave the trail sooner. Eight
/// protocols of 255 bytes each, which double when they are escaped, made lines of 8 KiB.
#[tokio::test]
async fn a_long_hello_makes_no_long_record() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let relay = start(port, "5s").await;
    let mut stream = tunnel(relay.proxy, &format!("ch3.zerto.com:{port}"))
        .await
        .unwrap();
    stream.write_all(&hello_with_protocols()).await.unwrap();
    drop(stream);
    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed", "{record}");
    assert_eq!(record["tls"]["sni"], "ch3.zerto.com");
    let text = std::fs::read_to_string(relay.trail()).unwrap();
    let closing = text.lines().find(|line| line.contains("\"tunnel_closed\""));
    let length = closing.unwrap().len();
    assert!(length <= 2048, "{length} bytes");
    settled(&relay).await;
}

fn hello_with_protocols() -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length, bytes].concat()
    };
    let extension = |number: u8, data: &[u8]| [&[0, number][..], &sized(data)].concat();
    let name = [&[0][..], &sized(b"ch3.zerto.com")].concat();
    let protocols = [&[255][..], &[b'\\'; 255]].concat().repeat(8);
    let extensions = [
        extension(0, &sized(&name)),
        extension(16, &sized(&protocols)),
    ];
    let body = [
        b"\x03\x03",
        &[7; 32][..],
        b"\0\0\x02\x13\x01\x01\0",
        &sized(&extensions.concat()),
    ]
    .concat();
    let message = [b"\x01\0", &sized(&body)[..]].concat();
    [b"\x16\x03\x01", &sized(&message)[..]].concat()
}
