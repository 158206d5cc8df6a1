//! A record as a reader has it: numbers, times and addresses are what they say; text is whatever stands in the file.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::chain::Line;
use super::record::{Decision, Event, Outcome};

/// A record of any event. What an event doesn't have is empty.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    pub trail: String,
    pub seq: u64,
    pub time: Timestamp,
    pub relay: String,
    pub event: Event,
    /// Of an event of the relay itself.
    #[serde(default)]
    pub data: Option<Value>,
    pub hash: String,

    #[serde(default)]
    pub session: Option<String>,
    #[serde(default)]
    pub listener: Option<String>,
    #[serde(default)]
    pub policy: Option<String>,
    #[serde(default)]
    pub client: Option<Client>,
    #[serde(default)]
    pub target: Target,
    #[serde(default)]
    pub upstream_local: Option<SocketAddr>,
    #[serde(default)]
    pub destination: Option<String>,
    #[serde(default)]
    pub decision: Option<Decision>,
    #[serde(default)]
    pub enforced: Option<bool>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub outcome: Option<Outcome>,
    #[serde(default)]
    pub closed_by: Option<String>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default)]
    pub bytes_up: u64,
    #[serde(default)]
    pub bytes_down: u64,
    #[serde(default)]
    pub dns_ms: Option<f64>,
    #[serde(default)]
    pub connect_ms: Option<f64>,
    #[serde(default)]
    pub duration_ms: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Client {
    pub address: IpAddr,
    pub port: u16,
    pub via: Option<IpAddr>,
    pub certificate: Option<String>,
    pub name: Option<String>,
    pub role: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Target {
    /// As it was sent, escaped.
    pub raw: Option<String>,
    pub raw_length: u64,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub address: Option<IpAddr>,
    pub address_source: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tls {
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    pub versions: Vec<String>,
    pub ech: bool,
}

impl Entry {
    /// What a proven line says; None when it says it in a way that this version doesn't know.
    pub fn of(line: &Line<'_>) -> Option<Self> {
        serde_json::from_slice(line.bytes).ok()
    }

    /// Whether it is the last record of its session.
    pub fn is_closing(&self) -> bool {
        matches!(
            self.event,
            Event::TunnelClosed | Event::TunnelLost | Event::RequestDenied | Event::RequestFailed
        )
    }

    /// Whether the session had its tunnel.
    pub fn had_tunnel(&self) -> bool {
        !matches!(self.event, Event::RequestDenied | Event::RequestFailed)
    }
}

impl Client {
    /// What people know it by.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.address.to_string(),
        }
    }
}

impl Target {
    /// `host:port` as it was understood, an IPv6 address in brackets.
    pub fn authority(&self) -> Option<String> {
        let (host, port) = (self.host.as_deref()?, self.port?);
        Some(match self.literal() {
            Some(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{host}:{port}"),
        })
    }

    /// The host, when it is an address: recorded without brackets.
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.as_deref()?.parse().ok()
    }
}
