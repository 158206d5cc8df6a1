//! `serve`: what stops it at the start, and what signals do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::command::{ConfigFile, Serving, finish, run, serve_file, shell};

#[test]
fn a_port_that_is_taken_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "\"127.0.0.1:0\"";
    for (name, nth) in [("proxy", 0), ("admin", 1)] {
        let text = serve_file("");
        let (at, _) = text.match_indices(free).nth(nth).unwrap();
        let (before, rest) = text.split_at(at);
        let text = format!("{before}\"{address}\"{}", &rest[free.len()..]);
        let file = ConfigFile::new(&text);
        let ran = run(&["serve", "--config", &file.name()]);
        assert_eq!(ran.code, Some(69), "{}", ran.stderr);
        assert!(ran.stderr.contains(&address), "{}", ran.stderr);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        let why = ran.stderr.matches("Address already in use").count();
        assert_eq!(why, 1, "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "no trail begins");
    }
}

#[test]
fn too_few_descriptors_for_the_limits_is_78() {
    let file = ConfigFile::new(&serve_file(""));
    let ran = finish(shell(
        "ulimit -n 500; exec \"$0\" \"$@\"",
        &["serve", "--config", &file.name()],
    ));
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    for part in ["500", "LimitNOFILE=", "[limits] connections and tunnels"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
}

#[test]
fn serving_is_healthy_until_it_is_not() {
    let mut relay = Serving::start("");
    let admin = relay.admin.to_string();
    let asked = run(&["health", "--admin", &admin]);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert_eq!(asked.stdout, "ready\n");
    let asked = run(&["health", "--live", "--admin", &admin]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ok\n"));

    relay.signal(Signal::INT);
    assert_eq!(relay.exits_within(Duration::from_secs(3)), Some(0));
    let asked = run(&["health", "--admin", &admin]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), ""));
    assert!(asked.stderr.contains(&admin), "{}", asked.stderr);
}

#[test]
fn sigterm_announces_drains_and_ends_with_0() {
    let mut relay = Serving::start("");
    relay.signal(Signal::TERM);
    relay.wait_for("draining");
    let (status, body) = relay.get("/readyz", &[]);
    assert_eq!(
        (status, body.as_str()),
        (503, "not ready\ndown: draining\n")
    );
    assert_eq!(relay.get("/livez", &[]).0, 200);
    // A load balancer hasn't looked yet and still sends clients.
    assert_eq!(relay.connect("other.example:443").0, DENIED);
    let asked = run(&["health", "--admin", &relay.admin.to_string()]);
    assert_eq!(asked.code, Some(1));
    assert_eq!(relay.exits_within(Duration::from_secs(10)), Some(0));
}

#[test]
fn a_tunnel_holds_the_end_up_and_a_second_signal_does_not_wait_for_it() {
    for signals in [
        [Signal::TERM, Signal::TERM],
        [Signal::INT, Signal::INT],
        [Signal::TERM, Signal::INT],
    ] {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = upstream.local_addr().unwrap().port();
        let mut relay = Serving::start(&plain_destination(port));
        let (status, mut client) = relay.connect(&format!("plain.example:{port}"));
        assert_eq!(status, "HTTP/1.1 200 Connection established");
        let (mut server, _) = upstream.accept().unwrap();

        relay.signal(signals[0]);
        relay.wait_for("draining");
        client.write_all(b"still here").unwrap();
        let mut bytes = [0; 10];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"still here");
        assert!(relay.is_running());

        relay.signal(signals[1]);
        assert_eq!(
            relay.exits_within(Duration::from_secs(3)),
            Some(0),
            "{signals:?}"
        );
    }
}

#[test]
fn a_drain_ends_with_the_last_tunnel() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    let mut relay = Serving::start(&plain_destination(port));
    let (_, client) = relay.connect(&format!("plain.example:{port}"));
    let (server, _) = upstream.accept().unwrap();
    relay.signal(Signal::INT);
    relay.wait_for("waiting for the tunnels to end");
    drop((client, server));
    assert_eq!(relay.exits_within(Duration::from_secs(3)), Some(0));
}

#[test]
fn a_broken_file_changes_nothing_and_says_so() {
    let relay = Serving::start("");
    relay.file.write("[timeouts]\nidel = \"5m\"\n");
    relay.signal(Signal::HUP);
    relay.wait_for("the configuration stays as it was");
    relay.wait_for("unknown key `idel`");
    let (status, body) = relay.get("/readyz", &[]);
    assert_eq!(status, 200);
    let lines: Vec<_> = body.lines().collect();
    assert_eq!((lines[0], lines.len()), ("ready", 2), "{body}");
    assert!(lines[1].starts_with("degraded: "), "{body}");
    assert!(
        lines[1].contains(&format!("{}:2:1", relay.file.name())),
        "{body}"
    );
    assert_eq!(relay.connect("other.example:443").0, DENIED);

    relay.reload("", "configuration loaded");
    assert_eq!(relay.get("/readyz", &[]), (200, "ready\n".into()));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_of_the_file_waits_with_it() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    let target = format!("plain.example:{port}");
    let relay = Serving::start("");
    let new = serve_file(&plain_destination(port));
    relay
        .file
        .write(&new.replace("name = \"proxy\"", "name = \"renamed\""));
    relay.signal(Signal::HUP);
    relay.wait_for("a change of [[listener]] needs a restart");
    assert_eq!(relay.connect(&target).0, DENIED);
    assert!(relay.get("/readyz", &[]).1.contains("[[listener]]"));

    relay.reload(&plain_destination(port), "configuration loaded");
    assert!(relay.connect(&target).0.contains(" 200 "));
}

/// Adds a destination on loopback whose tunnels open without a ClientHello.
fn plain_destination(port: u16) -> String {
    format!(
        "[[destination]]\nname = \"plain\"\nhosts = [\"plain.example\"]\nports = [{port}]\naddresses = [\"127.0.0.1\"]\n\
         ip_ranges = [\"127.0.0.1\"]\nsni = \"any\"\ntls_only = false\n"
    )
}

pub(super) const DENIED: &str = "HTTP/1.1 403 destination_not_allowed";
