//! Who is expected to call home, and which destinations count for it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The inventory of a relay at one moment. It is the text of the records `inventory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inventory {
    pub clients: Vec<ExpectedClient>,
    pub destinations: Vec<ListedDestination>,
}

/// A client that the relay's configuration lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpectedClient {
    pub name: Text,
    /// Names that it had before. Its history under them goes on.
    #[serde(default)]
    pub formerly: Vec<Text>,
    /// `zvm`, `zca`, `zcm` or `other`. None if the configuration doesn't say.
    pub role: Option<Text>,
    /// The version of Zerto. None if the configuration doesn't say, and it then counts as 9 or
    /// later.
    pub version: Option<Text>,
    /// When it came into this relay's inventory.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Networks that it comes from.
    #[serde(default)]
    pub sources: Vec<Text>,
    #[serde(default)]
    pub certificate_names: Vec<Text>,
    /// In seconds: how often it calls home. None if the configuration doesn't say.
    pub expect_every: Option<u64>,
    pub calls_home: bool,
}

/// A destination of the relay's configuration, its preset included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedDestination {
    pub name: Text,
    #[serde(default)]
    pub hosts: Vec<Text>,
    /// `billing` or `other`.
    pub purpose: Text,
    /// The versions of Zerto for which an upload counts, such as `>=9`. None means all.
    pub versions: Option<Text>,
    /// What a tunnel must carry up after the ClientHello to count as an upload.
    pub upload_min_bytes: u64,
}
