//! Requests that are refused because they are too many or too late.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Row, assert_says};
use crate::support::client::{self, ask, ask_from, connect};
use crate::support::plain::PlainServer;
use crate::support::relay::{Relay, is_closing};
use callhome_relay::app::Instruction;

pub(super) async fn rate_limited(row: &Row) {
    let relay = Relay::start(
        "[limits]\nrate_per_client = \"3/m\"\n[clients]\nunlisted = \"any\"\n\
         [[client]]\nname = \"busy\"\nsources = [\"127.0.0.9\"]\nlimits = { rate = \"1/m\" }\n",
    )
    .await;
    let head = connect("a.example:443");
    let asks = async |source| ask_from(source, relay.proxy, head.as_bytes()).await;
    // The burst is twice the rate, and refusals count towards it.
    for (source, burst) in [("127.0.0.1", 6), ("127.0.0.9", 2)] {
        for _ in 0..burst {
            assert_eq!(asks(source).await.status, 403);
        }
        let record = row.check(&relay, &asks(source).await).await;
        assert_eq!(record["client"]["address"], source);
        assert_eq!(record["target"]["raw"], "a.example:443");
        // Further refusals are counted together.
        assert_eq!(asks(source).await.status, 429);
    }
    // Another client has its own rate.
    assert_eq!(asks("127.0.0.2").await.status, 403);
}

pub(super) async fn at_capacity(row: &Row) {
    let server = PlainServer::start().await;
    let port = server.address.port();
    let relay = Relay::start(&format!(
        "[limits]\ntunnels = 4\ntunnels_per_client = 2\ninventory_reserve = \"25%\"\n\
         [clients]\nunlisted = \"any\"\n\
         [[client]]\nname = \"listed\"\nsources = [\"127.0.0.9\"]\nlimits = {{ tunnels = 1 }}\n\
         [[client]]\nname = \"wide\"\nsources = [\"127.0.0.10\"]\n{}",
        server.destination("a.example")
    ))
    .await;
    let target = format!("a.example:{port}");
    let asks = async |source: &str| {
        let mut stream = client::dial_from(source, relay.proxy).await;
        stream.write_all(connect(&target).as_bytes()).await.unwrap();
        let answer = client::answer(&mut stream).await;
        (answer, stream)
    };
    let mut open = Vec::new();
    let mut opens = async |source: &str| {
        let (answer, stream) = asks(source).await;
        assert_eq!(answer.status, 200, "{source}: {answer:?}");
        open.push((stream, server.accept().await));
    };
    let refuses = async |source: &str, limit: &str| {
        let (answer, _stream) = asks(source).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["destination"], "upstream");
        assert_eq!(
            record["target"]["address"],
            Value::Null,
            "nobody was dialled"
        );
        assert_says(&record, limit);
    };
    opens("127.0.0.1").await;
    opens("127.0.0.1").await;
    refuses("127.0.0.1", "this client").await;
    opens("127.0.0.2").await;
    refuses("127.0.0.3", "inventory_reserve").await;
    opens("127.0.0.9").await;
    refuses("127.0.0.10", "[limits] tunnels").await;

    // A tunnel that ends frees a slot for its client.
    let (stream, upstream) = open.remove(0);
    drop((stream, upstream));
    relay
        .record(|record| record["event"] == "tunnel_closed")
        .await;
    refuses("127.0.0.9", "this client").await;
    let (answer, _stream) = asks("127.0.0.2").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Before a byte is read there is no session and so no record. The answer says "-", and a metric
/// counts it.
#[tokio::test]
async fn a_connection_too_many_is_answered_at_once() {
    let row = super::row("at_capacity");
    for per_client in [true, false] {
        let (connections, each) = if per_client { (4, 2) } else { (2, 2) };
        let relay = Relay::start(&format!(
            "[limits]\nconnections = {connections}\nconnections_per_client = {each}\n\
             tunnels = 1\ntunnels_per_client = 1\n"
        ))
        .await;
        let held = [
            TcpStream::connect(relay.proxy).await.unwrap(),
            TcpStream::connect(relay.proxy).await.unwrap(),
        ];
        relay
            .until_metric("callhome_relay_connections_open", 2)
            .await;
        // This client sends nothing and gets the answer all the same.
        let source = if per_client { "127.0.0.1" } else { "127.0.0.2" };
        let mut stream = client::dial_from(source, relay.proxy).await;
        let answer = client::answer(&mut stream).await;
        assert_eq!(row.check_answer(&answer, ""), "-");
        assert_eq!(
            relay
                .metric("callhome_relay_connections_turned_away_total")
                .await,
            1
        );
        drop(held);
        relay
            .until_metric("callhome_relay_connections_open", 0)
            .await;
        let answer = ask(relay.proxy, connect("a.example:443").as_bytes()).await;
        assert_eq!(answer.status, 403);
        relay.closing(0).await;
        assert_eq!(relay.count_of(is_closing), 1);
    }
}

/// The connection was accepted before the stop and asks after it.
pub(super) async fn draining(row: &Row) {
    let relay = Relay::start("[timeouts]\nrequest_head = \"5s\"\n").await;
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    relay
        .until_metric("callhome_relay_connections_open", 1)
        .await;
    relay.command(Instruction::Stop).await;
    until_refused(&relay).await;
    stream
        .write_all(connect("a.example:443").as_bytes())
        .await
        .unwrap();
    let record = row.check(&relay, &client::answer(&mut stream).await).await;
    assert_eq!(record["decision"], Value::Null, "policy wasn't asked");
    assert_eq!(record["target"]["host"], "a.example");
}

/// Waits until the port is closed.
async fn until_refused(relay: &Relay) {
    let start = std::time::Instant::now();
    while TcpStream::connect(relay.proxy).await.is_ok() {
        assert!(start.elapsed().as_secs() < 5, "the port is still open");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
