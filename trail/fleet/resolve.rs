//! Puts together what the trails of a site tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::client::{Resolved, resolve};
use super::clock::minus;
use super::facts::{Facts, SHOWN};
use super::ledger::Ledger;
use super::listing::covered;
use super::part::{Part, SiteTrail};

/// The trails of a site at one moment.
pub(super) struct Site<'a> {
    pub(super) trails: Vec<SiteTrail<'a>>,
    pub(super) now: Timestamp,
    /// The present name by a former one.
    renamed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Site<'a> {
    pub(super) fn of(ledgers: &'a [Ledger], now: Timestamp) -> Self {
        let mut trails: Vec<_> = ledgers
            .iter()
            .map(|ledger| SiteTrail {
                ledger,
                ended: None,
                now,
            })
            .collect();
        let all = trails.clone();
        for trail in &mut trails {
            trail.ended = all.iter().filter_map(|other| trail.ended_by(other)).min();
        }
        Self {
            renamed: renamed(&trails),
            trails,
            now,
        }
    }

    pub(super) fn facts(&self) -> Vec<Facts> {
        let mut parts = self.parts();
        let mut found = Vec::new();
        for (address, accounts) in self.strangers() {
            match self.covering(address) {
                // It was listed since. What it did before is what the client did.
                Some(name) => parts.entry(name).or_default().extend(accounts),
                None => found.push((address.to_string(), accounts)),
            }
        }
        let listed =
            parts
                .into_iter()
                .filter_map(|(name, parts)| match resolve(name, &parts, self.now) {
                    Resolved::Facts(facts) => Some(*facts),
                    Resolved::Gone => None,
                });
        let shown = minus(self.now, SHOWN);
        let mut facts: Vec<_> = listed
            .filter(|facts| facts.removed.is_none_or(|at| at >= shown))
            .collect();
        facts.sort_by(|a, b| (a.found, &a.name).cmp(&(b.found, &b.name)));
        facts.extend(found.iter().filter_map(|(name, parts)| {
            match resolve(name, parts, self.now) {
                Resolved::Facts(facts) => Some(*facts),
                Resolved::Gone => None,
            }
        }));
        facts
    }

    /// What each trail has of each client, by the client's present name.
    fn parts(&self) -> BTreeMap<&'a str, Vec<Part<'a>>> {
        let mut parts: BTreeMap<&str, Vec<Part<'_>>> = BTreeMap::new();
        for trail in &self.trails {
            let ledger = trail.ledger;
            let names: BTreeSet<&String> =
                ledger.named.keys().chain(ledger.listings.names()).collect();
            for name in names {
                let part = Part {
                    trail: *trail,
                    account: ledger.named.get(name),
                    listing: ledger.listings.get(name),
                    is_stranger: false,
                };
                parts.entry(self.present_name(name)).or_default().push(part);
            }
        }
        parts
    }

    /// Follows a client's renamings. Names that were given in a circle end at the last new one.
    fn present_name(&self, name: &'a str) -> &'a str {
        let mut name = name;
        let mut passed = BTreeSet::from([name]);
        while let Some(next) = self.renamed.get(name) {
            if !passed.insert(next) {
                break;
            }
            name = next;
        }
        name
    }

    /// The machines that no relay knew, and that call home.
    fn strangers(&self) -> BTreeMap<IpAddr, Vec<Part<'a>>> {
        let mut strangers: BTreeMap<IpAddr, Vec<Part<'_>>> = BTreeMap::new();
        for trail in &self.trails {
            let is_old = trail.ledger.listings.last.is_none();
            for (address, account) in &trail.ledger.strangers {
                if account.calls_home() || is_old && account.last_tunnel.is_some() {
                    strangers.entry(*address).or_default().push(Part {
                        trail: *trail,
                        account: Some(account),
                        listing: None,
                        is_stranger: true,
                    });
                }
            }
        }
        strangers
    }

    /// The listed client of which this is an address.
    fn covering(&self, address: IpAddr) -> Option<&'a str> {
        let present = self.present();
        let listed = present.flat_map(|trail| trail.ledger.listings.present());
        let by_address = listed.filter(|client| client.certificate_names.is_empty());
        let covering = by_address
            .filter_map(|client| Some((covered(&client.sources, address)?, &*client.name)));
        covering.max().map(|(_, name)| self.present_name(name))
    }

    /// The trails that go on.
    pub(super) fn present(&self) -> impl Iterator<Item = &SiteTrail<'a>> {
        self.trails.iter().filter(|trail| trail.ended.is_none())
    }
}

/// Collects the renamings of all trails, the newest first. One that would close a circle is left
/// out.
fn renamed<'a>(trails: &[SiteTrail<'a>]) -> BTreeMap<&'a str, &'a str> {
    let mut newest: Vec<_> = trails
        .iter()
        .filter_map(|trail| Some((trail.date(trail.ledger.listings.last.as_ref()?), trail)))
        .collect();
    newest.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut renamed: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, trail) in newest {
        for (old, new) in trail.ledger.listings.renamed() {
            let mut end: &str = new;
            while let Some(next) = renamed.get(end) {
                end = next;
            }
            if end != old {
                renamed.entry(old).or_insert(new);
            }
        }
    }
    renamed
}
