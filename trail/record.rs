//! A record of the trail, which the relay writes and all other programs read.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chain::Line;
use crate::escape::escape;
use crate::text::Text;
use crate::words::{Decision, Event, Outcome, Upload};

/// One record of any event. A member that the event doesn't have is empty.
///
/// Serialised, it is the record of a session, without the members that the chain adds: `v`,
/// `trail`, `seq`, `time`, `prev` and `hash`. It is also without `data`, which only events of the
/// relay itself have.
///
/// Every record of a session has every other key. A value that isn't known yet, or has no meaning,
/// is null.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    #[serde(skip_serializing)]
    pub trail: Text,
    #[serde(skip_serializing)]
    pub seq: u64,
    #[serde(skip_serializing)]
    #[schemars(with = "String")]
    pub time: Timestamp,
    #[schemars(skip)]
    pub relay: Text,
    #[schemars(skip)]
    pub event: Event,
    /// The data of an event of the relay itself; see [`Self::data`].
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub data: Option<Box<RawValue>>,
    #[serde(skip_serializing)]
    pub hash: Text,

    #[schemars(with = "String")]
    pub session: Option<Text>,
    #[schemars(with = "String")]
    pub listener: Option<Text>,
    #[schemars(with = "String")]
    pub policy: Option<Text>,
    #[schemars(with = "Client")]
    pub client: Option<Client>,
    #[serde(default)]
    #[schemars(!default)]
    pub target: Target,
    pub upstream_local: Option<SocketAddr>,
    pub destination: Option<Text>,
    pub decision: Option<Decision>,
    /// False when report-only let through a request that policy would refuse.
    #[schemars(with = "bool")]
    pub enforced: Option<bool>,
    pub reason: Option<Text>,
    pub outcome: Option<Outcome>,
    pub closed_by: Option<Text>,
    /// Details for the operator: addresses, errno, the rule that decided.
    pub error: Option<Text>,
    pub tls: Option<Tls>,
    /// What the tunnel's bytes say about an upload. Null unless it went to a billing destination
    /// that counts for the client.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// Whether the request was for a billing destination that counts for the client. Null for a
    /// name on no list.
    #[serde(default)]
    pub billing: Option<bool>,
    /// Whether the relay was too old to judge uploads, and wrote no `upload`. [`Self::of`] finds
    /// out.
    #[serde(skip)]
    #[schemars(skip)]
    pub unjudged: bool,
    #[serde(default)]
    #[schemars(!default)]
    pub bytes_up: u64,
    #[serde(default)]
    #[schemars(!default)]
    pub bytes_down: u64,
    pub dns_ms: Option<Millis>,
    pub connect_ms: Option<Millis>,
    #[serde(default)]
    #[schemars(!default)]
    pub duration_ms: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    pub address: IpAddr,
    pub port: u16,
    /// The load balancer that announced the address (PROXY protocol).
    pub via: Option<IpAddr>,
    pub certificate: Option<Text>,
    pub name: Option<Text>,
    pub role: Option<Text>,
    /// The listed client that it would be by its address or its certificate, where it isn't let in
    /// as that client.
    #[serde(default)]
    pub claimed: Option<Text>,
}

/// The target of the request, as it was sent and as it was understood.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// The target as it was sent, escaped.
    pub raw: Option<Text>,
    /// The bytes of the target as sent, before escaping, masking and cutting.
    pub raw_length: usize,
    pub host: Option<Text>,
    pub port: Option<u16>,
    pub address: Option<IpAddr>,
    pub address_source: Option<Text>,
}

/// What the ClientHello shows without decrypting.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    pub sni: Option<Text>,
    pub alpn: Vec<Text>,
    pub versions: Vec<Text>,
    pub ech: bool,
    /// The bytes of each `ClientHello`, record headers included.
    #[serde(default)]
    pub hello_bytes: u64,
}

