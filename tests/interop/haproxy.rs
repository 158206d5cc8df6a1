//! A balancer in front of a relay.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::foreign::tools;

pub(crate) struct HaProxy {
    pub(crate) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl HaProxy {
    /// Starts a balancer that reaches the relay by these options of its `server` line.
    pub(crate) async fn start(relay: SocketAddr, options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen front\n bind {address}\n server relay {relay} {options}\n"
        );
        fs::write(&file, text).unwrap();
        let child = tools::command("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut haproxy = Self {
            address,
            child,
            _directory: directory,
        };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let running = haproxy.child.try_wait().unwrap().is_none();
            assert!(
                running && start.elapsed() < Duration::from_secs(10),
                "haproxy isn't there"
            );
            sleep(Duration::from_millis(10)).await;
        }
        haproxy
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
