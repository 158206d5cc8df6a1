//! The resolver against a name server on loopback: what real servers do, and what broken and
//! hostile ones do.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callhome_relay::dns::{
    AddressSource, Failure, Options, Resolution, Resolver, ResolverError, SystemFiles,
};
use callhome_relay::proxy_error::{Reason, Refusal};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::dns::{NameServer, Script, name, parse};

const NAME: &str = "billing.example";
const NXDOMAIN: Failure = Failure::Negative { rcode: "NXDOMAIN" };
const NODATA: Failure = Failure::Negative { rcode: "NOERROR" };
const SERVFAIL: Failure = Failure::Negative { rcode: "SERVFAIL" };

fn options(servers: &[SocketAddr]) -> Options {
    Options {
        servers: servers.to_vec(),
        timeout: Duration::from_secs(2),
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(5),
        serve_stale: Duration::from_hours(1),
    }
}

/// Paths where no file is, so that the machine's own files don't count.
fn no_files() -> SystemFiles {
    SystemFiles {
        hosts: "/nonexistent/hosts".into(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
    }
}

fn resolver_of(servers: &[SocketAddr]) -> Resolver {
    Resolver::with_files(options(servers), no_files()).unwrap()
}

fn resolver(server: &NameServer) -> Resolver {
    resolver_of(&[server.address])
}

/// An address where no server is.
async fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

fn impatient(servers: &[SocketAddr]) -> Resolver {
    let options = Options {
        timeout: Duration::from_millis(300),
        ..options(servers)
    };
    Resolver::with_files(options, no_files()).unwrap()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "stands beside what resolve() gives"
)]
fn found(addresses: &[&str], source: AddressSource) -> Result<Resolution, Failure> {
    Ok(Resolution {
        addresses: parse(addresses),
        source,
    })
}

/// Moves the runtime's clock. It must only be called while nothing is under way, because a paused
/// clock runs ahead of the sockets.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

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
async fn each_failure_has_its_reason_and_rcode() {
    let server = NameServer::start().await;
    let refused = Failure::Negative { rcode: "REFUSED" };
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
            Failure::Timeout,
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
    assert_eq!(resolver.resolve(&name(NAME)).await, Err(Failure::Timeout));
    assert!(
        begin.elapsed() < Duration::from_millis(600),
        "{:?}",
        begin.elapsed()
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
    assert_eq!(alone.resolve(&name(NAME)).await, Err(Failure::Timeout));
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
            matches!(result, Err(Failure::Negative { .. })),
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
        matches!(garbage, Err(Failure::Unanswered(_))),
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

#[tokio::test]
async fn many_who_ask_at_once_share_one_question() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1"], 60);
    let resolver = resolver(&server);
    let mut askers = JoinSet::new();
    for _ in 0..100 {
        let resolver = resolver.clone();
        askers.spawn(async move { resolver.resolve(&name(NAME)).await });
    }
    while let Some(result) = askers.join_next().await {
        assert_eq!(result.unwrap().unwrap().addresses, parse(&["192.0.2.1"]));
    }
    assert_eq!(server.queries(NAME, RecordType::A), 1);
    assert_eq!(server.queries(NAME, RecordType::AAAA), 1);
}

#[tokio::test]
async fn who_gives_up_takes_nothing_from_the_others() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1"], 60);
    let resolver = resolver(&server);
    let first = tokio::spawn({
        let resolver = resolver.clone();
        async move { resolver.resolve(&name(NAME)).await }
    });
    // The first has asked and is gone before the answer.
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = resolver.resolve(&name(NAME)).await.unwrap();
    assert_eq!(second.addresses, parse(&["192.0.2.1"]));
    assert_eq!(server.queries(NAME, RecordType::A), 1);
}

#[test]
fn sessions_on_other_runtimes_may_end_while_they_ask() {
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (server, resolver) = home.block_on(async {
        let server = NameServer::start().await;
        server.addresses(NAME, &["192.0.2.1"], 60);
        let resolver = resolver(&server);
        (server, resolver)
    });
    let session = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let given_up = session();
    given_up.block_on(async {
        let asked = name(NAME);
        let _ = timeout(Duration::ZERO, resolver.resolve(&asked)).await;
    });
    drop(given_up);
    let result = session().block_on(resolver.resolve(&name(NAME)));
    assert_eq!(result.unwrap().addresses, parse(&["192.0.2.1"]));
    assert_eq!(server.queries(NAME, RecordType::A), 1);

    // After the home runtime has gone, no task waits for ever and none deadlocks.
    drop(home);
    let lost = session().block_on(async {
        timeout(
            Duration::from_secs(1),
            resolver.resolve(&name("other.example")),
        )
        .await
    });
    assert!(matches!(lost.unwrap(), Err(Failure::Unanswered(_))));
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1"], 60);
    let folder = tempfile::tempdir().unwrap();
    let files = SystemFiles {
        hosts: folder.path().join("hosts"),
        ..no_files()
    };
    fs::write(
        &files.hosts,
        "192.0.2.9 Billing.Example\n2001:db8::9 billing.example\n",
    )
    .unwrap();
    let resolver = Resolver::with_files(options(&[server.address]), files.clone()).unwrap();
    let fixed = found(&["192.0.2.9", "2001:db8::9"], AddressSource::Hosts);
    assert_eq!(resolver.resolve(&name(NAME)).await, fixed);
    assert_eq!(server.all_queries(), 0);

    fs::remove_file(&files.hosts).unwrap();
    pass(10).await;
    assert_eq!(
        resolver.resolve(&name(NAME)).await,
        found(&["192.0.2.1"], AddressSource::Dns)
    );
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

#[tokio::test]
async fn a_reload_keeps_the_cache_unless_something_changed() {
    let server = NameServer::start().await;
    server.addresses(NAME, &["192.0.2.1"], 60);
    let resolver = resolver(&server);
    resolver.resolve(&name(NAME)).await.unwrap();

    let same = resolver.reloaded(resolver.options().clone()).unwrap();
    assert_eq!(
        same.resolve(&name(NAME)).await.unwrap().source,
        AddressSource::Cache
    );
    let changed = Options {
        max_ttl: Duration::from_mins(1),
        ..resolver.options().clone()
    };
    let other = resolver.reloaded(changed).unwrap();
    assert_eq!(
        other.resolve(&name(NAME)).await.unwrap().source,
        AddressSource::Dns
    );
}

#[tokio::test]
async fn a_reload_sees_new_servers_in_resolv_conf() {
    let folder = tempfile::tempdir().unwrap();
    let files = SystemFiles {
        resolv_conf: folder.path().join("resolv.conf"),
        ..no_files()
    };
    fs::write(&files.resolv_conf, "nameserver 192.0.2.53\n").unwrap();
    let resolver = Resolver::with_files(options(&[]), files.clone()).unwrap();
    fs::write(&files.resolv_conf, "nameserver 192.0.2.54\n").unwrap();
    let reloaded = resolver.reloaded(options(&[])).unwrap();
    assert_eq!(reloaded.servers(), ["192.0.2.54:53".parse().unwrap()]);
}