/// Milliseconds. The relay writes one decimal, because more digits would mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl Record {
    /// Makes the record of a session that has just begun. Only the origin of its connection is
    /// known.
    pub fn of_session(
        relay: Text,
        session: Text,
        listener: Text,
        policy: Text,
        client: Client,
    ) -> Self {
        Self {
            trail: Text::default(),
            seq: 0,
            time: Timestamp::UNIX_EPOCH,
            relay,
            event: Event::TunnelOpened,
            data: None,
            hash: Text::default(),
            session: Some(session),
            listener: Some(listener),
            policy: Some(policy),
            client: Some(client),
            target: Target::default(),
            upstream_local: None,
            destination: None,
            decision: None,
            enforced: Some(true),
            reason: None,
            outcome: None,
            closed_by: None,
            error: None,
            tls: None,
            upload: None,
            billing: None,
            unjudged: false,
            bytes_up: 0,
            bytes_down: 0,
            dns_ms: None,
            connect_ms: None,
            duration_ms: Millis::default(),
        }
    }

    /// Reads the record of a proven line. Returns none when this version doesn't know the event or
    /// the form of a member.
    pub fn of(line: &Line<'_>) -> Option<Self> {
        let mut record: Self = serde_json::from_slice(line.bytes).ok()?;
        record.unjudged = record.session.is_some()
            && record.upload.is_none()
            && !line.bytes.windows(UPLOAD.len()).any(|it| it == UPLOAD);
        Some(record)
    }

    /// The `data` of the record, if it can be read as a `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.data.as_ref()?.get()).ok()
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
    /// The client's name, or else its address.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.address.to_string(),
        }
    }
}

impl Target {
    /// Keeps at most [`crate::MAX_RAW`] bytes of the target as it was sent, escaped so that they
    /// are harmless to print.
    pub fn sent(&mut self, raw: &[u8]) {
        self.raw = Some(escape(raw).into());
        self.raw_length = raw.len();
    }

    /// The target as it was understood, as `host:port`, with an IPv6 address in brackets.
    pub fn authority(&self) -> Option<String> {
        let (host, port) = (self.host.as_deref()?, self.port?);
        Some(match self.literal() {
            Some(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{host}:{port}"),
        })
    }

    /// The host, if it is an address. It is recorded without brackets.
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.as_deref()?.parse().ok()
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact below 2^53 tenths, 28,000 years"
        )]
        let tenths = (duration.as_micros() / 100) as f64;
        Self(tenths / 10.0)
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Millis".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "number", "minimum": 0})
    }
}

/// The key of a judged upload. No text of a record has these bytes, because a quote in a text has a
/// backslash before it.
const UPLOAD: &[u8] = b"\"upload\":";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Chain;
    use crate::escape::MAX_RAW;

    #[test]
    fn keeps_a_bounded_piece_and_the_true_length() {
        let mut target = Target::default();
        target.sent(&[b'a'; 5000]);
        assert_eq!(target.raw.unwrap().len(), MAX_RAW);
        assert_eq!(target.raw_length, 5000);
    }

    #[test]
    fn a_record_without_a_judgement_is_told_from_one_that_is_no_upload() {
        let unjudged = |members: &str| {
            let mut line = Vec::new();
            let relay = r#""relay":"r","event":"tunnel_closed","session":"s","destination":"#;
            let members = format!("{relay}{members}");
            Chain::new("t".into()).append(Timestamp::UNIX_EPOCH, members.as_bytes(), &mut line);
            let line = Line::parse(line.trim_ascii_end()).unwrap();
            Record::of(&line).unwrap().unjudged
        };
        assert!(unjudged(r#""billing""#));
        assert!(unjudged(r#""\"upload\":""#));
        assert!(!unjudged(r#""billing","upload":null"#));
        assert!(!unjudged(r#""billing","upload":"small""#));
    }

    #[test]
    fn milliseconds_have_one_decimal() {
        let millis = Millis::from(Duration::from_micros(21_049));
        assert_eq!(serde_json::to_string(&millis).unwrap(), "21.0");
    }
}
