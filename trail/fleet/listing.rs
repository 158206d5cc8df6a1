//! Who a relay listed, and from when to when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::{Mark, TrailClock};
use crate::inventory::{ExpectedClient, Inventory, ListedDestination};

/// The inventories of a trail.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Listings {
    /// None before the first inventory.
    destinations: Option<Vec<ListedDestination>>,
    /// When the last inventory was written.
    pub(super) last: Option<Mark>,
    clients: BTreeMap<String, Listing>,
    /// The new name by the old one. It holds after the configuration has forgotten it.
    renamed: BTreeMap<String, String>,
}

/// A client that the relay lists, or listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) client: ExpectedClient,
    /// Never empty.
    pub(super) spans: VecDeque<ListedSpan>,
}

/// A time for which a client was listed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ListedSpan {
    pub(super) from: Mark,
    /// None if it is listed still.
    pub(super) to: Option<Mark>,
}

impl Listings {
    /// Takes an inventory, which comes with its last part.
    pub(super) fn take(
        &mut self,
        inventory: Inventory,
        mark: Mark,
        clock: &TrailClock,
        read: Timestamp,
    ) {
        let present: BTreeSet<String> = inventory
            .clients
            .iter()
            .map(|it| it.name.to_string())
            .collect();
        for (name, listing) in &mut self.clients {
            if !present.contains(name) {
                listing.end(mark);
            }
        }
        for client in inventory.clients {
            let name = client.name.to_string();
            self.renamed.remove(&name);
            for old in &client.formerly {
                if !present.contains(&**old) {
                    self.renamed.insert(old.to_string(), name.clone());
                }
            }
            if let Some(listing) = self.clients.get_mut(&name) {
                listing.go_on(client, mark);
                continue;
            }
            // The relay may have listed it before the trail that is read begins.
            let since = client.since.min(mark.recorded());
            let span = ListedSpan {
                from: clock.mark(since, read),
                to: None,
            };
            let spans = VecDeque::from([span]);
            self.clients.insert(name, Listing { client, spans });
        }
        self.destinations = Some(inventory.destinations);
        self.last = Some(mark);
        self.forget();
    }

    /// Forgets those that were removed longest ago, if there are too many.
    fn forget(&mut self) {
        let removed = |listing: &Listing| Some(listing.spans.back()?.to?.recorded());
        let mut gone: Vec<_> = self
            .clients
            .iter()
            .filter_map(|(name, listing)| Some((removed(listing)?, name.clone())))
            .collect();
        if gone.len() > MOST_REMOVED {
            gone.sort_unstable();
            for (_, name) in gone.drain(..gone.len() - MOST_REMOVED) {
                self.clients.remove(&name);
            }
        }
    }

    pub(super) fn destinations(&self) -> Option<&[ListedDestination]> {
        self.destinations.as_deref()
    }

    pub(super) fn client(&self, name: &str) -> Option<&ExpectedClient> {
        self.clients.get(name).map(|listing| &listing.client)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Listing> {
        self.clients.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.clients.keys()
    }

    pub(super) fn renamed(&self) -> &BTreeMap<String, String> {
        &self.renamed
    }

    /// Those that are listed now.
    pub(super) fn present(&self) -> impl Iterator<Item = &ExpectedClient> {
        let is_present = |listing: &&Listing| listing.is_present();
        self.clients
            .values()
            .filter(is_present)
            .map(|it| &it.client)
    }
}

impl Listing {
    pub(super) fn is_present(&self) -> bool {
        self.spans.back().is_some_and(|span| span.to.is_none())
    }

    fn end(&mut self, mark: Mark) {
        if let Some(span) = self.spans.back_mut()
            && span.to.is_none()
        {
            span.to = Some(mark);
        }
    }

    fn go_on(&mut self, client: ExpectedClient, mark: Mark) {
        self.client = client;
        if self.is_present() {
            return;
        }
        self.spans.push_back(ListedSpan {
            from: mark,
            to: None,
        });
        if self.spans.len() > MOST_SPANS {
            // The oldest two are told apart no more.
            let first = self.spans.pop_front();
            if let (Some(first), Some(second)) = (first, self.spans.front_mut()) {
                second.from = first.from;
            }
        }
    }
}

/// How specific the source is that covers an address: the length of its prefix, and whether that is
/// a whole address.
pub(super) fn covered(sources: &[crate::text::Text], address: IpAddr) -> Option<(u8, bool)> {
    let of_source = |source: &str| -> Option<(u8, bool)> {
        let (network, length) = match source.split_once('/') {
            Some((network, length)) => (network, Some(length.parse::<u8>().ok()?)),
            None => (source, None),
        };
        let (network, address, bits) = match (network.parse().ok()?, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (
                u128::from(network.to_bits()),
                u128::from(address.to_bits()),
                32,
            ),
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits(), address.to_bits(), 128)
            }
            _ => return None,
        };
        let length = length.unwrap_or(bits).min(bits);
        let rest = u32::from(bits - length);
        let is_inside = (network ^ address).checked_shr(rest).unwrap_or(0) == 0;
        is_inside.then_some((length, length == bits))
    };
    sources.iter().filter_map(|source| of_source(source)).max()
}

const MOST_SPANS: usize = 16;
const MOST_REMOVED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_source_covers_an_address() {
        let sources = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "fd00::/8"].map(Into::into);
        let at = |address: &str| covered(&sources, address.parse().unwrap());
        assert_eq!(at("10.9.0.1"), Some((8, false)));
        assert_eq!(at("10.1.0.1"), Some((16, false)));
        assert_eq!(at("10.1.2.3"), Some((32, true)));
        assert_eq!(at("fd12::1"), Some((8, false)));
        assert_eq!(at("192.0.2.1"), None);
        let all = ["0.0.0.0/0".into(), "::/0".into()];
        assert_eq!(covered(&all, "::1".parse().unwrap()), Some((0, false)));
    }
}
