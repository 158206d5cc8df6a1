//! What the relay tells the service manager.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::manager::{MICROSECONDS, Manager, PERIOD, ask};
use crate::support::relay::upstream;

#[test]
fn a_life_under_a_service_manager() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let keys = format!(
        "{}tls_only = false\nsni = \"any\"\n[timeouts]\ndrain = \"1h\"\n",
        upstream("a.example", port)
    );
    let manager = Manager::with(&keys);
    let mut process = manager.start(&[]);
    let serving = |count: &str| format!("{count} open, listening on proxy {}", process.proxy);
    assert_eq!(
        manager.received(),
        format!("READY=1\nSTATUS={}", serving("0 tunnels"))
    );

    // The tunnel is registered before the server sees it.
    let mut client = ask(process.proxy, &format!("a.example:{port}"));
    let (upstream, _) = server.accept().unwrap();
    read_head(&mut client);
    let reload = || {
        process.signal(Signal::HUP);
        let begun = manager.received();
        assert!(
            begun.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{begun:?}"
        );
        manager.received()
    };
    let healthy = format!("READY=1\nSTATUS={}", serving("1 tunnel"));
    assert_eq!(reload(), healthy);
    fs::write(manager.file(), "name = \"test\"\npreset = none\n").unwrap();
    let rejected = reload();
    assert!(rejected.ends_with(&serving("1 tunnel")), "{rejected:?}");
    let reason = format!(
        "READY=1\nSTATUS=degraded: the last reload was rejected: {}:2:",
        manager.file().display()
    );
    assert!(rejected.starts_with(&reason), "{rejected:?}");
    manager.write(&keys);
    assert_eq!(reload(), healthy);

    process.signal(Signal::INT);
    let stopping = manager.received();
    // The time covers the drain, and what comes before and after it.
    let within = stopping.strip_prefix("STOPPING=1\nEXTEND_TIMEOUT_USEC=");
    let within = within.and_then(|rest| rest.split('\n').next()?.parse().ok());
    let within = Duration::from_micros(within.unwrap_or_else(|| panic!("{stopping:?}")));
    assert!(
        (3605..3630).contains(&within.as_secs()),
        "{within:?}: {stopping:?}"
    );
    assert!(
        stopping.contains("\nSTATUS=down: draining; 1 tunnel open"),
        "{stopping:?}"
    );
    drop((client, upstream));
    assert!(process.wait().success());
    manager.socket.set_nonblocking(true).unwrap();
    let more = manager.socket.recv(&mut [0; 16]);
    assert!(more.is_err(), "it says things twice");
}

/// SIGTERM is reported once, although accepting goes on first.
#[test]
fn an_announced_drain_is_told_at_once() {
    let manager = Manager::with("");
    let process = manager.start(&[]);
    manager.received();
    process.signal(Signal::TERM);
    assert!(manager.received().starts_with("STOPPING=1\n"));
    assert!(TcpStream::connect(process.proxy).is_ok());
}

#[test]
fn the_watchdog_is_fed_in_time_and_with_the_status() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let manager = Manager::with(&format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream("a.example", port)
    ));
    let process = manager.start(&[("WATCHDOG_USEC", MICROSECONDS)]);
    assert!(manager.received().starts_with("READY=1"));
    let _client = ask(process.proxy, &format!("a.example:{port}"));
    let _upstream = server.accept().unwrap();
    assert!(manager.event().starts_with("\nSTATUS=1 tunnel open"));
    let start = Instant::now();
    let beats = 6;
    for _ in 0..beats {
        manager.until_fed();
    }
    // It is fed twice a period, which the load of a test machine may stretch.
    assert!(start.elapsed() < PERIOD * beats, "{:?}", start.elapsed());
    assert!(
        start.elapsed() >= PERIOD / 4 * beats,
        "{:?}",
        start.elapsed()
    );
}

/// The relay doesn't feed a watchdog that waits for another process.
#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let manager = Manager::with("");
    let _process = manager.start(&[("WATCHDOG_USEC", MICROSECONDS), ("WATCHDOG_PID", "1")]);
    assert!(manager.received().starts_with("READY=1"));
    let timeout = Some(PERIOD * 2);
    manager.socket.set_read_timeout(timeout).unwrap();
    assert!(manager.socket.recv(&mut [0; 16]).is_err());
}

/// Only a manager that asked for messages gets any, and one that can't be reached doesn't keep the
/// relay from serving.
#[test]
fn without_a_manager_it_serves() {
    let manager = Manager::with("");
    for socket in ["", "/nowhere/notify", "vsock:2:1"] {
        let process = manager.start(&[("NOTIFY_SOCKET", socket)]);
        assert!(TcpStream::connect(process.proxy).is_ok(), "{socket:?}");
    }
}

fn read_head(stream: &mut TcpStream) {
    use std::io::Read;

    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "));
}
