//! Socket activation by systemd's own tool.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::foreign::tools;
use crate::support::client::own_address;
use crate::support::greeter::{attempt, configured, destination, file, greeter, listener};
use crate::support::process::relay;

/// systemd's tool starts the relay when the first client comes.
#[test]
fn started_by_systemd_socket_activate() {
    let server = greeter();
    let proxy = SocketAddr::from((own_address(0), 3128));
    let directory = configured(&listener("proxy", proxy), &destination(server));
    let mut command = tools::command("systemd-socket-activate");
    command
        .args(["--listen", &proxy.to_string(), "--fdname", "proxy"])
        .arg(relay().get_program())
        .args(["serve", "--config", &file(&directory)]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    let start = Instant::now();
    let said = loop {
        match attempt(proxy, server) {
            Ok(said) => break said,
            // The tool doesn't listen yet.
            Err(_) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nhello");
}

/// Kills the process when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
