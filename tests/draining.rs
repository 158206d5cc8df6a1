//! SIGTERM: the port is closed, open tunnels may end by themselves, and those that don't are ended.

use callhome_relay::app::Instruction;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::Relay;

struct Open {
    relay: Relay,
    client: TcpStream,
    upstream: TcpStream,
}

impl Open {
    async fn with(keys: &str) -> Self {
        let server = PlainServer::start().await;
        let relay = Relay::start(&format!("{keys}{}", server.destination("a.example"))).await;
        let target = format!("a.example:{}", server.address.port());
        let client = client::tunnel(relay.proxy, &target).await.unwrap();
        Self {
            relay,
            client,
            upstream: server.accept().await,
        }
    }
}

/// Returns the last record before the checkpoint that seals it.
fn stopped(relay: &Relay) -> Value {
    let mut records = relay.records();
    records.retain(|record| record["event"] != "checkpoint");
    let last = records.pop().unwrap();
    assert_eq!(last["event"], "relay_stopped", "{last}");
    last["data"].clone()
}

#[tokio::test]
async fn a_tunnel_may_finish() {
    let mut open = Open::with("").await;
    open.relay.command(Instruction::Stop).await;
    open.relay.until_metric("callhome_relay_draining", 1).await;
    let ready = client::get(open.relay.admin, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("draining"), "{ready:?}");

    open.client.write_all(b"the end").await.unwrap();
    open.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut open.upstream).await, b"the end");
    drop(open.upstream);
    assert_eq!(read_to_end(&mut open.client).await, b"");
    open.relay.stop().await;
    assert_eq!(open.relay.closing(0).await["closed_by"], "client");
    assert_eq!(stopped(&open.relay)["tunnels_cut"], 0);
}

#[tokio::test]
async fn a_tunnel_that_goes_on_is_ended_in_time() {
    let mut open = Open::with("[timeouts]\ndrain = \"100ms\"\n").await;
    open.client.write_all(b"a").await.unwrap();
    open.relay.stop().await;
    assert_eq!(read_to_end(&mut open.upstream).await, b"a");
    assert_eq!(read_to_end(&mut open.client).await, b"");
    let record = open.relay.closing(0).await;
    assert_eq!(record["closed_by"], "shutdown");
    assert_eq!(record["outcome"], "closed");
    assert_eq!(record["bytes_up"], 1);
    assert_eq!(stopped(&open.relay)["tunnels_cut"], 1);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut open = Open::with("[timeouts]\ndrain = \"1h\"\n").await;
    open.relay.command(Instruction::Stop).await;
    open.relay.command(Instruction::End).await;
    open.relay.stop().await;
    assert_eq!(read_to_end(&mut open.client).await, b"");
    assert_eq!(open.relay.closing(0).await["closed_by"], "shutdown");
    assert_eq!(stopped(&open.relay)["tunnels_cut"], 1);
}

/// Between the signal and the closing of the port a load balancer has time to notice, so clients
/// are still served.
#[tokio::test]
async fn a_connection_that_comes_while_it_is_announced_is_served() {
    let mut open = Open::with("[timeouts]\ndrain = \"0s\"\n").await;
    open.relay.command(Instruction::Drain).await;
    open.relay.until_metric("callhome_relay_draining", 1).await;
    let head = client::connect("elsewhere.example:443");
    let answer = client::ask(open.relay.proxy, head.as_bytes()).await;
    assert_eq!(answer.phrase, "destination_not_allowed");
    open.relay.stop().await;
    assert_eq!(stopped(&open.relay)["tunnels_cut"], 1);
}
