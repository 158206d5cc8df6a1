//! The hosts file, resolv.conf, and a reload.

use std::fs;
use std::time::Duration;

use callhome_relay::dns::{AddressSource, DnsOptions, Resolver, SystemFiles};

use super::{NAME, found, no_files, options, pass, resolver};
use crate::support::dns::{NameServer, name};

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
    let changed = DnsOptions {
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
