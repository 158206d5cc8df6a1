//! The records of the trail: what they say, and how untrusted text gets into them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authority::{Authority, ServerName};
use crate::tls::ClientHello;

/// What happened. The word is the record's `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    RelayStarted,
    RelayStopped,
    ConfigLoaded,
    ConfigRejected,
    TunnelOpened,
    /// Hourly, so that a tunnel of many hours isn't silent until its end.
    TunnelProgress,
    TunnelClosed,
    /// A tunnel that was open when the relay ended without a word.
    TunnelLost,
    RequestDenied,
    RequestFailed,
    /// Refusals beyond a client's rate, counted together.
    Refusals,
    /// Signed; the past can't be signed again afterwards.
    Checkpoint,
    TrailPruned,
    ClockStepped,
    /// Records that are missing, or that there never were, and why.
    AuditGap,
}

/// What policy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}

/// What became of the session; apart from the decision, because an allowed request can still fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Open,
    Closed,
    Refused,
    Failed,
    /// The client left before its tunnel carried anything.
    Abandoned,
    /// Nobody knows.
    Lost,
}

/// What stands for the reason, where there is none, when requests that their clients gave up are counted.
pub(super) const ABANDONED: &str = "abandoned";

/// A session as the trail tells it. Every record of a session has every key; what isn't known yet, or has no meaning, is null.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SessionRecord {
    pub session: Box<str>,
    pub listener: Arc<str>,
    pub policy: Arc<str>,
    pub client: Client,
    pub target: Target,
    pub upstream_local: Option<SocketAddr>,
    pub destination: Option<Arc<str>>,
    pub decision: Option<Decision>,
    /// False where report-only let through what policy would refuse.
    pub enforced: bool,
    pub reason: Option<&'static str>,
    pub outcome: Option<Outcome>,
    pub closed_by: Option<&'static str>,
    /// For the operator: addresses, errno, the rule that decided.
    pub error: Option<Box<str>>,
    pub tls: Option<Tls>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub dns_ms: Option<Millis>,
    pub connect_ms: Option<Millis>,
    pub duration_ms: Millis,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Client {
    pub address: IpAddr,
    pub port: u16,
    /// The load balancer that announced the address (PROXY protocol).
    pub via: Option<IpAddr>,
    pub certificate: Option<Box<str>>,
    pub name: Option<Arc<str>>,
    pub role: Option<&'static str>,
}

/// What was asked for: as it was sent, and as it was understood.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct Target {
    pub raw: Option<Box<str>>,
    /// Bytes as sent, before escaping, masking and cutting.
    pub raw_length: usize,
    pub host: Option<Box<str>>,
    pub port: Option<u16>,
    pub address: Option<IpAddr>,
    pub address_source: Option<&'static str>,
}

/// What the ClientHello said, in clear.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tls {
    pub sni: Option<Box<str>>,
    pub alpn: Vec<Box<str>>,
    pub versions: Vec<Box<str>>,
    pub ech: bool,
}

/// Milliseconds with one decimal: what a reader compares, without digits that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Millis(pub std::time::Duration);

/// What a record of the relay itself says beside its event. The title of a variant in the schema is its event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    #[schemars(title = "relay_started")]
    Started {
        version: &'static str,
        boot: Option<Box<str>>,
        uptime_ms: u64,
        listeners: Vec<String>,
        /// What the process has given up: "seccomp", "landlock 6" and so on; nothing where `[sandbox]` is off.
        sandbox: Vec<Box<str>>,
    },
    #[schemars(title = "relay_stopped")]
    Stopped {
        cause: &'static str,
        tunnels_cut: usize,
    },
    #[schemars(title = "config_loaded")]
    Loaded {
        policy: Arc<str>,
        source: String,
        warnings: Vec<String>,
    },
    #[schemars(title = "config_rejected")]
    Rejected { source: String, error: String },
    #[schemars(title = "refusals")]
    Refusals {
        address: IpAddr,
        #[schemars(with = "String")]
        since: Timestamp,
        count: u64,
        reasons: BTreeMap<&'static str, u64>,
    },
    #[schemars(title = "checkpoint")]
    Checkpoint {
        /// Records since the last one.
        records: u64,
        boot: Option<Box<str>>,
        /// Since the boot, suspended time included.
        uptime_ms: u64,
        /// The key that signs this, and the one that will sign the next.
        key: Box<str>,
        next: Box<str>,
    },
    #[schemars(title = "trail_pruned")]
    Pruned {
        from: u64,
        to: u64,
        /// Of record `to`.
        hash: Box<str>,
        segments: usize,
        bytes: u64,
    },
    #[schemars(title = "clock_stepped")]
    Stepped { seconds: f64 },
    /// Either records with numbers that are missing, or a count of what was never recorded.
    #[schemars(title = "audit_gap")]
    Gap {
        from: Option<u64>,
        to: Option<u64>,
        count: Option<u64>,
        cause: Box<str>,
    },
}

impl Data {
    /// Cuts what has no bound of its own, as the report on a long and wrong configuration: a line that is too long for its
    /// readers would break the trail.
    pub(super) fn bounded(mut self) -> Self {
        match &mut self {
            Self::Started { listeners, .. } => cut_all(listeners),
            Self::Loaded {
                source, warnings, ..
            } => {
                cut(source);
                cut_all(warnings);
            }
            Self::Rejected { source, error } => {
                cut(source);
                cut(error);
            }
            _ => {}
        }
        self
    }
}

fn cut_all(texts: &mut Vec<String>) {
    texts.truncate(MAX_TEXTS);
    for text in texts {
        cut_to(text, MAX_TEXT / 8);
    }
}

fn cut(text: &mut String) {
    cut_to(text, MAX_TEXT);
}

