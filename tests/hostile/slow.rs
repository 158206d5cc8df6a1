//! Clients that take their time, and clients that take too much.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::client::{answer, ask, tunnel};
use crate::support::relay::Relay;

use super::plain::{Manner, Plain};
use super::{
    FAST, connect_from, connect_head, metric, metric_becomes, plain_destination, read_to_end,
    settled,
};

/// Against: slowloris. The timeout covers the whole head, so sending it drop by drop gains nothing.
#[tokio::test]
async fn a_dribbling_head_is_given_up() {
    let relay = Relay::start(&format!("{FAST}[timeouts]\nrequest_head = \"300ms\"\n")).await;
    let start = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(relay.proxy).await.unwrap().into_split();
    let dribble = tokio::spawn(async move {
        for byte in connect_head("denied.example:443")
            .into_iter()
            .chain(std::iter::repeat(b'x'))
        {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut said)
        .await
        .unwrap();
    let took = start.elapsed();
    dribble.abort();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 408 request_timeout\r\n"),
        "{said}"
    );
    assert!((300..5000).contains(&took.as_millis()), "{took:?}");
    let record = relay.closing(0).await;
    assert_eq!(record["reason"], "request_timeout");
    let raw = record["target"]["raw"].as_str().unwrap();
    assert!("denied.example:443".starts_with(raw), "{raw}");

    // A client that sends nothing at all leaves no record.
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"");
    drop((stream, reader));
    assert_eq!(settled(&relay).await, 1);
    assert_eq!(metric(relay.admin, "connections_silent_total").await, 1);
}

/// Against: one client that takes all connections. It gets exactly its share, and others don't
/// notice.
#[tokio::test]
async fn idle_connections_are_capped_per_client() {
    let relay =
        Relay::start("[limits]\nconnections_per_client = 7\nrate_per_client = \"100000/s\"\n")
            .await;
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(TcpStream::connect(relay.proxy).await.unwrap());
    }
    metric_becomes(relay.admin, "connections_open", 7).await;
    for _ in 0..3 {
        let answer = ask(relay.proxy, b"").await;
        assert_eq!(
            (answer.status, answer.phrase.as_str()),
            (503, "at_capacity")
        );
        assert_eq!(answer.field("Retry-After"), Some("5"));
    }
    let mut other = connect_from([127, 0, 0, 2], relay.proxy).await;
    other
        .write_all(&connect_head("denied.example:443"))
        .await
        .unwrap();
    assert_eq!(answer(&mut other).await.phrase, "destination_not_allowed");

    // All seven are still served, and each that goes makes room for exactly one.
    let mut first = held.remove(0);
    first
        .write_all(&connect_head("denied.example:443"))
        .await
        .unwrap();
    assert_eq!(answer(&mut first).await.status, 403);
    drop((first, other));
    metric_becomes(relay.admin, "connections_open", 6).await;
    held.push(TcpStream::connect(relay.proxy).await.unwrap());
    metric_becomes(relay.admin, "connections_open", 7).await;
    assert_eq!(ask(relay.proxy, b"").await.status, 503);
    drop(held);
    assert_eq!(settled(&relay).await, 2);
    assert_eq!(
        metric(relay.admin, "connections_turned_away_total").await,
        4
    );
}

/// Against: one client that takes all tunnels.
#[tokio::test]
async fn tunnels_are_capped_per_client() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let limits = "[limits]\ntunnels_per_client = 3\nrate_per_client = \"100000/s\"\n";
    let relay = Relay::start(&format!(
        "{}{limits}",
        plain_destination("plain.example", port)
    ))
    .await;
    let target = format!("plain.example:{port}");
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tunnel(relay.proxy, &target).await.unwrap());
    }
    let refused = tunnel(relay.proxy, &target).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.phrase.as_str()),
        (503, "at_capacity")
    );
    let mut other = connect_from([127, 0, 0, 2], relay.proxy).await;
    other.write_all(&connect_head(&target)).await.unwrap();
    assert_eq!(answer(&mut other).await.status, 200);
    drop((held.pop(), other));
    metric_becomes(relay.admin, "tunnels_open", 2).await;
    held.push(tunnel(relay.proxy, &target).await.unwrap());
    assert_eq!(tunnel(relay.proxy, &target).await.unwrap_err().status, 503);
    drop(held);
    assert_eq!(settled(&relay).await, 7);
}

/// Against: one client that keeps the relay busy with requests, refused ones too. Its burst is
/// exactly twice its rate, and others don't notice.
#[tokio::test]
async fn requests_are_rated_per_client() {
    let relay = Relay::start("[limits]\nrate_per_client = \"4/h\"\n").await;
    let mut statuses = Vec::new();
    for head in ["denied.example:443", "mal formed"].iter().cycle().take(12) {
        statuses.push(ask(relay.proxy, &connect_head(head)).await.status);
    }
    assert_eq!(statuses[..8], [403, 400, 403, 400, 403, 400, 403, 400]);
    assert_eq!(
        statuses[8..],
        [429, 400, 429, 400],
        "what is malformed is told so in any case"
    );
    let mut other = connect_from([127, 0, 0, 2], relay.proxy).await;
    other
        .write_all(&connect_head("denied.example:443"))
        .await
        .unwrap();
    assert_eq!(answer(&mut other).await.status, 403);
    drop(other);
    // Of the four beyond the rate the first has its own record. The others are counted together.
    assert_eq!(settled(&relay).await, 10);
}
