//! A datagram socket in systemd's place, to which the relay reports what it does and that it lives.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, relay, write_config};

/// The manager's socket, in a directory that the relay's own files are in, too.
pub(crate) struct Manager {
    pub(crate) directory: TempDir,
    pub(crate) socket: UnixDatagram,
}

impl Manager {
    pub(crate) fn with(keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let manager = Self { directory, socket };
        manager.write(keys);
        manager
    }

    pub(crate) fn write(&self, keys: &str) {
        write_config(self.directory.path(), keys, "sync = \"20ms\"");
    }

    /// Starts the relay as this manager does. It has no watchdog unless the variables for one are
    /// given.
    pub(crate) fn start(&self, environment: &[(&str, &str)]) -> Process {
        let mut command = relay();
        command
            .args(["serve", "--config"])
            .arg(self.file())
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .envs(environment.iter().copied());
        Process::spawn(command)
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("relay.toml")
    }

    /// Returns the next message.
    pub(crate) fn received(&self) -> String {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Returns the next message that isn't the watchdog's.
    pub(crate) fn event(&self) -> String {
        loop {
            let message = self.received();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    pub(crate) fn until_fed(&self) {
        while self.received() != "WATCHDOG=1" {}
    }
}

/// Opens a connection and asks for a tunnel, without waiting for the answer.
pub(crate) fn ask(proxy: SocketAddr, target: &str) -> TcpStream {
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

/// The watchdog's period, the same as `MICROSECONDS`.
pub(crate) const PERIOD: Duration = Duration::from_millis(400);
pub(crate) const MICROSECONDS: &str = "400000";
const PATIENCE: Duration = Duration::from_secs(20);
