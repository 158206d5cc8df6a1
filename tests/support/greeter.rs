//! A destination without TLS that sends one word to each client, and a relay's file for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Returns a directory with a file for one listener, and the keys of a destination that answers in
/// clear.
pub(crate) fn configured(listener: &str, destination: &str) -> TempDir {
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

pub(crate) fn listener(name: &str, bind: impl std::fmt::Display) -> String {
    format!("[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n")
}

pub(crate) fn file(directory: &TempDir) -> String {
    directory.path().join("relay.toml").display().to_string()
}

/// Starts a server without TLS that sends one word to each client.
pub(crate) fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
    address
}

pub(crate) fn destination(server: SocketAddr) -> String {
    format!(
        "[[destination]]\nname = \"plain\"\nhosts = [\"plain.example\"]\nports = [{}]\nsni = \"any\"\ntls_only = false\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.1\"]\n",
        server.port()
    )
}

/// Makes one attempt, and returns all that came back.
pub(crate) fn attempt(proxy: SocketAddr, server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Most clients that a restart hits are in this state: connected, with nothing sent yet.
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

const PATIENCE: Duration = Duration::from_secs(15);
