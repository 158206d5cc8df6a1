//! Socket activation: the listening sockets belong to who starts the relay, and outlive it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::own_address;
use crate::support::command::{finish, shell};
use crate::support::process::{Process, relay};

/// What `systemd` does for a unit: the sockets are descriptors from 3 on, and three variables say so.
const PASS: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$1 exec \"$0\" serve --config \"$2\"";

/// A directory with a configuration for one listener, and the keys of a destination that answers in clear.
fn configured(listener: &str, destination: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "name = \"test\"\npreset = \"none\"\n{listener}\n{destination}\n[dns]\nservers = [\"127.0.0.1:9\"]\n\
         [timeouts]\ndrain = \"5s\"\n[limits]\nrate_per_client = \"100000/s\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [audit]\ndirectory = \"{}\"\n",
        directory.path().join("audit").display()
    );
    std::fs::write(directory.path().join("relay.toml"), text).unwrap();
    directory
}

fn listener(name: &str, bind: impl std::fmt::Display) -> String {
    format!("[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n")
}

fn file(directory: &TempDir) -> String {
    directory.path().join("relay.toml").display().to_string()
}

/// The relay with this socket as its own.
fn started_with(socket: &TcpListener, name: &str, directory: &TempDir) -> Command {
    let mut command = shell(PASS, &[name, &file(directory)]);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}

/// A destination without TLS: it says one word to whoever comes.
fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
    address
}

fn destination(server: SocketAddr) -> String {
    format!(
        "[[destination]]\nname = \"plain\"\nhosts = [\"plain.example\"]\nports = [{}]\nsni = \"any\"\ntls_only = false\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.1\"]\n",
        server.port()
    )
}

/// One attempt: what came of it, whole.
fn attempt(proxy: SocketAddr, server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // As most of those that a restart would hit: connected, and with nothing said yet.
    thread::sleep(Duration::from_millis(2));
    let target = format!("plain.example:{}", server.port());
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    )?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

#[test]
fn a_restart_loses_no_attempt() {
    let server = greeter();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = socket.local_addr().unwrap();
    let directory = configured(&listener("proxy", proxy), &destination(server));
    let mut process = Process::spawn(started_with(&socket, "proxy", &directory));
    assert_eq!(process.proxy, proxy);

    let over = Arc::new(AtomicBool::new(false));
    let successes = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, successes) = (over.clone(), successes.clone());
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let said = attempt(proxy, server).unwrap();
                    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nhello");
                    successes.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let until = |count: usize| {
        let start = Instant::now();
        while successes.load(Ordering::SeqCst) < count {
            assert!(start.elapsed() < PATIENCE, "{successes:?} of {count}");
            assert!(
                clients.iter().all(|it| !it.is_finished()),
                "an attempt failed"
            );
            thread::sleep(Duration::from_millis(1));
        }
    };
    for _ in 0..3 {
        let before = successes.load(Ordering::SeqCst);
        until(before + 20);
        process.signal(Signal::TERM);
        let stopping = Instant::now();
        assert!(process.wait().success());
        // It neither goes on accepting for a load balancer's sake nor waits for who hasn't come yet.
        assert!(
            stopping.elapsed() < Duration::from_secs(4),
            "{:?}",
            stopping.elapsed()
        );
        process = Process::spawn(started_with(&socket, "proxy", &directory));
    }
    until(successes.load(Ordering::SeqCst) + 20);
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

/// Whoever passes sockets in names each as its listener is named; both names are in the error.
#[test]
fn sockets_that_are_not_the_listeners_are_a_start_error() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap();
    let two = format!(
        "{}{}",
        listener("proxy", own),
        listener("second", "127.0.0.1:0")
    );
    for (listeners, name, said) in [
        (
            listener("proxy", own),
            "web",
            &["\"web\"", "\"proxy\"", "FileDescriptorName="][..],
        ),
        (two, "proxy", &["\"proxy\",", "\"proxy\", \"second\""]),
        (
            listener("proxy", own),
            "proxy:web",
            &["1 sockets", "2 names"],
        ),
        (listener("proxy", own), "", &["\"\"", "\"proxy\""]),
        (
            listener("proxy", "127.0.0.1:1"),
            "proxy",
            &["127.0.0.1:1", &own.to_string(), "\"proxy\""],
        ),
    ] {
        let directory = configured(&listeners, "");
        let ran = finish(started_with(&socket, name, &directory));
        assert_eq!(ran.code, Some(78), "{}", ran.stderr);
        for text in said {
            assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
        }
    }
    for (script, said) in [
        ("exec 3</dev/null", "not a socket"),
        ("exec 3>&-", "not a socket"),
    ] {
        let directory = configured(&listener("proxy", own), "");
        let script = format!("{script}; {}", PASS.replace("exec 3<&0 0</dev/null;", ""));
        let ran = finish(shell(&script, &["proxy", &file(&directory)]));
        assert_eq!(ran.code, Some(78), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("\"proxy\"") && ran.stderr.contains(said),
            "{}",
            ran.stderr
        );
    }
}

/// What was meant for another process is left alone, and nothing changes.
#[test]
fn without_sockets_of_its_own_it_binds() {
    let directory = configured(&listener("proxy", "127.0.0.1:0"), "");
    for variables in [
        "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=web",
        "LISTEN_FDS=0 LISTEN_PID=$$",
        "",
    ] {
        let script = format!("{variables} exec \"$0\" serve --config \"$1\"");
        let process = Process::spawn(shell(&script, &[&file(&directory)]));
        assert!(TcpStream::connect(process.proxy).is_ok());
    }
}

/// The real thing, which starts the relay when somebody comes.
#[test]
fn started_by_systemd_socket_activate() {
    let server = greeter();
    let proxy = SocketAddr::from((own_address(0), 3128));
    let directory = configured(&listener("proxy", proxy), &destination(server));
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["--listen", &proxy.to_string(), "--fdname", "proxy"])
        .arg(relay().get_program())
        .args(["serve", "--config", &file(&directory)]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(
        command
            .spawn()
            .expect("systemd-socket-activate is installed"),
    );
    let start = Instant::now();
    let said = loop {
        match attempt(proxy, server) {
            Ok(said) => break said,
            // It doesn't listen yet.
            Err(_) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nhello");
}

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
