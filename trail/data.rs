//! The `data` of the relay's own records, one type for each event. The relay writes these types,
//! and readers read them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::jumps::Jumps;
use crate::text::Text;
use crate::words::Event;

/// The `data` of a record of the relay itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    #[schemars(title = "relay_started")]
    RelayStarted(RelayStarted),
    #[schemars(title = "relay_stopped")]
    RelayStopped(RelayStopped),
    #[schemars(title = "config_loaded")]
    ConfigLoaded(ConfigLoaded),
    #[schemars(title = "config_rejected")]
    ConfigRejected(ConfigRejected),
    #[schemars(title = "refusals")]
    Refusals(Refusals),
    #[schemars(title = "inventory")]
    Inventory(InventoryPart),
    #[schemars(title = "checkpoint")]
    Checkpoint(Checkpoint),
    #[schemars(title = "trail_pruned")]
    TrailPruned(TrailPruned),
    #[schemars(title = "clock_stepped")]
    ClockStepped(ClockStepped),
    #[schemars(title = "clock_confirmed")]
    ClockConfirmed(ClockConfirmed),
    #[schemars(title = "audit_gap")]
    AuditGap(AuditGap),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RelayStarted {
    pub version: Text,
    pub boot: Option<Text>,
    pub uptime_ms: u64,
    pub listeners: Vec<String>,
    /// The ways in which the process is confined, such as "seccomp" and "landlock 6"; empty when
    /// `[sandbox]` is off.
    pub sandbox: Vec<Text>,
    /// The records that the run before left behind its last checkpoint, as a crash leaves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<Range>,
}

/// The numbers of records, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RelayStopped {
    pub cause: Text,
    pub tunnels_cut: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigLoaded {
    pub policy: Text,
    pub source: String,
    pub warnings: Vec<String>,
    /// The effective configuration, a part of it in each record.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub effective: Option<TextPart>,
}

/// A part of a text that is too long for one record. The text counts when every part is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextPart {
    /// The SHA-256 of the whole text.
    pub digest: Text,
    /// The number of this part, from 1.
    pub part: usize,
    pub parts: usize,
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigRejected {
    pub source: String,
    pub error: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refusals {
    /// The address of the first of them, or 0.0.0.0 for a crowd.
    pub address: IpAddr,
    // This is text, so that a time which can't be read doesn't hide the counts from a reader.
    pub since: Text,
    pub count: u64,
    pub reasons: BTreeMap<Text, u64>,
    /// The listed client under which they are counted. Its other addresses are counted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Text>,
    /// The listed client that the last of them claimed to be and wasn't let in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Text>,
    /// The first distinct targets, and how often each was asked for. Long ones are cut.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<Text, u64>,
    /// The first distinct pairs of destination and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<RefusedDestination>,
}

/// How often requests for a destination were refused for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedDestination {
    /// None for a target on no list, and for a request without a target.
    pub destination: Option<Text>,
    pub reason: Text,
    pub count: u64,
}

/// A part of an [`Inventory`](crate::Inventory), which is the text as JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InventoryPart {
    #[serde(flatten)]
    pub inventory: TextPart,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// Records since the last checkpoint.
    pub records: u64,
    pub boot: Option<Text>,
    /// Milliseconds since the boot, suspended time included.
    pub uptime_ms: u64,
    /// The key that signs this checkpoint.
    pub key: Text,
    /// The key that will sign the next one.
    pub next: Text,
    /// Whether this relay signs `head.json`. From this checkpoint on, a directory must have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heads: bool,
    /// The oldest record that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Oldest>,
    /// The `trail_pruned` for which this checkpoint vouches. The relay deletes what that record
    /// names once this checkpoint is on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<u64>,
    /// Records that an earlier run left behind its last checkpoint. This one covers them, and
    /// doesn't vouch for what they declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<Range>,
    /// The opening record of the oldest tunnel that was open, or this checkpoint if none was. No
    /// earlier record is of a tunnel without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_from: Option<u64>,
    /// The jumps of the clock that the age of a record doesn't count.
    #[serde(default, skip_serializing_if = "Jumps::is_empty")]
    pub jumps: Jumps,
}

