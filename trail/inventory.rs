//! Who is expected to call home, and which destinations count for it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{InventoryPart, TextPart};
use crate::hash::Hash;
use crate::record::Record;
use crate::text::Text;
use crate::words::Event;

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
    /// The version of Zerto. None if the configuration doesn't say, and an upload then counts at
    /// every billing destination.
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

/// Assembles inventories from the records of one trail, in the trail's order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InventoryParts {
    digest: Text,
    /// How many parts of `digest` have come.
    have: usize,
    text: String,
}

impl InventoryParts {
    /// Takes the next record of the trail. Returns an inventory at its last part.
    ///
    /// Records of other events may come between the parts. A part that is missing, or a text that
    /// doesn't have its digest, spoils its inventory only.
    pub fn take(&mut self, record: &Record) -> Option<Inventory> {
        if record.event != Event::Inventory {
            return None;
        }
        let InventoryPart { inventory: part } = record.data()?;
        if !self.goes_on(&part) {
            return None;
        }
        self.have += 1;
        self.text.push_str(&part.text);
        if self.have < part.parts {
            return None;
        }
        let Self { digest, text, .. } = std::mem::take(self);
        if Hash::of(text.as_bytes()).to_string() != *digest {
            return None;
        }
        serde_json::from_str(&text).ok()
    }

    /// Tells whether a part is the next one. The first part always begins a new text.
    fn goes_on(&mut self, part: &TextPart) -> bool {
        if part.part == 1 {
            *self = Self {
                digest: part.digest.clone(),
                ..Self::default()
            };
        }
        let is_next = part.part == self.have + 1 && part.digest == self.digest;
        // Otherwise a forged trail could fill the reader's memory.
        let has_room = self.text.len() + part.text.len() <= MAX_INVENTORY;
        if !is_next || !has_room {
            *self = Self::default();
        }
        is_next && has_room
    }
}

/// The longest inventory that is read, in bytes. One of 10,000 clients has about 3 MB.
const MAX_INVENTORY: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;

    fn inventory(clients: usize) -> Inventory {
        let client = |n: usize| ExpectedClient {
            name: format!("zvm-{n}").into(),
            formerly: Vec::new(),
            role: Some("zvm".into()),
            version: None,
            since: Timestamp::UNIX_EPOCH,
            sources: vec!["10.0.0.1/32".to_owned().into()],
            certificate_names: Vec::new(),
            expect_every: Some(86_400),
            calls_home: true,
        };
        Inventory {
            clients: (0..clients).map(client).collect(),
            destinations: Vec::new(),
        }
    }

    fn record(event: &str, data: &serde_json::Value) -> Record {
        serde_json::from_value(serde_json::json!({
            "trail": "t", "seq": 1, "time": "2026-11-28T00:00:00Z", "relay": "r",
            "event": event, "data": data, "hash": "h",
        }))
        .unwrap()
    }

    fn records(inventory: &Inventory) -> Vec<Record> {
        TextPart::of(&serde_json::to_string(inventory).unwrap())
            .into_iter()
            .map(|part| Data::Inventory(InventoryPart { inventory: part }))
            .map(|data| record("inventory", &serde_json::to_value(data).unwrap()))
            .collect()
    }

    fn assembled<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Inventory> {
        let mut parts = InventoryParts::default();
        records
            .into_iter()
            .filter_map(|record| parts.take(record))
            .collect()
    }

    #[test]
    fn parts_count_once_all_are_there() {
        let (one, two) = (inventory(30), inventory(300));
        let (first, second) = (records(&one), records(&two));
        assert!(first.len() > 1 && second.len() > first.len());
        let other = record("checkpoint", &serde_json::json!({}));
        let all = || first.iter().flat_map(|part| [part, &other]).chain(&second);
        assert_eq!(assembled(all()), [one.clone(), two.clone()]);
        // A relay that crashed between the parts writes all of them again.
        assert_eq!(assembled(second[..3].iter().chain(all())), [one, two]);
    }

    #[test]
    fn a_spoilt_inventory_spoils_no_other() {
        let (one, two) = (inventory(30), inventory(300));
        let (mut first, second) = (records(&one), records(&two));
        assert!(assembled(&second[1..]).is_empty());
        assert!(assembled(second[..2].iter().chain(&second[3..])).is_empty());
        first[0] = second[0].clone();
        assert_eq!(assembled(first.iter().chain(&second)), [two]);
        let wrong = serde_json::json!({"digest": "d", "part": 1, "parts": 1, "text": "{}"});
        assert!(assembled([&record("inventory", &wrong)]).is_empty());
    }
}
