//! The words that keys of the file may hold.
//!
//! `PresetWord` and `GroupWord` are the file's own. `ListenerModeWord` and `PolicyModeWord` are
//! read by their checks, because the types of the parts hold more than the word. The others are
//! each converted to and from a type of the part that the key is for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{audit, os, policy, telemetry};

/// The vendor whose list is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum PresetWord {
    Zerto,
    None,
}

/// A part of the vendor's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum GroupWord {
    Billing,
    #[serde(rename = "billing-before-9")]
    BillingBefore9,
    Licensing,
    Analytics,
    SupportLogs,
    Upgrades,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum ListenerModeWord {
    Proxy,
    Sni,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum PolicyModeWord {
    Enforce,
    ReportOnly,
}

callhome_settings::words! {
    pub(super) RoleWord as policy::Role { Zvm = "zvm", Zca = "zca", Zcm = "zcm", Other = "other" }
    pub(super) UnlistedWord as policy::Unlisted { Deny = "deny", Private = "private", Any = "any" }
    pub(super) PurposeWord as policy::Purpose { Billing = "billing", Other = "other" }
    pub(super) SniWord as policy::SniRule { Match = "match", IfPresent = "if-present", Any = "any" }
    pub(super) OnFailureWord as audit::OnFailure { Refuse = "refuse", Count = "count" }
    pub(super) SandboxModeWord as os::sandbox::Confinement {
        Auto = "auto", Require = "require", Off = "off"
    }
    pub(super) LevelWord as telemetry::Level {
        Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace"
    }
    pub(super) LogFormatWord as telemetry::LogFormat { Text = "text", Json = "json" }
}
