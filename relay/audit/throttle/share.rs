//! The share of a segment that refusals of one kind of client may take.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Party;

/// Half of a share is for records of single refusals, half for records of counted ones.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Bytes that the records of single refusals may take of a segment, and what is left of them.
    room: u64,
    left: u64,
    /// What each client has taken of the room.
    taken: HashMap<Party, u64>,
    /// Bytes of counted refusals that may come at once, and again within a `period`.
    pace: u32,
    period: Duration,
    /// When the bytes written so far are paid for. Each byte costs a part of the period.
    paid: Option<Instant>,
}

impl Share {
    /// Makes a share of this many bytes for each `period`, after which a segment is closed at the
    /// latest.
    pub(super) fn new(bytes: u64, period: Duration) -> Self {
        let room = bytes / 2;
        Self {
            room,
            left: room,
            taken: HashMap::new(),
            pace: u32::try_from(bytes / 4).unwrap_or(u32::MAX).max(1),
            period,
            paid: None,
        }
    }

    /// Begins a segment.
    pub(super) fn refill(&mut self) {
        self.left = self.room;
        self.taken = HashMap::new();
        self.paid = None;
    }

    /// Whether a client may have a record of its own for one more refusal. It may take an eighth of
    /// what the clients before it have left, so a client that comes later finds room too.
    pub(super) fn has_room(&self, party: &Party) -> bool {
        let taken = self.taken.get(party);
        let is_known = taken.is_some() || self.taken.len() < MAX_PARTIES;
        is_known && taken.copied().unwrap_or_default() < self.left / 8
    }

    /// Charges a client for a record of its own.
    pub(super) fn charge(&mut self, party: &Party, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        *self.taken.entry(party.clone()).or_default() += bytes;
    }

    /// When the next record of counted refusals may be written. None means at once.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.paid?.checked_sub(self.period).filter(|at| *at > now)
    }

    /// Charges for a record of counted refusals.
    pub(super) fn pay(&mut self, bytes: u32, now: Instant) {
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        self.paid = Some(paid + self.period.saturating_mul(bytes) / self.pace);
    }
}

/// How many clients may take room in a segment. Refusals of further ones are counted, to bound the
/// memory.
const MAX_PARTIES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: u64 = 16 << 20;

    fn party(n: u32) -> Party {
        Party::Stranger(n.to_be_bytes().into())
    }

    #[test]
    fn no_client_takes_the_room_of_all() {
        let mut share = Share::new(SHARE, Duration::from_hours(24));
        let mut records = |n: u32| {
            let mut records = 0_u64;
            while share.has_room(&party(n)) {
                share.charge(&party(n), 1000);
                records += 1;
            }
            records
        };
        let first = records(1);
        assert!((900..950).contains(&first), "{first}");
        let all: u64 = (2..20).map(&mut records).sum::<u64>() + first;
        assert!(all < SHARE / 2 / 1000, "{all}");
        assert!(records(20) > 50, "a client that comes late finds no room");
    }

    #[test]
    fn counted_refusals_take_half_of_the_share_at_most() {
        let period = Duration::from_hours(24);
        let mut share = Share::new(SHARE, period);
        let start = Instant::now();
        let mut now = start;
        let mut bytes = 0_u64;
        while now < start + period {
            match share.next(now) {
                None => {
                    share.pay(1000, now);
                    bytes += 1000;
                }
                Some(at) => now = at,
            }
        }
        assert!(
            (SHARE * 9 / 20..=SHARE / 2 + 1000).contains(&bytes),
            "{bytes}"
        );
        share.refill();
        assert_eq!(share.next(now), None);
    }
}
