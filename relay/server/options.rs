//! What the server is told: where to listen, how long to wait, how much to take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::Rate;

/// A port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    pub name: Arc<str>,
    /// `[::]` listens on both families, and on IPv4 alone where IPv6 is off.
    pub bind: SocketAddr,
    pub mode: ListenerMode,
}

/// How the clients of a listener say where they want to go, and so how one is told that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// By a CONNECT; a refusal is an HTTP answer.
    Proxy,
    /// By the server name in the ClientHello that they begin with; a refusal is a TLS alert.
    Sni { target_port: u16 },
}

/// How long each stage of a session may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request head to its end.
    pub request_head: Duration,
    /// From the 200 to the end of the ClientHello.
    pub client_hello: Duration,
    /// All connection attempts to a destination together.
    pub connect: Duration,
    /// No byte in either direction.
    pub idle: Duration,
    /// No byte after the first FIN.
    pub half_closed: Duration,
    /// A tunnel's whole life.
    pub lifetime: Duration,
    /// Unacknowledged data before the kernel gives a connection up (`TCP_USER_TIMEOUT`).
    pub tcp_user: Duration,
    /// Silence before the kernel probes the peer (`TCP_KEEPIDLE`).
    pub keepalive: Duration,
    /// How long open tunnels may go on after SIGTERM.
    pub drain: Duration,
}

/// How much the relay takes. "Per client" means per source address, for IPv6 per /64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted connections in any state.
    pub connections: u32,
    pub connections_per_client: u32,
    pub tunnels: u32,
    pub tunnels_per_client: u32,
    /// Percent of `tunnels` that only listed clients may take.
    pub inventory_reserve: u8,
    /// Request heads, refused ones included; the burst is twice the count.
    pub rate_per_client: Rate,
    /// Bytes.
    pub request_head: usize,
}
