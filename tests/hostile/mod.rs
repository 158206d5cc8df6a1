//! Attacks on a running relay, by a client, by a name server, by a destination. Each test's comment
//! names the attack.

mod early;
mod garbage;
mod heads;
mod hello;
mod leaks;
mod leaving;
mod loops;
mod plain;
mod rebinding;
mod reload;
mod slow;
mod storm;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::relay::{Relay, is_closing};
use crate::support::tls::digest;

/// The usual rate would be in the way, because one address sends very many requests here.
const FAST: &str = "[limits]\nrate_per_client = \"100000/s\"\n";

/// Returns a destination named "plain" for `host`, which speaks no TLS, on loopback at `port`.
fn plain_destination(host: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"plain\"\nhosts = [\"{host}\"]\nports = [{port}]\nsni = \"any\"\ntls_only = false\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.1\"]\n"
    )
}

fn connect_head(target: &str) -> Vec<u8> {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes()
}

/// Connects from an address of loopback's /8, so that the relay sees another client.
async fn connect_from(source: [u8; 4], relay: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(relay).await.unwrap()
}

/// Closes by a reset.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

/// Reads until the end of the connection. A reset counts as an end.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = timeout(PATIENCE, stream.read(&mut chunk))
        .await
        .expect("an end in time")
    {
        bytes.extend_from_slice(&chunk[..count]);
    }
    bytes
}

/// Returns the value of a metric without labels.
async fn metric(admin: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("callhome_relay_{name} ")));
    value
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// Waits until a counter has at least this value.
async fn metric_reaches(admin: SocketAddr, name: &str, wanted: u64) {
    let reached = timeout(PATIENCE, async {
        while metric(admin, name).await < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "{name} stays below {wanted}");
}

/// Waits until a metric has this value.
async fn metric_becomes(admin: SocketAddr, name: &str, wanted: u64) {
    let mut last = 0;
    let reached = timeout(PATIENCE, async {
        loop {
            last = metric(admin, name).await;
            if last == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "{name} is {last}, not {wanted}");
}

/// Waits until nothing is open, and checks that nothing went wrong: no session panicked, each has
/// one closing record, and the trail is whole. Returns the number of sessions.
async fn settled(relay: &Relay) -> usize {
    metric_becomes(relay.admin, "connections_open", 0).await;
    metric_becomes(relay.admin, "tunnels_open", 0).await;
    assert_eq!(metric(relay.admin, "session_panics_total").await, 0);
    relay.reload_same().await;
    check_chain(&relay.trail());
    let sessions = sessions(&relay.records());
    for (id, events) in &sessions {
        let closing = events.iter().filter(|event| is_closing_word(event)).count();
        assert_eq!(closing, 1, "{id}: {events:?}");
        let opened = events
            .iter()
            .filter(|event| *event == "tunnel_opened")
            .count();
        let closed = events
            .iter()
            .filter(|event| *event == "tunnel_closed")
            .count();
        assert_eq!(opened, closed, "{id}: {events:?}");
    }
    sessions.len()
}

/// Returns the events of each session, in their order.
fn sessions(records: &[Value]) -> HashMap<String, Vec<String>> {
    let mut sessions: HashMap<String, Vec<String>> = HashMap::new();
    for record in records {
        if let Some(id) = record["session"].as_str() {
            let event = record["event"].as_str().unwrap().to_owned();
            sessions.entry(id.to_owned()).or_default().push(event);
        }
    }
    sessions
}

fn is_closing_word(event: &str) -> bool {
    is_closing(&serde_json::json!({ "event": event }))
}

/// Verifies the trail from its raw bytes alone: one JSON object a line, printable, numbered, and
/// chained.
fn check_chain(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap();
    let mut previous = "0".repeat(64);
    for (seq, line) in (1_u64..).zip(bytes[..end].split(|byte| *byte == b'\n')) {
        let text = std::str::from_utf8(line).unwrap();
        assert!(
            line.iter().all(|byte| matches!(byte, b' '..=b'~')),
            "{text}"
        );
        let record: Value = serde_json::from_str(text).unwrap();
        assert_eq!(record["seq"], seq, "{text}");
        assert_eq!(record["prev"], previous.as_str(), "{text}");
        let at = text.rfind(",\"hash\":").unwrap();
        assert_eq!(record["hash"], digest(&line[..at]).as_str(), "{text}");
        previous = record["hash"].as_str().unwrap().to_owned();
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
