//! What one trail of a site has of one client.

use jiff::Timestamp;

use super::account::Account;
use super::clock::Mark;
use super::ledger::Ledger;
use super::listing::Listing;

/// One trail of a site.
#[derive(Clone, Copy)]
pub(super) struct SiteTrail<'a> {
    pub(super) ledger: &'a Ledger,
    /// When its relay began another trail.
    pub(super) ended: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// What one trail has of one client.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) trail: SiteTrail<'a>,
    pub(super) account: Option<&'a Account>,
    pub(super) listing: Option<&'a Listing>,
    /// Whether the account is that of an address which was no client's.
    pub(super) is_stranger: bool,
}

impl SiteTrail<'_> {
    pub(super) fn date(&self, mark: &Mark) -> Timestamp {
        self.ledger.clock.date(mark, self.now)
    }

    /// The time of its last record.
    pub(super) fn last(&self) -> Timestamp {
        let last = self.ledger.clock.last().unwrap_or(self.now);
        self.date(&self.ledger.clock.mark(last, self.now))
    }

    /// When another trail of the same relay took its place. Two relays that run at the same time
    /// and have one name stay two.
    pub(super) fn ended_by(&self, other: &Self) -> Option<Timestamp> {
        let begin = other.date(other.ledger.first.as_ref()?);
        let is_next = other.ledger.relay == self.ledger.relay
            && other.ledger.trail != self.ledger.trail
            && other.ledger.listings.last.is_some()
            && begin > self.last();
        is_next.then_some(begin)
    }
}

pub(super) fn accounts<'a>(
    parts: &[Part<'a>],
) -> impl Iterator<Item = (SiteTrail<'a>, &'a Account)> {
    parts
        .iter()
        .filter_map(|part| Some((part.trail, part.account?)))
}
