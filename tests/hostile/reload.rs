//! Configuration files that are wrong when they are read again.

use std::fmt::Write as _;

use crate::support::client::tunnel;
use crate::support::relay::Relay;

use super::plain::{Manner, Plain};
use super::{FAST, plain_destination, settled};

/// Mistakes, each of which makes a file unusable. `EVIL` is a destination that would widen what is
/// allowed.
const MISTAKES: &[&str] = &[
    "EVIL[broken",
    "EVIL= 1",
    "EVILunknown = 1",
    "EVIL[polciy]\nmode = \"enforce\"",
    "EVIL[policy]\nmode = \"report-only\"",
    "EVIL[policy]\nmode = \"report-only\"\nreport_only_until = 2999-01-01T00:00:00Z",
    "EVIL[policy]\nmode = \"off\"",
    "EVIL[clients]\nunlisted = \"everyone\"",
    "EVIL[timeouts]\nidle = \"10\"",
    "EVIL[timeouts]\nidle = 10",
    "EVIL[dns]\nservers = []",
    "EVIL[dns]\nservers = [\"dns.example\"]",
    "EVIL[dns]\nmin_ttl = \"10m\"",
    "EVIL[limits]\nconnections = 0",
    "EVIL[limits]\nconnections = 4000000000",
    "EVIL[limits]\ntunnels = 9000",
    "EVIL[log]\nlevel = \"debug\"",
    "EVIL[admin]\nbind = \"0.0.0.0:9090\"",
    "EVIL[[client]]\nname = \"c\"\nsources = []",
    "EVIL[[client]]\nname = \"c\"\nsources = [\"127.0.0.1/8\"]",
    "EVIL[[client]]\nname = \"c\"\nsources = [\"127.0.0.1\"]\ndestinations = [\"*e\"]",
    "EVIL[[client]]\nname = \"c\"\nsources = [\"127.0.0.1\"]\n[[client]]\nname = \"d\"\nsources = [\"127.0.0.1\"]",
    "EVILip_ranges = []",
    "EVILaddresses = [\"169.254.169.254\"]",
    "EVILip_ranges = [\"010.0.0.0/8\"]",
    "EVIL[[destination]]\nname = \"evil\"\nhosts = [\"other.example\"]",
    "EVIL[[destination]]\nname = \"more\"\nhosts = [\"*\"]",
    "EVIL[[destination]]\nname = \"more\"\nhosts = [\"*.com\"]",
    "EVIL[[destination]]\nname = \"more\"\nhosts = [\"evil.example\"]",
    "EVIL[[destination]]\nname = \"more\"\nhosts = [\"more.example\"]\nports = [0]",
    "EVIL[[destination]]\nname = \"more\"\nhosts = [\"more.example\"]\ntls_only = false",
    "EVIL\u{0}",
    "EVIL\"",
];

/// Against: a broken file that opens the relay, or shuts it. Whatever is wrong, everything stays as
/// it was.
#[tokio::test]
async fn a_broken_file_changes_nothing() {
    let server = Plain::start(Manner::Listens).await;
    let port = server.address.port();
    let rules = plain_destination("plain.example", port);
    let keys = format!("{rules}{FAST}");
    let relay = Relay::start(&keys).await;
    let evil = format!(
        "[[destination]]\nname = \"evil\"\nhosts = [\"evil.example\"]\nports = [{port}]\nsni = \"any\"\ntls_only = false\n"
    );
    let mut held = tunnel(relay.proxy, &format!("plain.example:{port}"))
        .await
        .unwrap();
    let policy = relay
        .record(|record| record["event"] == "tunnel_opened")
        .await["policy"]
        .clone();

    for mistake in MISTAKES {
        let broken = format!("{rules}{}\n", mistake.replace("EVIL", &evil));
        assert_eq!(
            relay.reload(&broken).await["event"],
            "config_rejected",
            "{mistake}"
        );
        is_unchanged(&relay, port, &policy).await;
    }
    // The whole file is cut anywhere behind the destination that widens it, or has a byte that
    // isn't UTF-8.
    let whole = format!("{evil}{keys}");
    let cut = whole.len() - rules.len() - FAST.len();
    for at in [cut + 5, cut + 20, whole.len() - 3] {
        let outcome = relay.reload_file(&whole[..at]).await;
        assert_eq!(outcome["event"], "config_rejected", "{at}");
        is_unchanged(&relay, port, &policy).await;
    }
    for gone in ["", "\u{feff}[", "name = \"a\"\nname = \"b\""] {
        let outcome = relay.reload_file(gone).await;
        assert_eq!(outcome["event"], "config_rejected", "{gone}");
        is_unchanged(&relay, port, &policy).await;
    }
    let mut noise = String::new();
    for n in 0..2000 {
        let _ = writeln!(noise, "[[destination]]\nname = \"n{n}\"\nhosts = [\"*\"]");
    }
    assert_eq!(relay.reload(&noise).await["event"], "config_rejected");
    is_unchanged(&relay, port, &policy).await;

    // The tunnel from before the reloads is still open.
    tokio::io::AsyncWriteExt::write_all(&mut held, b"still here")
        .await
        .unwrap();
    assert_eq!(server.receives(0, 10).await, b"still here");
    drop(held);
    assert_eq!(relay.reload(&keys).await["event"], "config_loaded");
    settled(&relay).await;
}

/// Checks that the answers are the same as before, under the same policy.
async fn is_unchanged(relay: &Relay, port: u16, policy: &serde_json::Value) {
    let decide = async |target: String| {
        tunnel(relay.proxy, &target)
            .await
            .map_or_else(|answer| answer.phrase, |_| "200".to_owned())
    };
    assert_eq!(decide(format!("plain.example:{port}")).await, "200");
    assert_eq!(
        decide(format!("evil.example:{port}")).await,
        "destination_not_allowed"
    );
    assert_eq!(
        decide("plain.example:1".to_owned()).await,
        "port_not_allowed"
    );
    let records = relay.records();
    for record in records.iter().filter(|record| record["policy"].is_string()) {
        assert_eq!(&record["policy"], policy);
    }
}
