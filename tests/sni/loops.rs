//! Ways back to the relay: a name server that has its address for a host, and translators that it knows nothing of.

use std::process::Command;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{CLIENT, HOST, hello_for, listener, listener_at};
use crate::support::client::{dial_from, own_address};
use crate::support::command::Serving;
use crate::support::plain::read_to_end;
use crate::support::relay::{Relay, is_closing};

fn destination(address: &str, ranges: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"vendor\"\nhosts = [\"{HOST}\"]\nports = [{port}]\naddresses = [\"{address}\"]\n\
         ip_ranges = [\"{ranges}\"]\n"
    )
}

/// Sends a ClientHello, and expects to be told that there is no such name here.
async fn is_refused(mut stream: TcpStream) {
    stream.write_all(&hello_for(HOST.as_bytes())).await.unwrap();
    assert_eq!(
        read_to_end(&mut stream).await,
        b"\x15\x03\x03\x00\x02\x02\x70"
    );
}

#[tokio::test]
async fn the_relay_is_not_dialled_by_an_address_that_it_knows() {
    // Of an interface, with the listener's own port; and published, whatever its port.
    let own = own_address(1).to_string();
    let interface = format!(
        "{}{}",
        listener_at(&format!("{own}:8443"), 8443),
        destination(&own, "127.0.0.0/8", 8443)
    );
    let published = format!(
        "{}{}[policy]\nself_addresses = [\"{own}\"]\n",
        listener(443),
        destination(&own, "127.0.0.0/8", 443)
    );
    for keys in [interface, published] {
        let relay = Relay::start(&keys).await;
        is_refused(dial_from(CLIENT, relay.proxy).await).await;
        let record = relay.closing(0).await;
        assert_eq!(record["reason"], "loop_detected", "{record}");
        assert_eq!(record["decision"], "deny");
        assert_eq!(
            record["target"]["address"],
            Value::Null,
            "nothing was dialled"
        );
        assert_eq!(relay.count_of(is_closing), 1);
    }
}

/// Neither relay has an address of its own in the way, and still what was sent comes back to the first.
#[tokio::test]
async fn two_relays_in_a_circle_see_the_same_hello_again() {
    let (address, next) = (own_address(2).to_string(), own_address(3).to_string());
    let to = |own: &str, other: &str| {
        format!(
            "{}{}",
            listener_at(&format!("{own}:8443"), 8443),
            destination(other, "127.0.0.0/8", 8443)
        )
    };
    let one = Relay::start(&to(&address, &next)).await;
    let other = Relay::start(&to(&next, &address)).await;
    is_refused(dial_from(CLIENT, one.proxy).await).await;
    let refused = one.record(|it| it["event"] == "request_denied").await;
    assert_eq!(refused["reason"], "loop_detected", "{refused}");
    assert_eq!(refused["target"]["host"], HOST);
    assert!(refused["error"].as_str().unwrap().contains("already"));
    // Both tunnels are over with it, and there was no third.
    one.record(|it| it["event"] == "tunnel_closed").await;
    other.record(|it| it["event"] == "tunnel_closed").await;
    assert_eq!(
        (one.count_of(is_closing), other.count_of(is_closing)),
        (2, 1)
    );
}

/// A translator sends what the relay dials back to it. That takes one, so it runs in a network namespace; where none can be made,
/// as in most containers, it is not run.
#[test]
fn a_translator_that_the_relay_does_not_know() {
    if !in_namespace("true").status.success() {
        eprintln!("not run: no network namespace can be made here");
        return;
    }
    // The first keeps the source, the second doesn't.
    let source = "nft 'add chain ip loop post { type nat hook postrouting priority 100 ; }' && \
                  nft add rule ip loop post ip daddr 10.9.9.1 tcp dport 8443 ct status dnat snat to 10.9.9.77 && ";
    for (test, source) in [("seen_by_its_source", ""), ("seen_by_its_hello", source)] {
        let script = format!(
            "ip link set lo up && ip address add 10.9.9.1/24 dev lo && ip address add 10.9.9.77/24 dev lo && \
             ip route add 203.0.113.0/24 dev lo src 10.9.9.1 && \
             export PATH=\"$PATH:/usr/sbin\" && nft add table ip loop && \
             nft 'add chain ip loop out {{ type nat hook output priority -100 ; }}' && \
             nft add rule ip loop out ip daddr 203.0.113.1 tcp dport 443 dnat to 10.9.9.1:8443 && {source}\
             exec '{}' --exact --ignored --nocapture sni::loops::{test}",
            std::env::current_exe().unwrap().display()
        );
        let output = in_namespace(&script);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
#[ignore = "a_translator_that_the_relay_does_not_know runs this in a network namespace"]
async fn seen_by_its_source() {
    comes_back("the connection comes from this relay").await;
}

#[tokio::test]
#[ignore = "a_translator_that_the_relay_does_not_know runs this in a network namespace"]
async fn seen_by_its_hello() {
    comes_back("this ClientHello is passing through this relay already").await;
}

/// With an inventory, in which the relay itself isn't.
async fn comes_back(how: &str) {
    let keys = format!(
        "hosts = []\n{}{}[[client]]\nname = \"zvm\"\nsources = [\"{CLIENT}\"]\n[audit]\ndirectory = \"AUDIT\"\n",
        listener_at("0.0.0.0:8443", 443),
        destination("203.0.113.1", "203.0.113.0/24", 443)
    );
    let directory = tempfile::tempdir().unwrap();
    let keys = keys.replace("AUDIT", &directory.path().display().to_string());
    let relay = Serving::start(&keys);
    is_refused(dial_from(CLIENT, "127.0.0.1:8443".parse().unwrap()).await).await;
    // And it is said where somebody reads it.
    relay.wait_for("the relay has reached itself");
    let trail = directory.path().join("access.jsonl");
    let refused = loop {
        let text = std::fs::read_to_string(&trail).unwrap();
        if let Some(line) = text.lines().find(|it| it.contains("\"request_denied\"")) {
            break serde_json::from_str::<Value>(line).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(refused["reason"], "loop_detected", "{refused}");
    assert_eq!(refused["error"], how);
    assert_eq!(refused["target"]["host"], HOST);
}

fn in_namespace(script: &str) -> std::process::Output {
    Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", script])
        .output()
        .unwrap()
}
