//! The real binary: run to its end, or serving until a signal.

use std::io::{PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Prepares the binary with these arguments, without the variables from which it would take a
/// configuration.
pub(crate) fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).stdin(Stdio::null());
    isolate(&mut command);
    command
}

/// Prepares a shell that has the binary as `$0` and these arguments as `$@`.
pub(crate) fn shell(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]).args(args);
    command.stdin(Stdio::null());
    isolate(&mut command);
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    finish(binary(args))
}

/// Runs a command to its end, which has to come in time.
pub(crate) fn finish(command: Command) -> Ran {
    finish_within(command, PATIENCE)
}

/// Runs a command that may take this long.
pub(crate) fn finish_within(mut command: Command, limit: Duration) -> Ran {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = Collected::from(child.stdout.take().unwrap());
    let stderr = Collected::from(child.stderr.take().unwrap());
    let status = wait(&mut child, limit).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("{command:?} doesn't end; it said:\n{}", stderr.text());
    });
    Ran {
        code: status.code(),
        stdout: stdout.whole(),
        stderr: stderr.whole(),
    }
}

/// Runs the binary with a standard output whose reader is gone.
pub(crate) fn run_unread(args: &[&str]) -> Ran {
    let (reader, writer): (_, PipeWriter) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = binary(args)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = Collected::from(child.stderr.take().unwrap());
    let status = wait(&mut child, PATIENCE).expect("it ends");
    Ran {
        code: status.code(),
        stdout: String::new(),
        stderr: stderr.whole(),
    }
}

/// A configuration file in a directory of its own.
pub(crate) struct ConfigFile(TempDir);

impl ConfigFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("relay.toml")
    }

    pub(crate) fn name(&self) -> String {
        self.path().display().to_string()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// A running `serve` on ports that the kernel chose.
pub(crate) struct Serving {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) file: ConfigFile,
    child: Child,
    log: Collected,
}

impl Serving {
    /// Starts with these keys in its file, as [`serve_file`] takes them.
    pub(crate) fn start(keys: &str) -> Self {
        let file = ConfigFile::new(&serve_file(keys));
        let mut child = binary(&["serve", "--config", &file.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Collected::from(child.stderr.take().unwrap());
        // This line ends the introduction, and comes when the ports are bound and the signals are
        // awaited.
        wait_for(&log, "to try it:");
        let text = log.text();
        Self {
            proxy: address_after(&text, "listens"),
            admin: address_after(&text, "admin     http://"),
            file,
            child,
            log,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Replaces the keys and reloads. Waits until the log has this text.
    pub(crate) fn reload(&self, keys: &str, until: &str) {
        self.file.write(&serve_file(keys));
        self.signal(Signal::HUP);
        self.wait_for(until);
    }

    pub(crate) fn wait_for(&self, text: &str) {
        wait_for(&self.log, text);
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Returns the exit code, if the process ends in this time.
    pub(crate) fn exits_within(&mut self, limit: Duration) -> Option<i32> {
        wait(&mut self.child, limit).map(|status| {
            status
                .code()
                .unwrap_or_else(|| panic!("{status}:\n{}", self.log.text()))
        })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a GET with these further fields to the admin listener, and returns status and body.
    pub(crate) fn get(&self, path: &str, fields: &[&str]) -> (u16, String) {
        let host = format!("Host: {}", self.admin);
        let mut fields = fields.to_vec();
        if !fields.iter().any(|field| field.starts_with("Host:")) {
            fields.push(&host);
        }
        let fields = fields.join("\r\n");
        let head = format!("GET {path} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n");
        let mut stream = connect(self.admin);
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Sends a CONNECT, and returns the status line of the answer with the connection.
    pub(crate) fn connect(&self, target: &str) -> (String, TcpStream) {
        let mut stream = connect(self.proxy);
        write!(
            stream,
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        (head.lines().next().unwrap().to_owned(), stream)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a whole file on ports that the kernel chooses. `keys` may begin with some of `[admin]`
/// and go on with tables.
pub(crate) fn serve_file(keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n\
         [dns]\nservers = [\"127.0.0.1:9\"]\n\
         [limits]\nconnections = 64\nconnections_per_client = 64\ntunnels = 32\ntunnels_per_client = 32\n\
         [admin]\nbind = \"127.0.0.1:0\"\n{keys}\n"
    )
}

/// Collects what comes out of a pipe, in a thread, so that the process never blocks on it.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = bytes.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Returns all of it, after the process has ended.
    fn whole(self) -> String {
        self.reader.join().unwrap();
        String::from_utf8(std::mem::take(&mut *self.bytes.lock().unwrap())).unwrap()
    }
}

fn isolate(command: &mut Command) {
    for variable in ["CALLHOME_RELAY_CONFIG", "STATE_DIRECTORY"] {
        command.env_remove(variable);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn address_after(text: &str, label: &str) -> SocketAddr {
    let (_, rest) = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label} in {text}"));
    rest.trim_start()
        .split([' ', '/', '\n'])
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn wait_for(log: &Collected, text: &str) {
    let start = Instant::now();
    while !log.text().contains(text) {
        assert!(
            start.elapsed() < PATIENCE && !log.reader.is_finished(),
            "{text:?} never came:\n{}",
            log.text()
        );
        thread::sleep(POLL);
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::sleep(POLL);
    }
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_callhome-relay");
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
