//! Says where the server listens, how long it waits, and how much it takes.

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
    /// The balancers, which alone may connect, each with a PROXY header. Empty: any peer may,
    /// without a header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// With these the listener is an HTTPS proxy: clients speak TLS with the relay itself.
    pub tls: Option<TlsOptions>,
}

/// The PEM files of a listener. They are read at the start and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The listener's chain, its own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities of client certificates. With them every client needs one.
    pub client_ca: Option<PathBuf>,
}

/// How clients name their target, and so the form in which they get a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// They send a CONNECT. A refusal is an HTTP answer.
    Proxy,
    /// They begin with a ClientHello, whose server name is the target. A refusal is a TLS alert.
    Sni { target_port: u16 },
}

/// How long each stage of a session may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of a PROXY header.
    pub proxy_header: Duration,
    /// From there to the end of the TLS handshake with the listener itself.
    pub tls_handshake: Duration,
    /// From the first byte of a request head to its end.
    pub request_head: Duration,
    /// From the 200 to the end of the ClientHello.
    pub client_hello: Duration,
    /// All connection attempts to a destination together.
    pub connect: Duration,
    /// Time without a byte in either direction.
    pub idle: Duration,
    /// Time without a byte after the first FIN.
    pub half_closed: Duration,
    /// The whole life of a tunnel.
    pub lifetime: Duration,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up
    /// (`TCP_USER_TIMEOUT`).
    pub tcp_user: Duration,
    /// The silence after which the kernel probes the peer (`TCP_KEEPIDLE`).
    pub keepalive: Duration,
    /// How long open tunnels may go on after SIGTERM.
    pub drain: Duration,
}

/// How much the relay takes. "Per client" means per source address, and for IPv6 per /64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted connections in any state.
    pub connections: u32,
    pub connections_per_client: u32,
    pub tunnels: u32,
    pub tunnels_per_client: u32,
    /// The percentage of `tunnels` that only listed clients may take.
    pub inventory_reserve: u8,
    /// The rate of request heads, refused ones included. A burst may be twice the count.
    pub rate_per_client: Rate,
    /// The longest request head, in bytes.
    pub request_head: usize,
}

impl ListenerOptions {
    /// Whether a client's first bytes are a ClientHello. Until a handshake with the relay is done,
    /// a refusal must be a TLS alert.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.tls.is_some() || self.mode != ListenerMode::Proxy
    }

    /// Whether `peer` is a balancer, which announces the client of each connection.
    pub(super) fn has_balancer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from
            .iter()
            .any(|net| net.contains(&peer))
    }
}
