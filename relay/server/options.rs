//! What the server is told: where to listen, how long to wait, how much to take.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::Rate;

/// A port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    pub name: Arc<str>,
    /// `[::]` listens on both families, and on IPv4 alone where IPv6 is off.
    pub bind: SocketAddr,
    pub mode: ListenerMode,
    /// The balancers that may connect, each with a PROXY header. Empty: anyone, without one.
    pub proxy_protocol_from: Vec<IpNet>,
    /// What makes it an HTTPS proxy.
    pub tls: Option<TlsOptions>,
}

/// PEM files, read at the start and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The listener's chain, its own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities that may vouch for clients, each of which then needs a certificate.
    pub client_ca: Option<PathBuf>,
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
    /// From accept to the end of a PROXY header.
    pub proxy_header: Duration,
    /// From there to the end of a listener's own TLS handshake.
    pub tls_handshake: Duration,
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

impl ListenerOptions {
    /// Whether its clients say nothing before a ClientHello, so that a refusal is told by an alert.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.tls.is_some() || self.mode != ListenerMode::Proxy
    }

    /// Whether this peer announces the clients of its connections.
    pub(super) fn has_balancer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from
            .iter()
            .any(|net| net.contains(&peer))
    }
}
