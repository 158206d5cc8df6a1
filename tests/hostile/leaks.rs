//! What is left behind after very many sessions. The relay is a process of its own here, so that
//! the descriptors counted are its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use callhome_relay::http::answer::ESTABLISHED;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::plain::{Manner, Plain};
use super::{
    FAST, connect_from, connect_head, metric, metric_becomes, metric_reaches, plain_destination,
    read_to_end, reset,
};

/// Against: a relay that runs out of descriptors or slots after some weeks. After ten thousand
/// refused requests and as many tunnels it holds what it held before.
#[tokio::test]
async fn twenty_thousand_sessions_leave_nothing_behind() {
    let server = Plain::start(Manner::Echoes).await;
    let port = server.address.port();
    let relay = Process::start(&format!(
        "{}{FAST}",
        plain_destination("plain.example", port)
    ));
    // The first sessions create threads, pipes and pools.
    relay.sessions(200, port).await;
    let before = relay.descriptors().await;
    relay.sessions(ROUNDS, port).await;
    let after = relay.descriptors().await;
    assert_eq!(after, before);
    assert_eq!(metric(relay.admin, "session_panics_total").await, 0);
    let tunnels = u64::try_from(200 + ROUNDS).unwrap();
    assert_eq!(metric(relay.admin, "tunnels_total").await, tunnels);
    // Each tunnel has two records, and the start and the seals have theirs. Refusals have their
    // share, and are counted beyond it.
    metric_reaches(relay.admin, "audit_records_total", 2 * tunnels + 2).await;
}

struct Process {
    proxy: SocketAddr,
    admin: SocketAddr,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Process {
    fn start(keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("relay.toml");
        // The sandbox is off, because the kernel shows a confined process's descriptors to root
        // only.
        let text = format!(
            "preset = \"none\"\n{keys}\n[dns]\nservers = [\"127.0.0.1:9\"]\n[sandbox]\nmode = \"off\"\n\
             [[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [audit]\ndirectory = \"{}\"\n",
            directory.path().join("audit").display()
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_callhome-relay"))
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |before: &str| {
            let line = lines
                .by_ref()
                .map(Result::unwrap)
                .find(|line| line.contains(before))
                .expect("the relay starts");
            let (_, rest) = line.split_once(before).unwrap();
            rest.split([' ', '/']).next().unwrap().parse().unwrap()
        };
        let proxy = address("listens   ");
        let admin = address("admin     http://");
        // Read the rest of the log, because a full pipe would block the relay.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            proxy,
            admin,
            child,
            _directory: directory,
        }
    }

    /// Makes this many refusals and this many tunnels, from several clients.
    async fn sessions(&self, count: usize, port: u16) {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (proxy, share) = (self.proxy, count / usize::from(CLIENTS));
                tokio::spawn(async move {
                    for n in 0..share {
                        refused(proxy, client).await;
                        tunnelled(proxy, client, port, n).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    }

    /// Counts the open descriptors once no session is open.
    async fn descriptors(&self) -> usize {
        metric_becomes(self.admin, "connections_open", 0).await;
        metric_becomes(self.admin, "tunnels_open", 0).await;
        let folder = format!("/proc/{}/fd", self.child.id());
        // The connection that asked for the metrics is closed a moment later.
        let mut least = usize::MAX;
        for _ in 0..20 {
            least = least.min(std::fs::read_dir(&folder).unwrap().count());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        least
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn refused(proxy: SocketAddr, client: u8) {
    let mut stream = connect_from([127, 0, 1, client], proxy).await;
    stream.write_all(REFUSED).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 403 "));
}

async fn tunnelled(proxy: SocketAddr, client: u8, port: u16, n: usize) {
    let mut stream = connect_from([127, 0, 1, client], proxy).await;
    let head = connect_head(&format!("plain.example:{port}"));
    stream.write_all(&head).await.unwrap();
    let mut established = [0; ESTABLISHED.len()];
    stream.read_exact(&mut established).await.unwrap();
    assert_eq!(established, ESTABLISHED);
    stream.write_all(b"ping").await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
    if n.is_multiple_of(2) {
        reset(stream);
    }
}

const REFUSED: &[u8] = b"CONNECT denied.example:443 HTTP/1.0\r\n\r\n";
const ROUNDS: usize = 10_000;
/// Each client has its own source address, which also keeps the ports of one address from running
/// out.
const CLIENTS: u8 = 20;
