//! There is one policy, whichever way a client comes in: the same client and target get the same
//! decision and the same record. A new way in needs a row in [`WAYS`].

use std::collections::BTreeMap;

use callhome_relay::proxy_error::Reason;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::client::{answer, connect, dial_from};
use crate::support::dns::{NameServer, Script};
use crate::support::pki::{Pki, TLS13, shake_hands};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, is_closing};
use crate::support::sni::hello_for;

/// A way in: its name, the listener for targets at a port, and what a client does there.
struct Way {
    name: &'static str,
    listener: fn(u16, &Pki) -> String,
    front: Front,
    through: Through,
}

/// What comes before the request.
#[derive(Clone, Copy, PartialEq)]
enum Through {
    Nothing,
    /// A TLS handshake with the relay itself.
    Tls,
    /// A balancer that announces the client.
    Balancer,
    BalancerAndTls,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// How a client names its target, which decides how it learns of a refusal.
#[derive(Clone, Copy, PartialEq)]
enum Front {
    Connect,
    Hello,
}

const WAYS: &[Way] = &[
    Way {
        name: "proxy",
        listener: |_, _| listener("mode = \"proxy\""),
        front: Front::Connect,
        through: Through::Nothing,
    },
    Way {
        name: "sni",
        listener: |port, _| listener(&format!("mode = \"sni\"\ntarget_port = {port}")),
        front: Front::Hello,
        through: Through::Nothing,
    },
    Way {
        name: "https",
        listener: |_, pki| listener(&pki.tls(None)),
        front: Front::Connect,
        through: Through::Tls,
    },
    Way {
        name: "proxy behind a balancer",
        listener: |_, _| listener(BALANCED),
        front: Front::Connect,
        through: Through::Balancer,
    },
    Way {
        name: "sni behind a balancer",
        listener: |port, _| listener(&format!("{BALANCED}\nmode = \"sni\"\ntarget_port = {port}")),
        front: Front::Hello,
        through: Through::Balancer,
    },
    Way {
        name: "https behind a balancer",
        listener: |_, pki| listener(&format!("{BALANCED}\n{}", pki.tls(None))),
        front: Front::Connect,
        through: Through::BalancerAndTls,
    },
];

/// What a client learns: its tunnel alone, or the reason. Several reasons share an alert.
#[derive(Debug, PartialEq)]
enum Told {
    Open,
    Reason(String),
    Alert(Vec<u8>),
}

/// The columns are the client, the host, the place, and the decision.
const MATRIX: &[(&str, &str, Place, &str)] = &[
    ("127.0.0.2", "vendor.example", Place::Served, "allow"),
    ("127.0.0.2", "Vendor.EXAMPLE", Place::Served, "allow"),
    ("127.0.0.2", "vendor.example.", Place::Served, "allow"),
    ("127.0.0.2", "deep.wild.example", Place::Served, "allow"),
    ("127.0.0.2", "127.0.0.1", Place::Served, "allow"),
    (
        "127.0.0.2",
        "wild.example",
        Place::Served,
        "destination_not_allowed",
    ),
    (
        "127.0.0.2",
        "unknown.example",
        Place::Served,
        "destination_not_allowed",
    ),
    (
        "127.0.0.2",
        "vcenter",
        Place::Served,
        "destination_not_allowed",
    ),
    (
        "127.0.0.2",
        "8.8.8.8",
        Place::Served,
        "destination_not_allowed",
    ),
    (
        "127.0.0.2",
        "169.254.169.254",
        Place::Served,
        "destination_not_allowed",
    ),
    (
        "127.0.0.2",
        "vendor.example",
        Place::Unlisted,
        "port_not_allowed",
    ),
    (
        "127.0.0.2",
        "vendor.example",
        Place::Closed,
        "connection_refused",
    ),
    (
        "127.0.0.2",
        "inside.example",
        Place::Served,
        "address_not_allowed",
    ),
    ("127.0.0.2", "gone.example", Place::Served, "dns_failed"),
    (
        "127.0.0.2",
        "itself.example",
        Place::Served,
        "loop_detected",
    ),
    // Another client has other destinations, and a third is on no list.
    (
        "127.0.0.3",
        "vendor.example",
        Place::Served,
        "destination_not_allowed",
    ),
    ("127.0.0.3", "deep.wild.example", Place::Served, "allow"),
    (
        "127.0.0.4",
        "vendor.example",
        Place::Served,
        "client_not_allowed",
    ),
    (
        "127.0.0.4",
        "unknown.example",
        Place::Served,
        "client_not_allowed",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Served,
    Closed,
    Unlisted,
}

#[tokio::test]
async fn every_way_in_decides_alike() {
    let dns = NameServer::start().await;
    for (name, address) in [
        ("inside.example", "10.0.0.1"),
        ("itself.example", "127.0.0.9"),
    ] {
        dns.addresses(name, &[address], 60);
    }
    dns.script("gone.example", Script::NoSuchName { ttl: 60 });
    let server = PlainServer::start().await;
    let pki = Pki::with_relay();
    let closed = unused_port().await;
    let ports = BTreeMap::from([
        (Place::Served, server.address.port()),
        (Place::Closed, closed),
        (Place::Unlisted, unused_port().await),
    ]);
    let keys = format!(
        "[[destination]]\nname = \"vendor\"\nhosts = [\"vendor.example\"]\nports = [{served}, {closed}]\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.1\"]\n\
         [[destination]]\nname = \"wild\"\nhosts = [\"*.wild.example\"]\nports = [{served}]\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.0/30\"]\n\
         [[destination]]\nname = \"resolved\"\nhosts = [\"inside.example\", \"gone.example\"]\nports = [{served}]\n\
         [[destination]]\nname = \"itself\"\nhosts = [\"itself.example\"]\nports = [{served}]\nip_ranges = [\"127.0.0.9\"]\n\
         [[client]]\nname = \"zvm\"\nrole = \"zvm\"\nsources = [\"127.0.0.2\"]\n\
         [[client]]\nname = \"zca\"\nrole = \"zca\"\nsources = [\"127.0.0.3\"]\ndestinations = [\"wild\"]\n\
         [policy]\nself_addresses = [\"127.0.0.9\"]\n\
         [dns]\nservers = [\"{}\"]\n",
        dns.address,
        served = server.address.port(),
    );
    // The first way's records are kept, and those of each further way are compared with them.
    let mut expected: Vec<Value> = Vec::new();
    for way in WAYS {
        let mut relays = BTreeMap::new();
        for (place, port) in &ports {
            let relay = Relay::start(&format!("{}{keys}", (way.listener)(*port, &pki))).await;
            relays.insert(*place, relay);
        }
        for (n, &(client, host, place, decided)) in MATRIX.iter().enumerate() {
            let what = format!("{client} to {host} ({place:?}), by {}", way.name);
            let relay = &relays[&place];
            let before = relay.count_of(is_closing);
            let told = way
                .ask(relay, client, host, ports[&place], &server, &pki, decided)
                .await;
            assert_eq!(told, way.front.tells(decided), "{what}");
            let mut record = relay.closing(before).await;
            assert_eq!(record["listener"], "way", "{what}");
            assert_eq!(
                record["reason"].as_str().unwrap_or("allow"),
                decided,
                "{what}: {record}"
            );
            let balanced = matches!(way.through, Through::Balancer | Through::BalancerAndTls);
            let via = balanced.then_some(BALANCER);
            assert_eq!(record["client"]["via"], Value::from(via), "{what}");
            strip(&mut record);
            match expected.get(n) {
                None => expected.push(record),
                Some(first) => assert_eq!(&record, first, "{what}"),
            }
        }
    }
    assert_eq!(expected.len(), MATRIX.len());
}

impl Way {
    /// Connects as this client, or as its balancer.
    async fn enter(&self, relay: &Relay, client: &str, pki: &Pki) -> Box<dyn Stream> {
        let balanced = matches!(self.through, Through::Balancer | Through::BalancerAndTls);
        let from = if balanced { BALANCER } else { client };
        let mut stream = dial_from(from, relay.proxy).await;
        if balanced {
            let line = format!("PROXY TCP4 {client} 192.0.2.1 51514 443\r\n");
            stream.write_all(line.as_bytes()).await.unwrap();
        }
        match self.through {
            Through::Nothing | Through::Balancer => Box::new(stream),
            Through::Tls | Through::BalancerAndTls => {
                let client = pki.client(None, TLS13);
                Box::new(shake_hands(&client, stream).await.unwrap())
            }
        }
    }

    /// Asks for a target, and sends a ClientHello where the server can be reached.
    #[expect(clippy::too_many_arguments, reason = "a row, and where it is tried")]
    async fn ask(
        &self,
        relay: &Relay,
        client: &str,
        host: &str,
        port: u16,
        server: &PlainServer,
        pki: &Pki,
        decided: &str,
    ) -> Told {
        let before = relay.count_of(is_closing);
        let hello = hello_for(host.as_bytes());
        let mut stream = self.enter(relay, client, pki).await;
        if self.front == Front::Connect {
            let head = connect(&format!("{host}:{port}"));
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = answer(&mut stream).await;
            if answer.status != 200 {
                relay.closing(before).await;
                return Told::Reason(answer.phrase);
            }
        }
        stream.write_all(&hello).await.unwrap();
        if decided != "allow" {
            let said = read_to_end(&mut stream).await;
            relay.closing(before).await;
            return Told::Alert(said);
        }
        let mut upstream = server.accept().await;
        let mut received = vec![0; hello.len()];
        upstream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, hello);
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut upstream).await, b"");
        drop(upstream);
        assert_eq!(read_to_end(&mut stream).await, b"");
        relay.closing(before).await;
        Told::Open
    }
}