fn cut_to(text: &mut String, length: usize) {
    if text.len() > length {
        text.truncate(text.floor_char_boundary(length));
        text.push('…');
    }
}

impl Target {
    /// Keeps what was sent, harmless to print: at most [`MAX_RAW`] bytes of it.
    pub(super) fn sent(&mut self, raw: &[u8]) {
        self.raw = Some(escape(raw).into_boxed_str());
        self.raw_length = raw.len();
    }

    pub(super) fn understood(&mut self, authority: &Authority) {
        self.host = Some(authority.host.to_string().into_boxed_str());
        self.port = Some(authority.port);
    }
}

impl From<ClientHello> for Tls {
    fn from(hello: ClientHello) -> Self {
        let sni = match hello.server_name {
            ServerName::Absent => None,
            ServerName::Host(host) => Some(host.to_string().into_boxed_str()),
            ServerName::Invalid => Some("(invalid)".into()),
        };
        Self {
            sni,
            alpn: hello.alpn,
            versions: hello
                .versions
                .iter()
                .map(|version| version.to_string().into_boxed_str())
                .collect(),
            ech: hello.ech,
        }
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

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact below 2^53 tenths, 28,000 years"
        )]
        let tenths = (self.0.as_micros() / 100) as f64;
        serializer.serialize_f64(tenths / 10.0)
    }
}

/// Escapes bytes that a client sent into printable ASCII, and masks what may be a secret: the userinfo before an `@`, and a
/// query from `?` on. The escape is reversible but for the mask: a backslash doubles, any other odd byte becomes `\xNN`.
pub fn escape(raw: &[u8]) -> String {
    let masked = userinfo(raw);
    let rest = masked.as_ref().map_or(0, |range| range.end);
    let query = raw[rest..].iter().position(|b| *b == b'?');
    let path = &raw[rest..query.map_or(raw.len(), |at| rest + at)];

    let mut out = String::with_capacity(raw.len().min(MAX_RAW) + 8);
    let mut room = MAX_RAW;
    if let Some(range) = masked {
        push_escaped(&mut out, &raw[..range.start], &mut room);
        out.push_str(MASK);
    }
    push_escaped(&mut out, path, &mut room);
    if query.is_some() {
        out.push('?');
        out.push_str(MASK);
    }
    out
}

/// Where the userinfo stands: it ends at the last `@` of the authority (RFC 3986, 3.2). It is looked for in all that was sent,
/// lest a cut between a password and its `@` let the password through.
fn userinfo(raw: &[u8]) -> Option<std::ops::Range<usize>> {
    let is_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    let start = raw
        .windows(3)
        .position(|w| w == b"://")
        .filter(|at| raw[..*at].iter().all(is_scheme))
        .map_or(0, |at| at + 3);
    let is_end = |b: &u8| matches!(b, b'/' | b'?');
    let end = match raw[start..].iter().position(is_end) {
        // Without a scheme or a leading slash all of it is authority, and these belong to a password that wasn't encoded.
        Some(1..) if start == 0 => raw.len(),
        Some(at) => start + at,
        None => raw.len(),
    };
    let at = raw[start..end].iter().rposition(|b| *b == b'@')?;
    Some(start..start + at)
}

/// Appends as many of `bytes` as there is `room` for.
fn push_escaped(out: &mut String, bytes: &[u8], room: &mut usize) {
    let kept = &bytes[..bytes.len().min(*room)];
    *room -= kept.len();
    for &byte in kept {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// How much of a raw target the trail keeps. A host name with a port has at most 259.
pub const MAX_RAW: usize = 256;
const MASK: &str = "***";
/// Bytes of a text of the relay's own, which JSON may make six times as long.
const MAX_TEXT: usize = 4096;
/// Of a list, each an eighth as long.
const MAX_TEXTS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_masks() {
        for (raw, kept) in [
            (&b"CH3.zerto.com:443"[..], "CH3.zerto.com:443"),
            (
                b"a\r\nX: \x1b[31m\xff\xe2\x80\xae",
                "a\\x0d\\x0aX: \\x1b[31m\\xff\\xe2\\x80\\xae",
            ),
            (b"back\\slash", "back\\\\slash"),
            (b"user:secret@host:443", "***@host:443"),
            (b"a@b@host:443", "***@host:443"),
            (b"user:se?cr/et@host:443", "***@host:443"),
            (b"user:se://cret@host:443", "***@host:443"),
            (b"http://host?to=user:secret@host", "http://host?***"),
            (b"/path?to=http://user:secret@host", "/path?***"),
            (
                b"http://user:secret@host/p@th?token=1",
                "http://***@host/p@th?***",
            ),
            (b"/path?secret=1", "/path?***"),
            (b"", ""),
        ] {
            assert_eq!(escape(raw), kept);
        }
    }

    #[test]
    fn keeps_a_bounded_piece_and_the_true_length() {
        let mut target = Target::default();
        target.sent(&[b'a'; 5000]);
        assert_eq!(target.raw.unwrap().len(), MAX_RAW);
        assert_eq!(target.raw_length, 5000);
    }

    #[test]
    fn milliseconds_have_one_decimal() {
        let text = serde_json::to_string(&Millis(Duration::from_micros(21_049))).unwrap();
        assert_eq!(text, "21.0");
    }

    proptest! {
        #[test]
        fn only_printable_ascii_comes_out(raw: Vec<u8>) {
            prop_assert!(escape(&raw).bytes().all(|b| (b' '..=b'~').contains(&b)));
        }

        #[test]
        fn no_secret_comes_out(user in "[a-z]{1,10}", host in "[a-z]{1,10}") {
            let text = escape(format!("{user}:S3CRET@{host}:443?S3CRET").as_bytes());
            prop_assert!(!text.contains("S3CRET"), "{}", text);
        }
    }
}
