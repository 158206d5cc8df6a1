//! The words of a record that come from a closed list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened. The word is the record's `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    RelayStarted,
    RelayStopped,
    ConfigLoaded,
    ConfigRejected,
    TunnelOpened,
    /// Written hourly, so that a long tunnel isn't silent until its end.
    TunnelProgress,
    TunnelClosed,
    /// The relay ended without recording how this tunnel ended.
    TunnelLost,
    RequestDenied,
    RequestFailed,
    /// Refusals and abandoned requests that were counted together: beyond a client's rate, or
    /// beyond the share that refusals have of a segment.
    Refusals,
    /// Who is expected to call home, and where that counts.
    Inventory,
    /// Signed, by a key that is erased afterwards.
    Checkpoint,
    TrailPruned,
    ClockStepped,
    /// Somebody has confirmed that the time has passed by which the clock jumped ahead.
    ClockConfirmed,
    /// Says which records are missing, or were never made, and why.
    AuditGap,
}

/// What policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}

/// What became of the session. It is apart from the decision, because an allowed request can still
/// fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Open,
    Closed,
    Refused,
    Failed,
    /// The client left before its tunnel carried anything.
    Abandoned,
    /// The relay ended first, so the tunnel's end is unknown.
    Lost,
}

/// What a tunnel's bytes say about an upload. The relay doesn't decrypt, so none of it is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// To a billing destination that counts for the client: enough bytes up after the ClientHello,
    /// and then at least one down.
    Probable,
    /// As many bytes up, and nothing down after them, or an error.
    Unanswered,
    /// Fewer bytes up than an upload has.
    Small,
    /// At most an alert after the ClientHello: the client doesn't trust the certificate, as a rule.
    Distrusted,
}

/// The word for requests that their clients gave up. They have no reason, and are counted under
/// this word where reasons are.
pub const ABANDONED: &str = "abandoned";
