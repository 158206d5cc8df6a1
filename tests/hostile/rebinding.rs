//! Names that resolve to where they shouldn't.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use callhome_relay::policy::{Access, SPECIAL_BLOCKS, classify};
use hickory_resolver::proto::rr::RecordType;
use ipnet::IpNet;

use crate::support::client::{ask, tunnel};
use crate::support::dns::{NameServer, Script, parse};
use crate::support::relay::Relay;

use super::plain::{Manner, Plain};
use super::{FAST, connect_head, settled};

/// Keeps answers for a moment only, so that the next request asks again.
fn forgetful(dns: &NameServer) -> String {
    format!(
        "{FAST}[dns]\nservers = [\"{}\"]\nmin_ttl = \"1ms\"\nserve_stale = \"1ms\"\nnat64_prefixes = [\"{NAT64}\"]\n",
        dns.address
    )
}

fn plain_rules(port: u16, hosts: &str, more: &str) -> String {
    format!(
        "[[destination]]\nname = \"d\"\nhosts = [\"{hosts}\"]\nports = [{port}]\nsni = \"any\"\ntls_only = false\n{more}\n"
    )
}

/// Against: DNS rebinding. The name is allowed and its first answer was fine, but its next one is
/// an inside address.
#[tokio::test]
async fn an_answer_is_judged_anew_at_every_use() {
    let dns = NameServer::start().await;
    let inside = Plain::start(Manner::Listens).await;
    let port = inside.address.port();
    let outside = Plain::at(([127, 0, 0, 2], port).into(), Manner::Echoes).await;
    let rules = plain_rules(port, "rebind.example", "ip_ranges = [\"127.0.0.2\"]");
    let relay = Relay::start(&format!("{rules}{}", forgetful(&dns))).await;
    let target = format!("rebind.example:{port}");

    dns.addresses("rebind.example", &["127.0.0.2"], 0);
    drop(tunnel(relay.proxy, &target).await.unwrap());
    assert_eq!(relay.closing(0).await["target"]["address"], "127.0.0.2");

    for inner in [
        "127.0.0.1",
        "127.0.0.3",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2001:db8:64::127.0.0.1",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
    ] {
        dns.addresses("rebind.example", &[inner], 0);
        // The answer before may still be valid for its millisecond.
        let asked = || dns.queries("rebind.example", RecordType::A);
        let before = asked();
        let answer = loop {
            let answer = tunnel(relay.proxy, &target).await;
            if asked() > before {
                break answer.expect_err(inner);
            }
        };
        assert_eq!(answer.status, 403, "{inner}");
        assert_eq!(answer.phrase, "address_not_allowed", "{inner}");
        assert!(!answer.body.contains(inner), "the client learns no address");
        let told = |record: &serde_json::Value| {
            let error = record["error"].as_str().unwrap_or_default();
            error.contains(&inner.parse::<IpAddr>().unwrap().to_string())
        };
        let record = relay.record(told).await;
        assert_eq!(record["reason"], "address_not_allowed");
        assert_eq!(record["decision"], "deny");
        assert_eq!(record["destination"], "d");
    }

    // Beside a permitted address they are left out, and only the permitted one is dialled.
    let mixed = [
        "127.0.0.1",
        "127.0.0.2",
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
    ];
    dns.addresses("rebind.example", &mixed, 0);
    let opened = outside.connections();
    while outside.connections() == opened {
        let _ = tunnel(relay.proxy, &target).await;
    }
    settled(&relay).await;
    assert_eq!(inside.connections(), 0);
}

/// Against: an alias that leads from an allowed name into the inside.
#[tokio::test]
async fn an_alias_leads_nowhere_else() {
    let dns = NameServer::start().await;
    let inside = Plain::start(Manner::Listens).await;
    let port = inside.address.port();
    let relay = Relay::start(&format!(
        "{}{}",
        plain_rules(port, "alias.example", ""),
        forgetful(&dns)
    ))
    .await;
    let target = format!("localhost.{}", "inside.example");
    dns.addresses(&target, &["127.0.0.1", "::1"], 60);
    dns.script("alias.example", Script::Cname { target, ttl: 60 });
    let answer = ask(relay.proxy, &connect_head(&format!("alias.example:{port}"))).await;
    assert_eq!(
        (answer.status, answer.phrase.as_str()),
        (403, "address_not_allowed")
    );
    settled(&relay).await;
    assert_eq!(inside.connections(), 0);
}

