//! Keeps refusals from filling the disk.
//!
//! Refusals may take half of a segment. Half of that is for listed clients and shared by name, half
//! is for strangers and shared by address. Beyond its client's rate or share a refusal is counted.
//! So a crowd of strangers takes neither room nor memory from a listed client.

mod counts;
mod share;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callhome_trail::Refusals;
use jiff::Timestamp;

use self::counts::RefusalCounts;
use self::share::Share;

pub(super) use self::counts::CountedRefusal;

/// The refusals that get no record of their own, and the room for those that get one.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    listed: Group,
    strangers: Group,
}

/// The client that a refusal is charged to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Party {
    /// A client of the inventory, by its name.
    Listed(Arc<str>),
    /// An IPv4 address or an IPv6 /64, because one machine can choose any address of a /64.
    Stranger(IpAddr),
}

/// Clients that share room.
#[derive(Debug, Default)]
struct Group {
    clients: HashMap<Party, RefusalCounts>,
    share: Share,
}

impl Party {
    pub(super) fn stranger(address: IpAddr) -> Self {
        Self::Stranger(match address {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Listed(name) => Some(name),
            Self::Stranger(_) => None,
        }
    }
}

impl Throttle {
    /// Shares `room` bytes of each segment among the clients. A segment is closed after `period` at
    /// the latest.
    pub(super) fn new(room: u64, period: Duration) -> Self {
        let group = || Group {
            clients: HashMap::new(),
            share: Share::new(room / 2, period),
        };
        Self {
            listed: group(),
            strangers: group(),
        }
    }

    /// Gives the clients the room of a new segment.
    pub(super) fn refill(&mut self) {
        self.listed.share.refill();
        self.strangers.share.refill();
    }

    /// Whether a refusal within its client's rate may have a record of its own.
    pub(super) fn has_room(&self, party: &Party) -> bool {
        match party {
            Party::Listed(_) => self.listed.share.has_room(party),
            Party::Stranger(_) => self.strangers.share.has_room(party),
        }
    }

    /// Charges a client for the record of a refusal.
    pub(super) fn charge(&mut self, party: &Party, bytes: usize) {
        self.group(party).share.charge(party, bytes as u64);
    }

    /// Begins to count the refusals of a client that is beyond its rate. Returns `true` if none is
    /// counted yet, and then this one may get its own record.
    pub(super) fn begin(
        &mut self,
        party: &Party,
        address: IpAddr,
        wall: Timestamp,
        now: Instant,
    ) -> bool {
        let group = self.group(party);
        let new = !group.clients.contains_key(party) && group.has_place(party);
        if new {
            let counts = RefusalCounts::since(address, wall, now);
            group.clients.insert(party.clone(), counts);
        }
        new
    }

    /// Counts a refusal, and returns whether it is the first of its client in this period.
    pub(super) fn count(
        &mut self,
        party: &Party,
        refusal: &CountedRefusal<'_>,
        wall: Timestamp,
        now: Instant,
    ) -> bool {
        let group = self.group(party);
        let (party, address) = if group.clients.contains_key(party) || group.has_place(party) {
            (party, refusal.address)
        } else {
            (&CROWD, IpAddr::from([0; 4]))
        };
        if let Some(counts) = group.clients.get_mut(party) {
            counts.add(refusal);
            return false;
        }
        let mut counts = RefusalCounts::since(address, wall, now);
        counts.add(refusal);
        group.clients.insert(party.clone(), counts);
        true
    }

    /// When the next counts are due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let groups = [&self.listed, &self.strangers];
        groups.into_iter().filter_map(|group| group.due(now)).min()
    }

    /// Takes the counts that are due at `now`, or all without a time.
    pub(super) fn take(&mut self, now: Option<Instant>) -> Vec<Refusals> {
        let mut taken = self.listed.take(now);
        taken.append(&mut self.strangers.take(now));
        taken
    }

    fn group(&mut self, party: &Party) -> &mut Group {
        match party {
            Party::Listed(_) => &mut self.listed,
            Party::Stranger(_) => &mut self.strangers,
        }
    }
}

impl Group {
    /// Whether a further client can be counted under its own name or address. The configuration
    /// bounds the number of names.
    fn has_place(&self, party: &Party) -> bool {
        matches!(party, Party::Listed(_)) || self.clients.len() < MAX_STRANGERS
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.clients.values().map(|counts| counts.due).min()?;
        Some(self.share.next(now).map_or(due, |next| due.max(next)))
    }

    /// Takes the counts that are due, the oldest first, as long as the share has room. The others
    /// go on counting.
    fn take(&mut self, now: Option<Instant>) -> Vec<Refusals> {
        let mut due: Vec<(Instant, Party)> = self
            .clients
            .iter()
            .filter(|(_, counts)| now.is_none_or(|now| counts.due <= now))
            .map(|(party, counts)| (counts.due, party.clone()))
            .collect();
        due.sort_unstable_by_key(|(due, _)| *due);
        let mut taken = Vec::new();
        for (_, party) in due {
            if now.is_some_and(|now| self.share.next(now).is_some()) {
                break;
            }
            let Some(counts) = self.clients.remove(&party).filter(|it| !it.is_empty()) else {
                continue;
            };
            let refusals = counts.into_data(party.name().map(Into::into));
            self.share
                .pay(length(&refusals), now.unwrap_or_else(Instant::now));
            taken.push(refusals);
        }
        taken
    }
}

/// About how many bytes the record has.
fn length(refusals: &Refusals) -> u32 {
    let data = serde_json::to_vec(refusals).unwrap_or_default();
    u32::try_from(data.len() + AROUND).unwrap_or(u32::MAX)
}

/// Strangers beyond [`MAX_STRANGERS`] are counted together, to bound the memory.
const CROWD: Party = Party::Stranger(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
const MAX_STRANGERS: usize = 1000;
/// The bytes of a record around its data.
const AROUND: usize = 350;
