//! A datagram socket in systemd's place: what the relay tells it, and when it stops to say that it lives.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::{Process, relay, write_config};
use crate::support::relay::upstream;

/// The manager's end, in a directory that the relay has its own things in, too.
struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn with(keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let manager = Self { directory, socket };
        manager.write(keys);
        manager
    }

    fn write(&self, keys: &str) {
        write_config(self.directory.path(), keys, "sync = \"20ms\"");
    }

    /// The relay as this manager starts it. Without a watchdog unless the variables for one are given.
    fn start(&self, environment: &[(&str, &str)]) -> Process {
        let mut command = relay();
        command
            .args(["serve", "--config"])
            .arg(self.file())
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .envs(environment.iter().copied());
        Process::spawn(command)
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("relay.toml")
    }

    /// The next message.
    fn received(&self) -> String {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next that isn't the watchdog's.
    fn event(&self) -> String {
        loop {
            let message = self.received();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// Completes when the watchdog was last fed a whole period ago.
    fn until_silent(&self) {
        self.socket.set_read_timeout(Some(PERIOD)).unwrap();
        let start = Instant::now();
        let mut buffer = [0; 8192];
        // Another message would be a status, which comes with a sign of life.
        while self.socket.recv(&mut buffer).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it still says that all is well");
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn until_fed(&self) {
        while self.received() != "WATCHDOG=1" {}
    }
}

/// Opens a connection and asks for a tunnel; the answer isn't awaited.
fn ask(proxy: SocketAddr, target: &str) -> TcpStream {
    use std::io::Write;

    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    )
    .unwrap();
    stream
}

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
    // The drain, and what comes before and after it.
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

/// SIGTERM is told once, though accepting goes on first.
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
    // Twice a period, which the load of a test machine may stretch.
    assert!(start.elapsed() < PERIOD * beats, "{:?}", start.elapsed());
    assert!(
        start.elapsed() >= PERIOD / 4 * beats,
        "{:?}",
        start.elapsed()
    );
}

/// What another process shall say isn't said.
#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let manager = Manager::with("");
    let _process = manager.start(&[("WATCHDOG_USEC", MICROSECONDS), ("WATCHDOG_PID", "1")]);
    assert!(manager.received().starts_with("READY=1"));
    let timeout = Some(PERIOD * 2);
    manager.socket.set_read_timeout(timeout).unwrap();
    assert!(manager.socket.recv(&mut [0; 16]).is_err());
}

#[test]
fn a_trail_whose_disk_hangs_stops_the_watchdog() {
    let manager = Manager::with("");
    let fault = Fault::new(manager.directory.path());
    let process = manager.start(&fault.environment("fdatasync"));
    manager.until_fed();
    fault.begin();
    // Something to write.
    drop(ask(process.proxy, "b.example:443"));
    manager.until_silent();
    fault.end();
    manager.until_fed();
}

#[test]
fn a_worker_that_hangs_stops_the_watchdog() {
    let manager = Manager::with(&upstream("a.example", 9));
    let fault = Fault::new(manager.directory.path());
    let process = manager.start(&fault.environment("connect"));
    manager.until_fed();
    fault.begin();
    let _client = ask(process.proxy, "a.example:9");
    manager.until_silent();
    fault.end();
    manager.until_fed();
}

/// Only who asked for messages gets any; who can't be reached is no reason not to serve.
#[test]
fn without_a_manager_it_serves() {
    let manager = Manager::with("");
    for socket in ["", "/nowhere/notify", "vsock:2:1"] {
        let process = manager.start(&[("NOTIFY_SOCKET", socket)]);
        assert!(TcpStream::connect(process.proxy).is_ok(), "{socket:?}");
    }
}

/// System calls that don't come back while a file exists.
struct Fault {
    library: String,
    file: String,
}

impl Fault {
    fn new(directory: &Path) -> Self {
        let source = directory.join("fault.c");
        fs::write(&source, FAULT).unwrap();
        let library = directory.join("fault.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
            .arg(&library)
            .arg(&source)
            .status()
            .expect("a C compiler is installed");
        assert!(compiled.success());
        Self {
            library: library.display().to_string(),
            file: directory.join("fault").display().to_string(),
        }
    }

    /// With a watchdog, and this call at the mercy of the file.
    fn environment<'a>(&'a self, call: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("WATCHDOG_USEC", MICROSECONDS),
            ("LD_PRELOAD", &self.library),
            ("FAULT", &self.file),
            ("FAULTY", call),
        ]
    }

    fn begin(&self) {
        fs::write(&self.file, "").unwrap();
    }

    fn end(&self) {
        fs::remove_file(&self.file).unwrap();
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

const FAULT: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hang(const char *call) {
    const char *faulty = getenv("FAULTY"), *file = getenv("FAULT");
    while (!strcmp(call, faulty) && access(file, F_OK) == 0) usleep(10000);
}

int fdatasync(int fd) { hang("fdatasync"); return syscall(SYS_fdatasync, fd); }

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    hang("connect");
    return syscall(SYS_connect, fd, address, length);
}
"#;
/// Of the watchdog, in `MICROSECONDS`.
const PERIOD: Duration = Duration::from_millis(400);
const MICROSECONDS: &str = "400000";
const PATIENCE: Duration = Duration::from_secs(20);