/// The oldest record of a directory, and the hash that it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Oldest {
    pub seq: u64,
    pub prev: Text,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrailPruned {
    pub from: u64,
    pub to: u64,
    /// The hash of record `to`.
    pub hash: Text,
    pub segments: usize,
    pub bytes: u64,
    /// Why: `keep` for records that are too old, `max_size` for a trail that is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// How many records are pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// When the first of them was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<Text>,
    /// When the first record that stays was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<Text>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClockStepped {
    pub seconds: f64,
    /// Whether the clock was set before this start, and not while the relay ran. Across a boot the
    /// seconds are then the least that it was set back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before_start: bool,
    /// Whether the machine may have been off for these seconds instead. Across a boot nothing tells
    /// that from a clock that was set ahead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maybe_off: bool,
}

/// Somebody has said that the clock is right, and that the time which it jumped ahead has passed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClockConfirmed {
    /// The record up to which jumps are confirmed.
    pub to: u64,
    /// How many seconds count as passed since.
    pub seconds: f64,
}

/// Either the numbers of missing records, or a count of requests that were never recorded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditGap {
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub cause: Text,
}

impl Data {
    /// The event of a record that has this data.
    pub const fn event(&self) -> Event {
        match self {
            Self::RelayStarted(_) => Event::RelayStarted,
            Self::RelayStopped(_) => Event::RelayStopped,
            Self::ConfigLoaded(_) => Event::ConfigLoaded,
            Self::ConfigRejected(_) => Event::ConfigRejected,
            Self::Refusals(_) => Event::Refusals,
            Self::Inventory(_) => Event::Inventory,
            Self::Checkpoint(_) => Event::Checkpoint,
            Self::TrailPruned(_) => Event::TrailPruned,
            Self::ClockStepped(_) => Event::ClockStepped,
            Self::ClockConfirmed(_) => Event::ClockConfirmed,
            Self::AuditGap(_) => Event::AuditGap,
        }
    }

    /// Cuts text that has no bound of its own, such as the report on a long and wrong
    /// configuration.
    ///
    /// Otherwise a line could be too long for its readers, and break the trail.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            Self::RelayStarted(started) => cut_all(&mut started.listeners),
            Self::ConfigLoaded(loaded) => {
                cut(&mut loaded.source);
                cut_all(&mut loaded.warnings);
            }
            Self::ConfigRejected(rejected) => {
                cut(&mut rejected.source);
                cut(&mut rejected.error);
            }
            _ => {}
        }
        self
    }
}

impl AuditGap {
    /// A gap of records from one number to another.
    pub fn of_records(from: u64, to: u64, cause: impl Into<Text>) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            ..Self::unnumbered(cause)
        }
    }

    /// A gap of requests that were never recorded.
    pub fn of_count(count: u64, cause: impl Into<Text>) -> Self {
        Self {
            count: Some(count),
            ..Self::unnumbered(cause)
        }
    }

    /// A gap of which only the cause is known.
    pub fn unnumbered(cause: impl Into<Text>) -> Self {
        Self {
            from: None,
            to: None,
            count: None,
            cause: cause.into(),
        }
    }
}

impl TextPart {
    /// Cuts a text into parts that fit into a record each.
    pub fn of(text: &str) -> Vec<Self> {
        let digest = Hash::of(text.as_bytes()).to_string();
        let mut cut = Vec::new();
        let mut rest = text;
        while !rest.is_empty() || cut.is_empty() {
            let (part, next) = rest.split_at(rest.floor_char_boundary(PART));
            cut.push(part);
            rest = next;
        }
        let parts = cut.len();
        (1..)
            .zip(cut)
            .map(|(part, text)| Self {
                digest: digest.clone().into(),
                part,
                parts,
                text: text.to_owned(),
            })
            .collect()
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

/// The longest text of a record of the relay itself, in bytes. JSON may make it six times as long.
const MAX_TEXT: usize = 4096;
/// The longest list of such texts, each an eighth as long.
const MAX_TEXTS: usize = 64;
/// The longest part of a text, in bytes.
const PART: usize = 4096;
