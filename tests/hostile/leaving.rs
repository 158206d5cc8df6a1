//! Clients that leave, at every stage and in both manners.

use std::net::SocketAddr;
use std::time::Duration;

use callhome_relay::tls::MAX_CLIENT_HELLO;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::tunnel;
use crate::support::dns::{NameServer, Script};
use crate::support::relay::{Relay, is_closing, upstream};

use super::plain::{Manner, Plain};
use super::{connect_head, metric_becomes, plain_destination, reset, settled};

/// How far a client gets before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connected,
    WithinHead,
    Resolving,
    /// It is resolving, and has sent more than the relay holds.
    Flooding,
    Dialling,
    Established,
    WithinHello,
    Tunnelling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    Fin,
    Reset,
}

/// Against: slots and descriptors held by clients that are gone. A client may have one tunnel here,
/// so each round needs what the round before gave back, long before any timeout.
#[tokio::test]
async fn a_client_that_leaves_gives_everything_back() {
    let dns = NameServer::start().await;
    dns.script("silent.example", Script::Silence);
    let server = Plain::start(Manner::Echoes).await;
    let port = server.address.port();
    let full = FullBacklog::new();
    let hole = full.address.port();
    let relay = Relay::start(&format!(
        "{}{}\
         [[destination]]\nname = \"hole\"\nhosts = [\"hole.example\"]\nports = [{hole}]\n\
         addresses = [\"127.0.0.3\"]\nip_ranges = [\"127.0.0.3\"]\n\
         [[destination]]\nname = \"silent\"\nhosts = [\"silent.example\"]\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"60s\"\n\
         [timeouts]\nconnect = \"60s\"\nclient_hello = \"60s\"\nrequest_head = \"60s\"\n\
         [limits]\nconnections_per_client = 1\ntunnels_per_client = 1\nrate_per_client = \"100000/s\"\n",
        plain_destination("plain.example", port),
        upstream("tls.example", port),
        dns.address,
    ))
    .await;
    let mut sessions = 0;
    for stage in [
        Stage::Connected,
        Stage::WithinHead,
        Stage::Resolving,
        Stage::Flooding,
        Stage::Dialling,
        Stage::Established,
        Stage::WithinHello,
        Stage::Tunnelling,
    ] {
        for manners in [Manners::Fin, Manners::Reset] {
            // A FIN is invisible behind bytes that aren't read.
            if (stage, manners) == (Stage::Flooding, Manners::Fin) {
                continue;
            }
            let what = format!("{stage:?}, {manners:?}");
            let n = relay.count_of(is_closing);
            let stream = reach(stage, &relay, &dns, port, &full).await;
            let left = match manners {
                Manners::Fin => {
                    let mut stream = stream;
                    stream.shutdown().await.unwrap();
                    Some(stream)
                }
                Manners::Reset => {
                    reset(stream);
                    None
                }
            };
            if stage == Stage::Connected {
                metric_becomes(relay.admin, "connections_open", 0).await;
                assert_eq!(relay.count_of(is_closing), n, "{what}");
                continue;
            }
            let record = timeout(Duration::from_secs(8), relay.closing(n))
                .await
                .expect(&what);
            check(stage, &record, &what);
            drop(left);
            sessions += 1;
            metric_becomes(relay.admin, "connections_open", 0).await;
        }
    }
    assert_eq!(settled(&relay).await, sessions);
    let stream = tunnel(relay.proxy, &format!("plain.example:{port}"))
        .await
        .unwrap();
    drop(stream);
    assert_eq!(settled(&relay).await, sessions + 1);
}

