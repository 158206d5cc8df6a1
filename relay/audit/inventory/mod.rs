//! The inventory in the trail: who is expected to call home, and since when.

mod newest;

use std::sync::Arc;
use std::time::{Duration, Instant};

use callhome_trail::{Data, ExpectedClient, Inventory, InventoryPart, Text, TextPart};

pub(super) use newest::newest;

/// The inventory in force, and when it was written last.
#[derive(Debug, Default)]
pub(super) struct KnownInventory {
    /// What the trail has. At the start it is that of an earlier run.
    inventory: Option<Inventory>,
    parts: Arc<[Data]>,
    /// About how many bytes the parts take in the trail.
    bytes: u64,
    written: Option<Instant>,
}

impl KnownInventory {
    /// Goes on from the inventory that an earlier run left in the trail.
    pub(super) fn left(inventory: Option<Inventory>) -> Self {
        Self {
            inventory,
            ..Self::default()
        }
    }

    /// Takes the inventory of a configuration that came into force. Returns its records, unless the
    /// trail has them from this run.
    ///
    /// A client that was there before keeps its `since`, under its name or a former one. One that
    /// was removed meanwhile is new.
    pub(super) fn take(&mut self, mut inventory: Inventory, now: Instant) -> Option<Arc<[Data]>> {
        if let Some(before) = &self.inventory {
            for client in &mut inventory.clients {
                if let Some(known) = predecessor(client, &before.clients) {
                    client.since = known.since;
                }
            }
        }
        let is_written = self.written.is_some();
        if is_written && self.inventory.as_ref() == Some(&inventory) {
            return None;
        }
        // Plain data always has a JSON text.
        let text = serde_json::to_string(&inventory).unwrap_or_default();
        self.parts = TextPart::of(&text)
            .into_iter()
            .map(|part| Data::Inventory(InventoryPart { inventory: part }))
            .collect();
        self.bytes = self.parts.iter().map(length).sum();
        self.inventory = Some(inventory);
        self.written = Some(now);
        Some(self.parts.clone())
    }

    /// Returns the records to repeat at the head of a segment of this size.
    ///
    /// Where they would take too much of it, they are repeated once a day. Otherwise a segment
    /// could be full of them, and the next one again.
    pub(super) fn at_segment(&mut self, size: u64, now: Instant) -> Option<Arc<[Data]>> {
        let fits = self.bytes <= size / SHARE;
        let is_old = |written: Instant| now.saturating_duration_since(written) >= DAY;
        (fits || self.written.is_some_and(is_old)).then(|| self.again(now))?
    }

    /// Returns the records to repeat after the clock was set.
    pub(super) fn again(&mut self, now: Instant) -> Option<Arc<[Data]>> {
        self.written = Some(now).filter(|_| !self.parts.is_empty());
        self.written.map(|_| self.parts.clone())
    }
}

/// Finds what a client was in an earlier inventory.
fn predecessor<'a>(
    client: &ExpectedClient,
    before: &'a [ExpectedClient],
) -> Option<&'a ExpectedClient> {
    let named = |name: &Text| before.iter().find(|known| known.name == *name);
    let former = || client.formerly.iter().filter_map(named);
    named(&client.name).or_else(|| former().min_by_key(|known| known.since))
}

fn length(data: &Data) -> u64 {
    let json = serde_json::to_vec(data).map_or(0, |json| json.len());
    json as u64 + CHAINED
}

/// The inventory takes at most this share of each segment.
const SHARE: u64 = 16;
/// A little less than a day, because segments may begin exactly a day apart.
const DAY: Duration = Duration::from_hours(23);
/// About how many bytes a record has besides its `data`.
const CHAINED: u64 = 350;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn client(name: &str, formerly: &[&str], since: i64) -> ExpectedClient {
        ExpectedClient {
            name: name.to_owned().into(),
            formerly: formerly.iter().map(|it| (*it).to_owned().into()).collect(),
            role: None,
            version: None,
            since: Timestamp::from_second(since).unwrap(),
            sources: Vec::new(),
            certificate_names: Vec::new(),
            expect_every: None,
            calls_home: true,
        }
    }

    fn of(clients: Vec<ExpectedClient>) -> Inventory {
        Inventory {
            clients,
            destinations: Vec::new(),
        }
    }

    fn since(known: &KnownInventory) -> Vec<(String, i64)> {
        let clients = &known.inventory.as_ref().unwrap().clients;
        let row = |it: &ExpectedClient| (it.name.to_string(), it.since.as_second());
        clients.iter().map(row).collect()
    }

    #[test]
    fn a_client_is_expected_since_it_came() {
        let now = Instant::now();
        let before = vec![
            client("a", &[], 1),
            client("b", &[], 2),
            client("c", &[], 3),
        ];
        let mut known = KnownInventory::left(Some(of(before)));
        let renamed = vec![
            client("a", &[], 100),
            client("b2", &["b"], 100),
            client("new", &["never"], 100),
        ];
        // A start writes the inventory, also where an earlier run has left the same.
        assert!(known.take(of(renamed.clone()), now).is_some());
        let row = |name: &str, since| (name.to_owned(), since);
        assert_eq!(since(&known), [row("a", 1), row("b2", 2), row("new", 100)]);
        // A reload that changes nothing here writes nothing.
        assert!(known.take(of(renamed), now).is_none());
        // What was removed and comes back is new.
        assert!(known.take(of(vec![client("a", &[], 200)]), now).is_some());
        let back = vec![client("a", &[], 300), client("b2", &["b"], 300)];
        assert!(known.take(of(back), now).is_some());
        assert_eq!(since(&known), [row("a", 1), row("b2", 300)]);
    }

    #[test]
    fn two_machines_that_became_one_are_expected_since_the_first() {
        let before = vec![client("a", &[], 5), client("b", &[], 4)];
        let mut known = KnownInventory::left(Some(of(before)));
        let both = of(vec![client("both", &["a", "b"], 9)]);
        known.take(both, Instant::now()).unwrap();
        assert_eq!(since(&known), [("both".to_owned(), 4)]);
    }

    #[test]
    fn a_small_segment_has_the_inventory_once_a_day() {
        let (start, mut known) = (Instant::now(), KnownInventory::default());
        assert!(known.at_segment(1 << 20, start).is_none(), "there is none");
        let clients = (0..100).map(|n| client(&n.to_string(), &[], 1)).collect();
        let parts = known.take(of(clients), start).unwrap();
        assert!(parts.len() > 1);
        let later = start + Duration::from_hours(1);
        assert_eq!(known.at_segment(1 << 20, later).unwrap().len(), parts.len());
        assert!(known.at_segment(1 << 16, later + DAY / 2).is_none());
        assert!(known.at_segment(1 << 16, later + DAY).is_some());
        assert!(known.at_segment(1 << 16, later + DAY).is_none());
    }
}
