//! Answers in every form that servers give them.

use std::time::Duration;

use callhome_relay::dns::{AddressSource, LookupError};
use hickory_resolver::proto::rr::RecordType;
use tokio::time::timeout;

use super::{NAME, NODATA, NXDOMAIN, found, impatient, pass, resolver};
use crate::support::dns::{NameServer, Script, name, parse};

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let server = NameServer::start().await;
    let many: Vec<String> = (0..=255).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let addresses = parse(&many);
    server.script(NAME, Script::Truncated { addresses, ttl: 60 });
    let resolver = resolver(&server);
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&many, AddressSource::Dns)
    );
    assert_eq!(server.queries_over_tcp(), 2);
}

#[tokio::test]
async fn aliases_are_followed_to_their_end() {
    let server = NameServer::start().await;
    let cname = |target: &str, ttl| Script::Cname {
        target: target.to_owned(),
        ttl,
    };
    let bare = |target: &str, ttl| Script::BareCname {
        target: target.to_owned(),
        ttl,
    };
    server.addresses("end.example", &["192.0.2.1", "2001:db8::1"], 100);
    server.script("whole.example", cname("mid.example", 50));
    server.script("mid.example", cname("end.example", 20));
    server.script("bare.example", bare("bare-mid.example", 20));
    server.script("bare-mid.example", bare("end.example", 50));
    let resolver = resolver(&server);
    for asked in ["whole.example", "bare.example"] {
        let all = ["2001:db8::1", "192.0.2.1"];
        assert_eq!(
            resolver.resolve(&name(asked)).await,
            found(&all, AddressSource::Dns),
            "{asked}"
        );
        // The shortest TTL of the chain counts.
        pass(19).await;
        assert_eq!(
            resolver.resolve(&name(asked)).await,
            found(&all, AddressSource::Cache),
            "{asked}"
        );
        pass(1).await;
        assert_eq!(
            resolver.resolve(&name(asked)).await,
            found(&all, AddressSource::Dns),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn aliases_that_lead_nowhere_have_an_end() {
    let server = NameServer::start().await;
    for (alias, target) in [
        ("a", "b"),
        ("b", "a"),
        ("self", "self"),
        ("dead", "nothing"),
    ] {
        let target = format!("{target}.example");
        let script = Script::Cname {
            target: target.clone(),
            ttl: 60,
        };
        server.script(&format!("{alias}.example"), script);
        let script = Script::BareCname {
            target: format!("bare-{target}"),
            ttl: 60,
        };
        server.script(&format!("bare-{alias}.example"), script);
    }
    let resolver = resolver(&server);
    for asked in ["a", "self", "dead", "bare-a", "bare-self", "bare-dead"] {
        let asked = name(&format!("{asked}.example"));
        let lookup = timeout(Duration::from_secs(1), resolver.resolve(&asked));
        let result = lookup.await.expect("hangs");
        assert!(
            matches!(result, Err(LookupError::Negative { .. })),
            "{asked}: {result:?}"
        );
    }
}

#[tokio::test]
async fn capitals_make_no_difference() {
    let server = NameServer::start().await;
    server.addresses("end.example", &["192.0.2.1"], 60);
    let target = "end.example".to_owned();
    server.script(NAME, Script::Cname { target, ttl: 60 });
    server.shout();
    let resolver = resolver(&server);
    let expected = found(&["192.0.2.1"], AddressSource::Dns);
    assert_eq!(resolver.resolve(&name("BILLING.example.")).await, expected);
    let cached = found(&["192.0.2.1"], AddressSource::Cache);
    assert_eq!(resolver.resolve(&name(NAME)).await, cached);
}

#[tokio::test]
async fn noise_is_no_answer_and_keeps_none_away() {
    let server = NameServer::start().await;
    let addresses = parse(&["192.0.2.1"]);
    server.script(
        NAME,
        Script::NoiseFirst {
            addresses: addresses.clone(),
            ttl: 60,
        },
    );
    server.script("garbage.example", Script::Garbage);
    server.script("foreign.example", Script::Foreign { addresses });
    let resolver = impatient(&[server.address]);
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&["192.0.2.1"], AddressSource::Dns)
    );
    let garbage = resolver.resolve(&name("garbage.example")).await;
    assert!(
        matches!(garbage, Err(LookupError::Unanswered(_))),
        "{garbage:?}"
    );
    assert_eq!(
        resolver.resolve(&name("foreign.example")).await,
        Err(NODATA)
    );
}

#[tokio::test]
async fn names_are_asked_as_they_are() {
    let server = NameServer::start().await;
    server.addresses("billing", &["192.0.2.1"], 60);
    let resolver = resolver(&server);
    assert!(resolver.resolve(&name("billing")).await.is_ok());
    assert_eq!(resolver.resolve(&name("other")).await, Err(NXDOMAIN));
    assert_eq!(server.queries("other", RecordType::A), 1);
    assert_eq!(server.all_queries(), 4);
}
