//! What a client's relays and addresses are like.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::facts::{AddressFacts, RelayFacts};
use super::listing::{Listing, covered};
use super::part::{Part, SiteTrail, accounts};
use crate::inventory::ExpectedClient;

/// The relays that list the client. One that doesn't can't have had its uploads.
pub(super) fn relays(parts: &[Part<'_>], since: Timestamp) -> Vec<RelayFacts> {
    let goes_on = |part: &&Part<'_>| part.trail.ended.is_none();
    let lists = |part: &Part<'_>| part.listing.is_some_and(Listing::is_present);
    let any_lists = parts.iter().filter(goes_on).any(lists);
    let relays = parts.iter().filter(goes_on);
    let relays = relays.filter(|part| !any_lists || lists(part));
    relays.map(|part| relay(&part.trail, since)).collect()
}

fn relay(trail: &SiteTrail<'_>, since: Timestamp) -> RelayFacts {
    let ledger = trail.ledger;
    let is_since = |at: &Timestamp| *at > since;
    let downs = ledger.down.iter();
    let downs = downs.map(|(from, to)| (trail.date(from), trail.date(to)));
    let still = ledger
        .stopped
        .map(|stopped| (trail.date(&stopped), trail.now));
    let down = downs
        .chain(still)
        .map(|(from, to)| to.duration_since(from.max(since)))
        .filter(SignedDuration::is_positive)
        .fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    let every = ledger.seal_every.unwrap_or(SEAL_EVERY);
    RelayFacts {
        name: ledger.relay.clone(),
        last: trail.last(),
        silent_after: (every * 2).max(SILENT).saturating_add(AT_REST),
        down,
        unread: ledger
            .hole
            .map(|hole| trail.date(&hole))
            .is_some_and(|at| is_since(&at)),
        gap: ledger.gap.map(|gap| trail.date(&gap)).filter(is_since),
        ahead: ledger.clock.ahead(trail.now),
    }
}

pub(super) fn addresses(
    parts: &[Part<'_>],
    present: &[(&str, &ExpectedClient)],
    now: Timestamp,
) -> Vec<AddressFacts> {
    let mut addresses: BTreeMap<IpAddr, AddressFacts> = BTreeMap::new();
    for (trail, account) in accounts(parts) {
        for (address, known) in &account.addresses {
            let upload = known.upload;
            let upload = upload.map(|upload| upload.date(&trail.ledger.clock, now));
            let (first, seen) = (trail.date(&known.first), trail.date(&known.seen));
            addresses
                .entry(*address)
                .and_modify(|it| {
                    it.first = it.first.min(first);
                    it.seen = it.seen.max(seen);
                    it.upload = it.upload.max(upload);
                })
                .or_insert_with(|| {
                    let source = present.iter();
                    let source = source.filter_map(|(_, it)| covered(&it.sources, *address));
                    AddressFacts {
                        address: *address,
                        first,
                        seen,
                        upload,
                        in_network: source.max().is_some_and(|(_, is_whole)| !is_whole),
                    }
                });
        }
    }
    addresses.into_values().collect()
}

/// The default of `seal_every`.
const SEAL_EVERY: SignedDuration = SignedDuration::from_mins(10);
const SILENT: SignedDuration = SignedDuration::from_mins(15);
/// A trail at rest is sealed once an hour.
const AT_REST: SignedDuration = SignedDuration::from_hours(1);
