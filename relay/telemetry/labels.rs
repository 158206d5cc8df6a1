//! The labels of the metrics. Their values come from an enum or the configuration, so that no
//! client can make a new time series.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::proxy_error::Reason;

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteDirection {
    /// From the client to the destination.
    Up,
    Down,
}

/// For a metric that has no series before its first value.
pub(super) type NoLabels = [(&'static str, &'static str); 0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: ReasonLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReasonLabel(pub(super) Reason);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClosedLabels {
    pub(super) by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DirectionLabels {
    pub(super) direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClientLabels {
    pub(super) client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabels {
    pub(super) listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ServerLabels {
    pub(super) server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) result: &'static str,
}

impl EncodeLabelValue for ReasonLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.0.token())
    }
}

impl From<ByteDirection> for DirectionLabels {
    fn from(direction: ByteDirection) -> Self {
        Self {
            direction: match direction {
                ByteDirection::Up => "up",
                ByteDirection::Down => "down",
            },
        }
    }
}

impl From<bool> for ReloadLabels {
    fn from(accepted: bool) -> Self {
        Self {
            result: if accepted { "accepted" } else { "rejected" },
        }
    }
}
