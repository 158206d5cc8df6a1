//! Ways back to the relay through a translator of addresses, which the relay can't see.

use serde_json::Value;

use crate::foreign::tools;
use crate::namespace;
use crate::support::client::dial_from;
use crate::support::command::Serving;
use crate::support::sni::{CLIENT, HOST, is_refused, listener_at, vendor};

/// The translator sends back to the relay what the relay dials.
#[test]
fn a_translator_that_the_relay_does_not_know() {
    tools::need(&["ip", "nft"]);
    let prepare = "\
        ip link set lo up
        ip address add 10.9.9.1/24 dev lo
        ip address add 10.9.9.77/24 dev lo
        ip route add 203.0.113.0/24 dev lo src 10.9.9.1
        nft add table ip loop
        nft 'add chain ip loop out { type nat hook output priority -100 ; }'
        nft add rule ip loop out ip daddr 203.0.113.1 tcp dport 443 dnat to 10.9.9.1:8443";
    namespace::run_test(&["--net"], prepare, "loops::seen_by_its_source");

    // This one also replaces the source address.
    let source = "\
        nft 'add chain ip loop post { type nat hook postrouting priority 100 ; }'
        nft add rule ip loop post ip daddr 10.9.9.1 tcp dport 8443 ct status dnat snat to 10.9.9.77";
    let prepare = format!("{prepare}\n{source}");
    namespace::run_test(&["--net"], &prepare, "loops::seen_by_its_hello");
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

/// Tries it with an inventory in which the relay itself isn't.
async fn comes_back(how: &str) {
    let keys = format!(
        "hosts = []\n{}{}[[client]]\nname = \"zvm\"\nsources = [\"{CLIENT}\"]\n[audit]\ndirectory = \"AUDIT\"\n",
        listener_at("0.0.0.0:8443", 443),
        vendor("203.0.113.1", "203.0.113.0/24", 443)
    );
    let directory = tempfile::tempdir().unwrap();
    let keys = keys.replace("AUDIT", &directory.path().display().to_string());
    let relay = Serving::start(&keys);
    is_refused(dial_from(CLIENT, "127.0.0.1:8443".parse().unwrap()).await).await;
    // An operator finds it in the log, too.
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
