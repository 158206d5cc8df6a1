//! Listeners for clients that were given no proxy, and what such clients send.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::plain::read_to_end;
use super::relay::{Relay, upstream};
use super::tls::client_hello;

/// Returns the listener for targets at a port. It comes before the file's own proxy, so
/// [`Relay::proxy`] is its address.
pub(crate) fn listener(target_port: u16) -> String {
    listener_at("127.0.0.1:0", target_port)
}

pub(crate) fn listener_at(bind: &str, target_port: u16) -> String {
    format!(
        "[[listener]]\nname = \"passthrough\"\nmode = \"sni\"\nbind = \"{bind}\"\ntarget_port = {target_port}\n"
    )
}

/// Returns the only destination, with the address that it has in public.
pub(crate) fn vendor(address: &str, ranges: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"vendor\"\nhosts = [\"{HOST}\"]\nports = [{port}]\naddresses = [\"{address}\"]\n\
         ip_ranges = [\"{ranges}\"]\n"
    )
}

/// Starts a relay for one host at a port of loopback.
pub(crate) async fn relay_to(host: &str, port: u16, keys: &str) -> Relay {
    Relay::start(&format!("{}{}{keys}", listener(port), upstream(host, port))).await
}

/// Returns a ClientHello for any server name, even one that no client library would send.
pub(crate) fn hello_for(server_name: &[u8]) -> Vec<u8> {
    // The placeholder has the same length, so that only its bytes have to be replaced.
    let placeholder = "a".repeat(server_name.len());
    let hello = client_hello(&placeholder);
    let at = hello
        .windows(placeholder.len())
        .position(|window| window == placeholder.as_bytes())
        .unwrap();
    [&hello[..at], server_name, &hello[at + server_name.len()..]].concat()
}

/// Sends a ClientHello, and expects the alert `unrecognized_name`.
pub(crate) async fn is_refused(mut stream: TcpStream) {
    stream.write_all(&hello_for(HOST.as_bytes())).await.unwrap();
    assert_eq!(
        read_to_end(&mut stream).await,
        b"\x15\x03\x03\x00\x02\x02\x70"
    );
}

pub(crate) const HOST: &str = "billing.example";
/// The client's address, which the relay's outgoing sockets don't have.
pub(crate) const CLIENT: &str = "127.0.0.2";
