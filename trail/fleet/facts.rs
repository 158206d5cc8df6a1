//! What is known of a client. State and cause follow from it and the time.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::clock::minus;

/// What is known of a client of a site. All times are by the reader's clock, as far as the trails
/// show how far the relays' clocks were from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The name in the inventory. Of a machine that was found, it is the name or the address that
    /// the records have.
    pub name: String,
    /// Whether it is in no inventory.
    pub found: bool,
    /// Whether a relay of the site tells who is expected. A trail of an older relay doesn't.
    pub has_inventory: bool,
    pub calls_home: bool,
    pub role: Option<String>,
    pub version: Option<String>,
    /// When it came into the site's inventory, or when it was first seen.
    pub entered: Timestamp,
    /// When it was taken out of the last inventory.
    pub removed: Option<Timestamp>,
    /// The last probable upload.
    pub upload: Option<LastUpload>,
    pub period: Period,
    /// The period that its uploads show, whatever the configuration says.
    pub learned: Option<SignedDuration>,
    /// What it tried at a billing destination since the last upload.
    pub tries: Option<Tries>,
    /// What may have been such a try: the target is unknown, or is a name of the vendor's that is
    /// on no list.
    pub perhaps: Option<Tries>,
    /// A billing destination that counts for another version than the client's.
    pub other_version: Option<Contact>,
    /// A name of the vendor's that is on no list, and that only report-only let through.
    pub report_only: Option<Contact>,
    /// The last tunnel of a trail that doesn't tell what an upload is.
    pub last_tunnel: Option<Contact>,
    /// A tunnel to a billing destination of which the end wasn't recorded.
    pub lost: Option<Timestamp>,
    /// When the trails last had a record of it.
    pub seen: Option<Timestamp>,
    /// The relays that list it, or that saw it if none does.
    pub relays: Vec<RelayFacts>,
    /// The addresses that it came from.
    pub addresses: Vec<AddressFacts>,
    /// How many more addresses there were than are kept.
    pub addresses_left_out: u64,
    /// Where the inventories of a site contradict each other.
    pub contradictions: Vec<String>,
    /// What the ZVM itself said of its alert, if somebody asked it.
    pub reading: Option<Reading>,
}

/// How often a client calls home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub every: SignedDuration,
    pub source: PeriodSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodSource {
    /// The configuration says it.
    Known,
    /// Its last uploads show it.
    Learned,
    /// Nothing shows it.
    Assumed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUpload {
    pub at: Timestamp,
    /// When the tunnel of the last upload opened. That counts for the month.
    pub opened: Timestamp,
    pub relay: String,
    pub destination: Option<String>,
    pub address: Option<IpAddr>,
}

/// Tries in a row that had the same end: denied, or allowed and without an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub relay: String,
    pub attempt: Attempt,
}

/// One try, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub end: AttemptEnd,
    /// The reason token, if the relay gave one.
    pub reason: Option<String>,
    pub host: Option<String>,
    pub destination: Option<String>,
    pub address: IpAddr,
    /// Whether the relay didn't let it in as this client.
    pub claimed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    Denied,
    /// Allowed, and no tunnel came of it, or it had no upload for an unknown reason.
    Failed,
    Distrusted,
    Small,
    Unanswered,
}

/// A host that a client reached, or asked for, and when it last did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub at: Timestamp,
    pub host: Option<String>,
    pub destination: Option<String>,
}

/// What is known of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayFacts {
    pub name: String,
    /// The time of its last record.
    pub last: Timestamp,
    /// A relay that runs writes something within this time.
    pub silent_after: SignedDuration,
    /// How long it was down since the client's last upload, or since its entry.
    pub down: SignedDuration,
    /// Whether records since then were deleted or lost before they were read.
    pub unread: bool,
    /// When it last said that records are missing.
    pub gap: Option<Timestamp>,
    /// By how much its clock is ahead of the reader's.
    pub ahead: Option<SignedDuration>,
}

/// What is known of an address of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFacts {
    pub address: IpAddr,
    pub first: Timestamp,
    pub seen: Timestamp,
    pub upload: Option<Timestamp>,
    /// Whether the inventory has a network and not this address, so that it is a machine of its
    /// own.
    pub in_network: bool,
}

/// What a ZVM said of its alert "can't call home".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub at: Timestamp,
    /// Since when the alert is on, if it is.
    pub alert_since: Option<Timestamp>,
}

impl Facts {
    /// What is known of one of its addresses, as of a client of its own. A client that has a
    /// network is many machines, and one upload doesn't speak for all of them.
    #[must_use]
    pub fn of_address(&self, known: &AddressFacts) -> Self {
        let is_its = |tries: &Tries| tries.attempt.address == known.address;
        let last = self.upload.clone();
        Self {
            entered: known.first,
            upload: known.upload.map(|at| LastUpload {
                at,
                opened: at,
                relay: last.as_ref().map(|it| it.relay.clone()).unwrap_or_default(),
                destination: None,
                address: Some(known.address),
            }),
            tries: self.tries.clone().filter(is_its),
            perhaps: self.perhaps.clone().filter(is_its),
            other_version: None,
            report_only: None,
            lost: None,
            seen: Some(known.seen),
            addresses: Vec::new(),
            reading: None,
            ..self.clone()
        }
    }

    /// The last probable upload, or else the entry.
    pub fn since(&self) -> Timestamp {
        self.upload.as_ref().map_or(self.entered, |it| it.at)
    }

    /// The addresses that are machines of their own. One without a contact for as long as a removed
    /// client is shown after its days is taken for gone.
    pub fn machines(&self, now: Timestamp) -> impl Iterator<Item = &AddressFacts> {
        let gone = minus(now, DAYS + SHOWN);
        let is_alone = self.addresses.len() == 1 && self.addresses_left_out == 0;
        self.addresses
            .iter()
            .filter(move |it| it.in_network && !is_alone && it.seen > gone)
    }
}

/// A ZVM that couldn't call home for this long stops protecting its machines.
pub const DAYS: SignedDuration = SignedDuration::from_hours(15 * 24);
/// A client that was removed is shown for this long.
pub(super) const SHOWN: SignedDuration = SignedDuration::from_hours(30 * 24);