/// Returns a client that has got as far as that.
async fn reach(
    stage: Stage,
    relay: &Relay,
    dns: &NameServer,
    port: u16,
    hole: &FullBacklog,
) -> TcpStream {
    let silent = "silent.example:443".to_owned();
    let unanswered = format!("hole.example:{}", hole.address.port());
    let (plain, tls) = (
        format!("plain.example:{port}"),
        format!("tls.example:{port}"),
    );
    let asked = dns.all_queries();
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let head = match stage {
        Stage::Connected => Vec::new(),
        Stage::WithinHead => connect_head(&plain)[..20].to_vec(),
        Stage::Resolving | Stage::Flooding => connect_head(&silent),
        Stage::Dialling => connect_head(&unanswered),
        Stage::Established | Stage::WithinHello => connect_head(&tls),
        Stage::Tunnelling => connect_head(&plain),
    };
    stream.write_all(&head).await.unwrap();
    match stage {
        Stage::Connected => metric_becomes(relay.admin, "connections_open", 1).await,
        Stage::WithinHead => {}
        // The second client shares the first one's question.
        Stage::Resolving | Stage::Flooding => {
            relay
                .wait(|| (dns.all_queries() >= asked.max(1)).then_some(()))
                .await;
        }
        Stage::Dialling => {
            relay
                .wait(|| (hole.dialling() > hole.before).then_some(()))
                .await;
        }
        Stage::Established | Stage::WithinHello | Stage::Tunnelling => {
            let answer = crate::support::client::answer(&mut stream).await;
            assert_eq!(answer.status, 200);
        }
    }
    if stage == Stage::Flooding {
        let flood = vec![0; 64 << 10];
        stream.write_all(&flood).await.unwrap();
        let left = flood.len() - MAX_CLIENT_HELLO;
        let unread = || unread(relay.proxy, stream.local_addr().unwrap());
        relay.wait(|| (unread() == left).then_some(())).await;
    }
    if stage == Stage::WithinHello {
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    }
    if stage == Stage::Tunnelling {
        stream.write_all(b"there and back").await.unwrap();
        stream.read_exact(&mut [0; 14]).await.unwrap();
    }
    stream
}

fn check(stage: Stage, record: &Value, what: &str) {
    let told = (
        record["event"].as_str().unwrap(),
        record["outcome"].as_str().unwrap(),
    );
    let expected = match stage {
        Stage::Connected => unreachable!("no record"),
        Stage::WithinHead => ("request_denied", "refused"),
        Stage::Resolving | Stage::Flooding | Stage::Dialling => ("request_failed", "abandoned"),
        Stage::Established | Stage::WithinHello => ("tunnel_closed", "abandoned"),
        Stage::Tunnelling => ("tunnel_closed", "closed"),
    };
    assert_eq!(told, expected, "{what}: {record}");
    if stage != Stage::WithinHead {
        assert_eq!(record["closed_by"], "client", "{what}");
    }
    if stage == Stage::Tunnelling {
        assert_eq!(
            (&record["bytes_up"], &record["bytes_down"]),
            (&14.into(), &14.into())
        );
    }
}

/// Returns how many bytes wait in the kernel for the relay to read them.
fn unread(local: SocketAddr, remote: SocketAddr) -> usize {
    let ends = format!(
        "0100007F:{:04X} 0100007F:{:04X} ",
        local.port(),
        remote.port()
    );
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends)).unwrap();
    let queues = line.split_ascii_whitespace().nth(4).unwrap();
    let (_, received) = queues.split_once(':').unwrap();
    usize::from_str_radix(received, 16).unwrap()
}

/// A port that answers no SYN, because its queue of connections is full. Dialling it takes until
/// the timeout.
struct FullBacklog {
    address: SocketAddr,
    /// These attempts are this test's own.
    before: usize,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl FullBacklog {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 3], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address.into());
                socket
            })
            .collect();
        let mut full = Self {
            address,
            before: 0,
            _listener: listener,
            _queued: queued,
        };
        full.before = full.dialling();
        assert!(full.before > 0, "the queue isn't full");
        full
    }

    /// Counts the attempts to connect to the port, as the kernel lists them (state SYN-SENT).
    fn dialling(&self) -> usize {
        let remote = format!("0300007F:{:04X}", self.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let attempt = |line: &&str| {
            let mut fields = line.split_ascii_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.next() == Some("02")
        };
        table.lines().filter(attempt).count()
    }
}
