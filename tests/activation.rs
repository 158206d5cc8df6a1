//! Socket activation: the listening sockets belong to the process that starts the relay, and
//! outlive the relay.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::command::{finish, shell};
use crate::support::greeter::{attempt, configured, destination, file, greeter, listener};
use crate::support::process::Process;

/// Passes a socket in as `systemd` does: as descriptor 3, with three variables that describe it.
const PASS: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$1 exec \"$0\" serve --config \"$2\"";

/// Starts the relay with this socket as its own.
fn started_with(socket: &TcpListener, name: &str, directory: &TempDir) -> Command {
    let mut command = shell(PASS, &[name, &file(directory)]);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
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
        // The relay skips the pause for load balancers, and doesn't wait for clients that haven't
        // come yet.
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

/// A socket has to be passed in under its listener's name. Otherwise the error names both.
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

/// Sockets meant for another process are left alone, and the relay binds as usual.
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

const PATIENCE: Duration = Duration::from_secs(15);
