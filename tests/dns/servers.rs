//! Which server is asked, and how long it is waited for.

use std::fs;
use std::time::{Duration, Instant};

use callhome_relay::dns::{AddressSource, LookupError, Resolver, ResolverError, SystemFiles};
use callhome_relay::proxy_error::{Reason, Refusal};
use hickory_resolver::proto::op::ResponseCode;

use super::{NAME, NXDOMAIN, SERVFAIL, found, impatient, no_files, nobody, options, resolver_of};
use crate::support::dns::{NameServer, Script, name};

#[tokio::test]
async fn each_failure_has_its_reason_and_rcode() {
    let server = NameServer::start().await;
    let refused = LookupError::Negative { rcode: "REFUSED" };
    let resolver = impatient(&[server.address]);
    for (asked, script, failure, reason, rcode) in [
        (
            "a.example",
            Script::Rcode(ResponseCode::ServFail),
            SERVFAIL,
            Reason::DnsFailed,
            Some("SERVFAIL"),
        ),
        (
            "b.example",
            Script::Rcode(ResponseCode::Refused),
            refused,
            Reason::DnsFailed,
            Some("REFUSED"),
        ),
        (
            "c.example",
            Script::NoSuchName { ttl: 1 },
            NXDOMAIN,
            Reason::DnsFailed,
            Some("NXDOMAIN"),
        ),
        (
            "d.example",
            Script::Silence,
            LookupError::Timeout,
            Reason::DnsTimeout,
            None,
        ),
    ] {
        server.script(asked, script);
        let result = resolver.resolve(&name(asked)).await;
        assert_eq!(result, Err(failure), "{asked}");
        let refusal = Refusal::from(result.unwrap_err());
        assert_eq!(
            (refusal.reason, refusal.rcode.as_deref()),
            (reason, rcode),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn the_timeout_covers_everything() {
    let servers = [
        NameServer::start().await,
        NameServer::start().await,
        NameServer::start().await,
    ];
    for server in &servers {
        server.script(NAME, Script::Silence);
    }
    let resolver = impatient(&servers.each_ref().map(|server| server.address));
    let begin = Instant::now();
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        Err(LookupError::Timeout)
    );
    assert!(
        begin.elapsed() < Duration::from_millis(600),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails() {
    let good = NameServer::start().await;
    good.addresses(NAME, &["192.0.2.1"], 60);
    for broken in [
        Script::Silence,
        Script::Rcode(ResponseCode::ServFail),
        Script::Rcode(ResponseCode::Refused),
        Script::Garbage,
    ] {
        let bad = NameServer::start().await;
        bad.script(NAME, broken.clone());
        let resolver = resolver_of(&[bad.address, good.address]);
        let result = resolver.resolve(&name(NAME)).await;
        assert_eq!(
            result,
            found(&["192.0.2.1"], AddressSource::Dns),
            "{broken:?}"
        );
    }
}

#[tokio::test]
async fn another_server_is_asked_when_there_is_none() {
    let good = NameServer::start().await;
    good.addresses(NAME, &["192.0.2.1"], 60);
    let result = resolver_of(&[nobody().await, good.address])
        .resolve(&name(NAME))
        .await;
    assert_eq!(result, found(&["192.0.2.1"], AddressSource::Dns));
    let alone = impatient(&[nobody().await]);
    assert_eq!(alone.resolve(&name(NAME)).await, Err(LookupError::Timeout));
}

#[tokio::test]
async fn no_other_server_is_asked_after_an_answer() {
    let first = NameServer::start().await;
    let second = NameServer::start().await;
    second.addresses(NAME, &["192.0.2.1"], 60);
    let resolver = resolver_of(&[first.address, second.address]);
    assert_eq!(resolver.resolve(&name(NAME)).await, Err(NXDOMAIN));
    assert_eq!(second.all_queries(), 0);
}

#[tokio::test]
async fn without_a_server_there_is_no_resolver() {
    let folder = tempfile::tempdir().unwrap();
    let files = SystemFiles {
        resolv_conf: folder.path().join("resolv.conf"),
        ..no_files()
    };
    let new = || Resolver::with_files(options(&[]), files.clone());
    assert!(matches!(new(), Err(ResolverError::ResolvConf { .. })));
    fs::write(&files.resolv_conf, "search example.com\noptions ndots:5\n").unwrap();
    assert!(matches!(new(), Err(ResolverError::NoServer)));
    fs::write(&files.resolv_conf, "nameserver 192.0.2.53\n").unwrap();
    let resolver = new().unwrap();
    assert_eq!(resolver.servers(), ["192.0.2.53:53".parse().unwrap()]);
}

#[test]
fn outside_a_runtime_there_is_no_resolver() {
    let result = Resolver::with_files(options(&["192.0.2.53:53".parse().unwrap()]), no_files());
    assert!(matches!(result, Err(ResolverError::NoRuntime)));
}
