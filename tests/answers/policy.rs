//! Requests that policy refuses: because of the client, the target, or the address it resolves to.

use serde_json::Value;

use super::{Row, assert_says};
use crate::support::client::{ask, ask_from, connect};
use crate::support::dns::NameServer;
use crate::support::plain::PlainServer;
use crate::support::relay::{Relay, upstream};

const CLIENTS: &str = "\
    [[client]]\nname = \"zvm-1\"\nrole = \"zvm\"\nsources = [\"127.0.0.2\"]\n\
    [[client]]\nname = \"zvm-2\"\nsources = [\"127.0.0.3\"]\ndestinations = [\"other\"]\n\
    [[destination]]\nname = \"other\"\nhosts = [\"other.example\"]\n";

pub(super) async fn client_not_allowed(row: &Row) {
    let relay = Relay::start(CLIENTS).await;
    let head = connect("Other.Example:443");
    let answer = ask_from("127.0.0.4", relay.proxy, head.as_bytes()).await;
    let record = row.check(&relay, &answer).await;
    assert_eq!(record["client"]["address"], "127.0.0.4");
    assert_eq!(record["client"]["name"], Value::Null);
    // The refusal comes after the head was read, so that the trail has target and destination.
    assert_eq!(record["target"]["raw"], "Other.Example:443");
    assert_eq!(record["destination"], "other");
    assert_says(&record, "127.0.0.4");
}

pub(super) async fn destination_not_allowed(row: &Row) {
    let keys = format!("{CLIENTS}{}", upstream("billing.example", 443));
    let relay = Relay::start(&keys).await;
    let ask_as = |source, target: &str| {
        let head = connect(target);
        async move { ask_from(source, relay.proxy, head.as_bytes()).await }
    };
    for target in [
        "elsewhere.example:443",
        // The apex, a parent, a child and a look-alike aren't on the list.
        "example:443",
        "a.billing.example:443",
        "billing.example.com:443",
        "203.0.113.1:443",
        "[2001:db8::1]:443",
        "[::ffff:203.0.113.1]:443",
    ] {
        let record = row.check(&relay, &ask_as("127.0.0.2", target).await).await;
        assert_eq!(record["client"]["name"], "zvm-1");
        assert_eq!(record["client"]["role"], "zvm");
        assert_eq!(record["destination"], Value::Null, "{record}");
        assert_eq!(record["target"]["port"], 443);
        assert_eq!(record["target"]["address"], Value::Null);
    }

    // The target is on the list but not for this client, so the record names the destination that
    // refused.
    let answer = ask_as("127.0.0.3", "billing.example:443").await;
    let record = row.check(&relay, &answer).await;
    assert_eq!(record["client"]["name"], "zvm-2");
    assert_eq!(record["destination"], "upstream");
    assert_says(&record, "other only");
}

pub(super) async fn port_not_allowed(row: &Row) {
    let relay = Relay::start(&upstream("billing.example", 443)).await;
    for target in ["billing.example:80", "billing.example:8443", "127.0.0.1:80"] {
        let answer = ask(relay.proxy, connect(target).as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["target"]["raw"], target);
        assert_eq!(record["destination"], "upstream");
    }
}

pub(super) async fn address_not_allowed(row: &Row) {
    let dns = NameServer::start().await;
    let relay = Relay::start(&format!(
        "[dns]\nservers = [\"{}\"]\n\
         [limits]\nrate_per_client = \"1000/s\"\n\
         [[destination]]\nname = \"open\"\nhosts = [\"*.open.example\"]\n\
         [[destination]]\nname = \"guarded\"\nhosts = [\"guarded.example\"]\nip_ranges = [\"203.0.113.0/24\", \"0.0.0.0/0\"]\n",
        dns.address
    ))
    .await;
    for (number, address) in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::1",
        "2001::1",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("n{number}.open.example");
        dns.addresses(&name, &[address], 60);
        let answer = ask(relay.proxy, connect(&format!("{name}:443")).as_bytes()).await;
        let record = row.check(&relay, &answer).await;
        assert_eq!(record["destination"], "open");
        assert_eq!(record["target"]["host"], name);
        assert_eq!(record["target"]["address_source"], "dns");
        assert_eq!(record["target"]["address"], Value::Null, "never dialled");
        assert!(record["dns_ms"].is_f64(), "{record}");
        assert_eq!(record["connect_ms"], Value::Null);
        assert_says(&record, address);
    }

    // A range as wide as the internet opens no special-purpose block.
    dns.addresses("guarded.example", &["127.0.0.1", "2001:db8::1"], 60);
    let answer = ask(relay.proxy, connect("guarded.example:443").as_bytes()).await;
    let record = row.check(&relay, &answer).await;
    assert_eq!(record["destination"], "guarded");
}

/// The relay refuses its own ports on each of its own addresses, under any name.
pub(super) async fn loop_detected(row: &Row) {
    let server = PlainServer::start().await;
    let relay = Relay::start("").await;
    for port in [relay.proxy.port(), relay.admin.port()] {
        let loaded = relay.reload(&upstream("self.example", port)).await;
        assert_eq!(loaded["event"], "config_loaded", "{loaded}");
        for host in ["self.example", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let answer = ask(relay.proxy, connect(&format!("{host}:{port}")).as_bytes()).await;
            let record = row.check(&relay, &answer).await;
            assert_eq!(record["destination"], "upstream");
            assert_eq!(record["connect_ms"], Value::Null, "never dialled");
        }
    }

    // An address that only the outside sees as the relay's has to be named in the file.
    let port = server.address.port();
    let keys = format!(
        "[policy]\nself_addresses = [\"127.0.0.1\"]\n{}",
        upstream("self.example", port)
    );
    relay.reload(&keys).await;
    let answer = ask(
        relay.proxy,
        connect(&format!("self.example:{port}")).as_bytes(),
    )
    .await;
    row.check(&relay, &answer).await;
}
