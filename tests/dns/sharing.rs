//! Several sessions that ask at the same time.

use std::time::Duration;

use callhome_relay::dns::LookupError;
use hickory_resolver::proto::rr::RecordType;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{NAME, resolver};
use crate::support::dns::{NameServer, name, parse};

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
    assert!(matches!(lost.unwrap(), Err(LookupError::Unanswered(_))));
}
