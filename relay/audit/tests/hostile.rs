//! Tests that no client can make the records of its session long.

use std::net::{Ipv6Addr, SocketAddr};

use callhome_trail::Record;
use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};

use super::damage::active;
use super::*;
use crate::audit::bounds::{MAX_LINE, longest_line};
use crate::authority::{Authority, DnsName, Host, ServerName};
use crate::dns::AddressSource;
use crate::proxy_error::Refusal;
use crate::tls::{ClientHello, TlsVersion};

/// What a client, its name server and the configuration put into a record.
#[derive(Clone, Debug)]
struct Hostile {
    raw: Vec<u8>,
    host: DnsName,
    sni: DnsName,
    certificate: DnsName,
    alpn: Vec<String>,
    versions: Vec<u16>,
    detail: String,
    name: String,
}

fn dns_name() -> impl Strategy<Value = DnsName> {
    let label = "[a-z0-9]{1,63}";
    vec(label, 1..20).prop_filter_map("at most 253 bytes", |labels| {
        let mut name = labels.join(".") + ".x";
        while name.len() > 253 {
            name = name.split_once('.')?.1.to_owned();
        }
        name.parse().ok()
    })
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let raw = prop_oneof![
        vec(any::<u8>(), 0..600),
        vec(prop_oneof![Just(b'\\'), Just(b'"'), Just(0)], 200..600),
    ];
    let alpn = prop_oneof!["[ -~]{0,255}", "[\\\\\"]{255}", "(\\\\x00){255}"];
    let detail = prop_oneof![".{0,600}", "[\u{0}-\u{1f}\"]{0,600}", "[a-z.]{0,1200}"];
    (
        raw,
        [dns_name(), dns_name(), dns_name()],
        vec(alpn, 0..=8),
        vec(any::<u16>(), 0..=8),
        detail,
        "[A-Za-z0-9._-]{1,64}",
    )
        .prop_map(
            |(raw, [host, sni, certificate], alpn, versions, detail, name)| Hostile {
                raw,
                host,
                sni,
                certificate,
                alpn,
                versions,
                detail,
                name,
            },
        )
}

/// Records what a session with a tunnel or without one says.
fn record(audit: &Audit, hostile: Hostile, opens: bool) {
    let far = |port| SocketAddr::new(Ipv6Addr::from([0xfffe; 8]).into(), port);
    let name: Arc<str> = hostile.name.as_str().into();
    let policy = "18446744073709551615:0123abcd".into();
    let mut session = audit.session(name.clone(), policy, far(65535));
    session.announced(far(65534), far(65533).ip());
    session.client(Some(&name), Some("other"));
    session.claimed(&name, true);
    session.certificate(&hostile.certificate);
    session.sent(&hostile.raw);
    session.target(&Authority {
        host: Host::Name(hostile.host),
        port: 65535,
    });
    session.destination(Some(&name));
    session.allowed(false);
    session.resolved(Duration::from_micros(12_345_678));
    session.address_source(AddressSource::Literal);
    session.client_hello(ClientHello {
        length: 16_384,
        random: [0; 32],
        server_name: ServerName::Host(Host::Name(hostile.sni)),
        alpn: hostile.alpn.into_iter().map(Into::into).collect(),
        versions: hostile.versions.into_iter().map(TlsVersion).collect(),
        ech: false,
    });
    session.connected(Duration::from_micros(12_345_678), far(65532), far(65531));
    if !opens {
        let refusal = Refusal::new(Reason::DestinationNotAllowed, hostile.detail);
        return session.refused(&refusal);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(session.opened()).unwrap();
    session.progress();
    session.closed(Closed {
        by: ClosedBy::PolicyRevoked,
        error: Some(hostile.detail),
    });
}

#[test]
fn no_line_of_a_session_is_longer_than_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let relay = "r".repeat(64);
    let (audit, writer) = Audit::start(&options(directory.path()), &relay, Arc::default()).unwrap();
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(200)
    });
    let recorded = runner.run(&(hostile(), any::<bool>()), |(hostile, opens)| {
        record(&audit, hostile, opens);
        Ok(())
    });
    recorded.unwrap();
    writer.close();

    let text = fs::read_to_string(active(directory.path())).unwrap();
    let (mut checked, mut cut) = (0, 0);
    for line in text.lines() {
        let record: Record = serde_json::from_str(line).unwrap();
        if record.session.is_none() {
            continue;
        }
        assert!(line.len() <= MAX_LINE, "{} bytes: {line}", line.len());
        assert!(line.len() <= longest_line(&record), "{line}");
        checked += 1;
        cut += usize::from(line.contains("..."));
    }
    assert!(
        checked > 200 && cut > 50,
        "{checked} records, {cut} are cut"
    );
    whole(directory.path());
}

/// An ordinary record is kept whole, with the longest host name too.
#[test]
fn an_ordinary_session_is_recorded_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    let host: DnsName = ["a".repeat(60).as_str(); 4].join(".").parse().unwrap();
    let ordinary = Hostile {
        raw: format!("{host}:443").into_bytes(),
        host: host.clone(),
        sni: "ch3.zerto.com".parse().unwrap(),
        certificate: "zvm-ams-1.example".parse().unwrap(),
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        versions: vec![0x0304, 0x0303],
        detail: "an error of ordinary length, with an address: 192.0.2.7".to_owned(),
        name: "zvm-ams-1".to_owned(),
    };
    record(&audit, ordinary, false);
    writer.close();
    let text = fs::read_to_string(active(directory.path())).unwrap();
    assert!(!text.contains("..."), "{text}");
    assert!(text.contains(&format!("\"host\":\"{host}\"")));
}
