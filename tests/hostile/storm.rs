//! Many sessions at once, with every kind of end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{ask, tunnel};
use crate::support::dns::{NameServer, Script};
use crate::support::relay::{Relay, upstream};

use super::plain::{Manner, Plain};
use super::{connect_head, plain_destination, read_to_end, reset, sessions, settled};

/// Against: a session that leaves no record, or two, when everything happens at once: refusals,
/// failures, all ends of a tunnel, clients that leave, a reload that revokes, and a stop in the
/// middle.
#[tokio::test]
async fn every_session_has_one_end() {
    let dns = NameServer::start().await;
    dns.script("silent.example", Script::Silence);
    let server = Plain::start(Manner::Echoes).await;
    let port = server.address.port();
    let common = format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n\
         [timeouts]\nclient_hello = \"200ms\"\nrequest_head = \"5s\"\nidle = \"400ms\"\ndrain = \"0s\"\n\
         [limits]\ntunnels_per_client = 40\nrate_per_client = \"100000/s\"\n",
        dns.address
    );
    let silent = "[[destination]]\nname = \"silent\"\nhosts = [\"silent.example\"]\n";
    let before = format!(
        "{}{}{silent}{common}",
        plain_destination("plain.example", port),
        upstream("tls.example", port)
    );
    let after = format!("{}{silent}{common}", upstream("tls.example", port));
    let mut relay = Relay::start(&before).await;

    let mut clients = JoinSet::new();
    for n in 0..400 {
        clients.spawn(client(relay.proxy, port, n));
        if n == 200 {
            relay.reload(&after).await;
            relay.reload(&before).await;
        }
        // Let some of each kind run at a time, but not all.
        while clients.len() > 60 {
            clients.join_next().await.unwrap().unwrap();
        }
    }
    clients.join_all().await;
    assert_eq!(settled(&relay).await, 400);

    // A relay that is stopped with tunnels and requests under way gives each session its end too.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(
            tunnel(relay.proxy, &format!("plain.example:{port}"))
                .await
                .unwrap(),
        );
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        stream
            .write_all(&connect_head("silent.example:443"))
            .await
            .unwrap();
        held.push(stream);
    }
    relay
        .wait(|| (relay.count_of(|record| record["event"] == "tunnel_opened") >= 20).then_some(()))
        .await;
    relay.stop().await;
    super::check_chain(&relay.trail());
    let sessions = sessions(&relay.records());
    let several = |events: &&Vec<String>| {
        events
            .iter()
            .filter(|event| super::is_closing_word(event))
            .count()
            != 1
    };
    assert_eq!(sessions.values().find(several), None);
    assert!(sessions.len() >= 420, "{}", sessions.len());
    let mut records = relay.records();
    records.retain(|record| record["event"] != "checkpoint");
    assert_eq!(records.last().unwrap()["event"], "relay_stopped");
}

async fn client(proxy: std::net::SocketAddr, port: u16, n: usize) {
    let plain = format!("plain.example:{port}");
    let tls = format!("tls.example:{port}");
    let target = match n % 10 {
        0 => "denied.example:443",
        1 => "plain.example:1",
        2 => "mal formed",
        3 => "silent.example:443",
        4 | 5 => &tls,
        _ => &plain,
    };
    if n % 10 < 4 {
        let answer = ask(proxy, &connect_head(target)).await;
        assert_ne!(answer.status, 200);
        return;
    }
    // It is refused at capacity, or while the reload doesn't allow it. That is an end like any
    // other.
    let Ok(mut stream) = tunnel(proxy, target).await else {
        return;
    };
    let _ = stream.write_all(b"not TLS").await;
    match n % 10 {
        5 | 6 => reset(stream),
        7 => {
            let _ = stream.shutdown().await;
            read_to_end(&mut stream).await;
        }
        // The relay ends this one.
        8 => {
            read_to_end(&mut stream).await;
        }
        _ => {
            let _ = timeout(Duration::from_millis(100), read_to_end(&mut stream)).await;
        }
    }
}
