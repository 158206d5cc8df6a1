//! The relay as a process of its own, for what only a process can suffer: signals, full disks,
//! faulty system calls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Process {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    said: Arc<Mutex<String>>,
}

/// Prepares the relay's own command.
pub(crate) fn relay() -> Command {
    Command::new(env!("CARGO_BIN_EXE_callhome-relay"))
}

/// Writes a file with these keys, the trail in `audit` beside it, ports of the kernel's choice and
/// no name server.
pub(crate) fn write_config(directory: &Path, keys: &str, audit: &str) {
    let text = format!(
        "name = \"test\"\npreset = \"none\"\n{keys}\n[dns]\nservers = [\"127.0.0.1:9\"]\n\
         [[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [audit]\ndirectory = \"{}\"\n{audit}\n",
        directory.join("audit").display()
    );
    fs::write(directory.join("relay.toml"), text).unwrap();
}

impl Process {
    /// Runs `serve` on the directory's file.
    pub(crate) fn serve(directory: &Path) -> Self {
        let mut command = relay();
        command
            .args(["serve", "--config"])
            .arg(directory.join("relay.toml"));
        Self::spawn(command)
    }

    /// Runs a command that becomes a relay, whose introduction has the ports.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::null());
        Self::introduced(command)
    }

    /// Does the same, and returns the standard output to be read.
    pub(crate) fn spawn_read(mut command: Command) -> (Self, ChildStdout) {
        command.stdout(Stdio::piped());
        let mut process = Self::introduced(command);
        let stdout = process.child.stdout.take().unwrap();
        (process, stdout)
    }

    fn introduced(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, received) = mpsc::channel();
        let said = Arc::<Mutex<String>>::default();
        let log = said.clone();
        // Read the log to its end, because the relay would block on a full pipe.
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                log.lock().unwrap().extend([line.as_str(), "\n"]);
                let _ = lines.send(line);
            }
        });
        let address = |start: &str| loop {
            let line = received
                .recv_timeout(Duration::from_secs(20))
                .unwrap_or_else(|_| panic!("no line with {start:?}:\n{}", said.lock().unwrap()));
            let line = line.trim();
            if let Some(rest) = line.strip_prefix(start) {
                let end = rest
                    .find(|c: char| c == '/' || c.is_whitespace())
                    .unwrap_or(rest.len());
                return rest[..end].parse().unwrap();
            }
        };
        Self {
            proxy: address("listens   "),
            admin: address("admin     http://"),
            child,
            said,
        }
    }

    /// Returns the log so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns a field of every thread's /proc/PID/task/TID/status, each value once.
    pub(crate) fn status(&self, field: &str) -> Vec<String> {
        let mut values = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.id())).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
            let value = value.unwrap_or_else(|| panic!("no {field}")).to_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