impl Front {
    /// Looks the alert up in the relay's table of reasons.
    fn tells(self, decided: &str) -> Told {
        let reason = Reason::ALL.iter().find(|it| it.token() == decided);
        match (self, reason) {
            (_, None) => Told::Open,
            (Self::Connect, Some(reason)) => Told::Reason(reason.token().to_owned()),
            (Self::Hello, Some(reason)) => {
                Told::Alert(reason.alert().map_or(Vec::new(), |it| it.record().to_vec()))
            }
        }
    }
}

/// Removes what differs between any two sessions, and what a way in can't know. A client that sends
/// a server name has written no `host:port`, and a refused CONNECT has no ClientHello behind it.
fn strip(record: &mut Value) {
    let record = record.as_object_mut().unwrap();
    for key in [
        "trail",
        "seq",
        "time",
        "session",
        "policy",
        "prev",
        "hash",
        "listener",
        "upstream_local",
        "dns_ms",
        "connect_ms",
        "duration_ms",
    ] {
        assert!(record.remove(key).is_some(), "{key}");
    }
    let client = record["client"].as_object_mut().unwrap();
    client.remove("port");
    client.remove("via");
    let target = record["target"].as_object_mut().unwrap();
    target.remove("raw");
    target.remove("raw_length");
    if record["decision"] == "deny" || record["event"] == "request_failed" {
        record.remove("tls");
    }
}

const BALANCER: &str = "127.0.0.77";
const BALANCED: &str = "proxy_protocol_from = [\"127.0.0.77\"]";

fn listener(mode: &str) -> String {
    format!("[[listener]]\nname = \"way\"\n{mode}\nbind = \"127.0.0.1:0\"\n")
}

async fn unused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
