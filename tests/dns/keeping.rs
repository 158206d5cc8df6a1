//! How long answers are kept, good ones and bad ones.

use std::time::{Duration, Instant};

use callhome_relay::dns::AddressSource;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::{NAME, NODATA, NXDOMAIN, SERVFAIL, found, impatient, pass, resolver};
use crate::support::dns::{NameServer, Script, name, parse};

#[tokio::test]
async fn both_families_come_together_and_are_kept_for_their_ttl() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1", "2001:db8::1", "192.0.2.2"], 60);
    let resolver = resolver(&server);
    let all = ["2001:db8::1", "192.0.2.1", "192.0.2.2"];
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&all, AddressSource::Dns)
    );
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&all, AddressSource::Cache)
    );
    assert_eq!(server.all_queries(), 2);
    pass(59).await;
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&all, AddressSource::Cache)
    );
    pass(1).await;
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&all, AddressSource::Dns)
    );
    assert_eq!(server.all_queries(), 4);
}

#[tokio::test]
async fn the_ttl_is_bounded_on_both_sides() {
    for (ttl, kept) in [(0, 5), (1 << 30, 300)] {
        let server = NameServer::start().await;
        server.addresses(NAME, &["192.0.2.1"], ttl);
        let resolver = resolver(&server);
        resolver.resolve(&name(NAME)).await.unwrap();
        // A server that rebinds the name is believed only after the TTL.
        server.addresses(NAME, &["127.0.0.1"], ttl);
        pass(kept - 1).await;
        let cached = resolver.resolve(&name(NAME)).await;
        assert_eq!(cached, found(&["192.0.2.1"], AddressSource::Cache), "{ttl}");
        pass(1).await;
        let renewed = resolver.resolve(&name(NAME)).await;
        assert_eq!(renewed, found(&["127.0.0.1"], AddressSource::Dns), "{ttl}");
    }
}

#[tokio::test]
async fn negative_answers_are_kept_too() {
    let server = NameServer::start().await;
    server.script("gone.example", Script::NoSuchName { ttl: 60 });
    server.addresses("empty.example", &[], 60);
    let resolver = resolver(&server);
    for (asked, failure, kept) in [("gone.example", NXDOMAIN, 60), ("empty.example", NODATA, 5)] {
        assert_eq!(resolver.resolve(&name(asked)).await, Err(failure.clone()));
        pass(kept - 1).await;
        assert_eq!(resolver.resolve(&name(asked)).await, Err(failure));
        assert_eq!(server.queries(asked, RecordType::A), 1, "{asked}");
        server.addresses(asked, &["192.0.2.1"], 60);
        pass(1).await;
        let renewed = resolver.resolve(&name(asked)).await;
        assert_eq!(renewed, found(&["192.0.2.1"], AddressSource::Dns));
    }
}

#[tokio::test]
async fn failures_are_not_kept() {
    let server = NameServer::start().await;
    server.script(NAME, Script::Rcode(ResponseCode::ServFail));
    let resolver = resolver(&server);
    assert_eq!(resolver.resolve(&name(NAME)).await, Err(SERVFAIL));
    assert_eq!(server.queries(NAME, RecordType::A), 1);
    server.addresses(NAME, &["192.0.2.1"], 60);
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&["192.0.2.1"], AddressSource::Dns)
    );
}

#[tokio::test]
async fn half_an_answer_does_but_is_not_kept_long() {
    let broken = [
        Script::Silence,
        Script::Rcode(ResponseCode::ServFail),
        Script::Garbage,
    ];
    for aaaa in broken {
        let server = NameServer::start().await;
        let a = Script::Addresses {
            addresses: parse(&["192.0.2.1"]),
            ttl: 300,
        };
        let script = Script::PerFamily {
            a: Box::new(a),
            aaaa: Box::new(aaaa.clone()),
        };
        server.script(NAME, script);
        let resolver = resolver(&server);
        let begin = Instant::now();
        let half = found(&["192.0.2.1"], AddressSource::Dns);
        assert_eq!(resolver.resolve(&name(NAME)).await, half, "{aaaa:?}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{aaaa:?}");

        server.addresses(NAME, &["192.0.2.1", "2001:db8::1"], 300);
        pass(5).await;
        let whole = found(&["2001:db8::1", "192.0.2.1"], AddressSource::Dns);
        assert_eq!(resolver.resolve(&name(NAME)).await, whole, "{aaaa:?}");
    }
}

#[tokio::test]
async fn an_expired_answer_serves_while_every_server_fails() {
    for broken in [
        Script::Silence,
        Script::Rcode(ResponseCode::Refused),
        Script::Garbage,
    ] {
        let server = NameServer::start().await;
        server.addresses(NAME, &["192.0.2.1"], 60);
        let resolver = impatient(&[server.address]);
        resolver.resolve(&name(NAME)).await.unwrap();
        server.script(NAME, broken.clone());
        pass(60).await;
        let stale = found(&["192.0.2.1"], AddressSource::Stale);
        assert_eq!(resolver.resolve(&name(NAME)).await, stale, "{broken:?}");

        // For a while no request waits for the servers again.
        let asked = server.all_queries();
        assert_eq!(resolver.resolve(&name(NAME)).await, stale, "{broken:?}");
        assert_eq!(server.all_queries(), asked);
        pass(5).await;
        assert_eq!(resolver.resolve(&name(NAME)).await, stale, "{broken:?}");
        assert!(server.all_queries() > asked);

        pass(3600).await;
        let result = resolver.resolve(&name(NAME)).await;
        assert!(result.is_err(), "{broken:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_gone_is_not_served_stale() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1"], 60);
    let resolver = resolver(&server);
    resolver.resolve(&name(NAME)).await.unwrap();
    server.script(NAME, Script::NoSuchName { ttl: 60 });
    pass(60).await;
    assert_eq!(resolver.resolve(&name(NAME)).await, Err(NXDOMAIN));
}
