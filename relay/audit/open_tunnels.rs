//! Which tunnels have an opening record and no end yet, by the numbers of these records.
//!
//! Each checkpoint has the number of the oldest, so that a start finds the tunnels that a crash cut
//! off. A number leads there whatever the clock says.

use std::collections::{HashSet, VecDeque};

use callhome_trail::Event;
use uuid::Uuid;

/// What the opening and the end of a tunnel have in common: the random half of its session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TunnelKey(u64);

/// What a record means for the tunnels that are open.
#[derive(Clone, Copy, Debug)]
pub(super) enum TunnelStep {
    Opens(TunnelKey),
    Ends(TunnelKey),
}

/// The tunnels whose opening is chained and whose end isn't.
#[derive(Debug, Default)]
pub(super) struct UnendedTunnels {
    open: HashSet<TunnelKey>,
    /// The openings in the order of their numbers. Those of ended tunnels stay until they are the
    /// first, or too many.
    order: VecDeque<(u64, TunnelKey)>,
    /// Where the search for tunnels of earlier runs begins, until what it found is chained.
    search_from: Option<u64>,
    /// Whether the search is over, and all that it found was taken from the queue.
    is_searched: bool,
}

impl TunnelKey {
    pub(super) fn of(session: Uuid) -> Self {
        Self(session.as_u64_pair().1)
    }
}

impl TunnelStep {
    /// What a record of this event means for its tunnel.
    pub(super) fn of(event: Event, tunnel: TunnelKey) -> Option<Self> {
        match event {
            Event::TunnelOpened => Some(Self::Opens(tunnel)),
            Event::TunnelClosed => Some(Self::Ends(tunnel)),
            _ => None,
        }
    }
}

impl UnendedTunnels {
    /// A search begins at this record. A crash before its end must lose nothing, so checkpoints
    /// lead back there until then.
    pub(super) fn searching_from(search_from: Option<u64>) -> Self {
        Self {
            search_from,
            ..Self::default()
        }
    }

    /// Takes what the record `seq` means.
    pub(super) fn take(&mut self, step: TunnelStep, seq: u64) {
        match step {
            TunnelStep::Opens(key) => {
                self.open.insert(key);
                self.order.push_back((seq, key));
            }
            TunnelStep::Ends(key) => {
                self.open.remove(&key);
                // A tunnel that stays open for a day would otherwise keep all of that day here.
                if self.order.len() > SPARE + 2 * self.open.len() {
                    self.order.retain(|(_, key)| self.open.contains(key));
                    self.order.shrink_to(SPARE + 2 * self.open.len());
                    self.open.shrink_to(SPARE + 2 * self.open.len());
                }
            }
        }
    }

    /// The record from which on a start must search for tunnels without an end. `next` is the
    /// number of the next record.
    pub(super) fn from(&mut self, next: u64) -> u64 {
        while self
            .order
            .pop_front_if(|(_, key)| !self.open.contains(key))
            .is_some()
        {}
        let oldest = self.order.front().map_or(next, |(seq, _)| *seq);
        self.search_from.map_or(oldest, |from| from.min(oldest))
    }

    /// Notes that the search was over when the queue was emptied.
    pub(super) fn searched(&mut self, is_searched: bool) {
        self.is_searched |= is_searched;
    }

    /// Notes that everything that was taken from the queue is chained.
    pub(super) fn chained(&mut self) {
        if self.is_searched {
            self.search_from = None;
        }
    }
}

/// How many openings of ended tunnels may stay.
const SPARE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> TunnelKey {
        TunnelKey(n)
    }

    #[test]
    fn the_oldest_open_tunnel_is_found_by_its_number() {
        let mut tunnels = UnendedTunnels::default();
        assert_eq!(tunnels.from(7), 7);
        for n in 10..20 {
            tunnels.take(TunnelStep::Opens(key(n)), n);
        }
        assert_eq!(tunnels.from(20), 10);
        tunnels.take(TunnelStep::Ends(key(11)), 20);
        assert_eq!(tunnels.from(21), 10);
        tunnels.take(TunnelStep::Ends(key(10)), 21);
        assert_eq!(tunnels.from(22), 12);
        for n in 12..20 {
            tunnels.take(TunnelStep::Ends(key(n)), n + 10);
        }
        assert_eq!(tunnels.from(30), 30);
    }

    #[test]
    fn a_tunnel_of_a_day_keeps_no_ended_ones_in_memory() {
        let mut tunnels = UnendedTunnels::default();
        tunnels.take(TunnelStep::Opens(key(0)), 1);
        for n in 1..100_000 {
            tunnels.take(TunnelStep::Opens(key(n)), 2 * n);
            tunnels.take(TunnelStep::Ends(key(n)), 2 * n + 1);
        }
        assert_eq!(tunnels.from(300_000), 1);
        assert!(tunnels.order.len() <= SPARE + 2, "{}", tunnels.order.len());
    }

    #[test]
    fn checkpoints_lead_back_to_the_search_until_all_that_it_found_is_chained() {
        let mut tunnels = UnendedTunnels::searching_from(Some(5));
        tunnels.take(TunnelStep::Opens(key(1)), 50);
        tunnels.searched(false);
        tunnels.chained();
        assert_eq!(tunnels.from(60), 5);
        // A checkpoint may come between the records that the search found.
        tunnels.searched(true);
        assert_eq!(tunnels.from(60), 5);
        tunnels.chained();
        assert_eq!(tunnels.from(60), 50);
    }
}