/// Against: reaching a special-purpose network through an allowed name, also hidden in a v4-mapped,
/// NAT64 or 6to4 address. A range wider than those networks opens none of them.
#[tokio::test]
async fn no_special_purpose_network_is_reached_by_a_name() {
    for ranges in ["", "ip_ranges = [\"0.0.0.0/0\", \"::/0\"]"] {
        let dns = NameServer::start().await;
        let relay = Relay::start(&format!(
            "{}{}",
            plain_rules(443, "*.special.example", ranges),
            forgetful(&dns)
        ))
        .await;
        let mut refused = 0;
        for (n, row) in SPECIAL_BLOCKS.iter().enumerate() {
            if row.class.access() == Access::Open {
                continue;
            }
            let name = format!("n{n}.special.example");
            let mut addresses = Vec::new();
            for address in ends(row.block) {
                addresses.push(address);
                if let IpAddr::V4(hidden) = address {
                    addresses.extend(hiding_places(hidden));
                }
            }
            // A test sends packets to loopback only, even when it fails for another reason.
            addresses.retain(|address| {
                classify(*address, &[NAT64.parse().unwrap()]).access() != Access::Open
            });
            assert!(!addresses.is_empty(), "{row}");
            dns.script(&name, Script::Addresses { addresses, ttl: 60 });
            let answer = ask(relay.proxy, &connect_head(&format!("{name}:443"))).await;
            assert_eq!(
                (answer.status, answer.phrase.as_str()),
                (403, "address_not_allowed"),
                "{row}"
            );
            refused += 1;
        }
        assert_eq!(settled(&relay).await, refused);
        assert!(refused > 40);
    }
}

/// Against: the same by literal addresses, which need no name server.
#[tokio::test]
async fn no_special_purpose_network_is_reached_by_a_literal() {
    let inside = Plain::start(Manner::Listens).await;
    let port = inside.address.port();
    let dns = NameServer::start().await;
    let more = "ip_ranges = [\"0.0.0.0/0\", \"2000::/3\"]";
    let relay = Relay::start(&format!(
        "{}{}",
        plain_rules(port, "billing.example", more),
        forgetful(&dns)
    ))
    .await;
    let mut addresses = parse(&[
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "10.0.0.1",
    ]);
    addresses.extend(hiding_places(Ipv4Addr::LOCALHOST));
    addresses.extend(hiding_places([169, 254, 169, 254].into()));
    for address in addresses {
        let target = std::net::SocketAddr::new(address, port);
        let answer = ask(relay.proxy, &connect_head(&target.to_string())).await;
        assert_eq!(answer.status, 403, "{target}");
        let policy = ["destination_not_allowed", "address_not_allowed"];
        assert!(
            policy.contains(&answer.phrase.as_str()),
            "{target}: {answer:?}"
        );
    }
    settled(&relay).await;
    assert_eq!(inside.connections(), 0);
}

/// Returns the first and the last address of a block.
fn ends(block: IpNet) -> [IpAddr; 2] {
    [block.network(), block.broadcast()]
}

fn hiding_places(hidden: Ipv4Addr) -> Vec<IpAddr> {
    let bits = hidden.to_bits();
    let below = |prefix: &str| {
        let prefix: Ipv6Addr = prefix.parse().unwrap();
        IpAddr::from(Ipv6Addr::from_bits(prefix.to_bits() | u128::from(bits)))
    };
    let (nat64, _) = NAT64.split_once('/').unwrap();
    let six_to_four = 0x2002 << 112 | u128::from(bits) << 80 | 1;
    vec![
        below("::ffff:0:0"),
        below("::"),
        below("64:ff9b::"),
        below("64:ff9b:1::"),
        below(nat64),
        Ipv6Addr::from_bits(six_to_four).into(),
    ]
}

const NAT64: &str = "2001:db8:64::/96";
