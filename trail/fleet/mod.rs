//! Who has called home, and who hasn't, over all relays of a site.
//!
//! [`Fleet`] takes the records of trails, each in its own order. [`Fleet::facts`] then says what is
//! known of each client. [`state`] and [`cause`] are functions of that and of the time: nothing in
//! here reads a clock.
//!
//! What is known errs to the bad side. Unless a counted upload, an exemption or a removal says
//! otherwise, a client past its days never looks well.
//!
//! | module | what it has |
//! |---|---|
//! | `clock` | dates, although a relay's clock may have been wrong |
//! | `told` | what one record tells of a machine |
//! | `run` `tunnels` `account` `listing` `ledger` | what one trail tells: what is accumulated |
//! | `resolve` `part` `client` `places` | what all trails of a site tell together: [`Facts`] |
//! | `facts` `state` `cause` `next_step` `found` | facts, and what follows from them |
//! | `read` | reads trails, and proves them on the way |

mod account;
mod cause;
mod client;
mod clock;
mod facts;
mod found;
mod ledger;
mod listing;
mod next_step;
mod part;
mod places;
mod read;
mod resolve;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod told;
mod tunnels;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use ledger::Ledger;

pub use cause::{Cause, NoTry, cause};
pub use facts::{
    AddressFacts, Attempt, AttemptEnd, Contact, DAYS, Facts, LastUpload, Period, PeriodSource,
    Reading, RelayFacts, Tries,
};
pub use read::{FleetError, ReadTrail, read};
pub use state::{Ready, State, state};

/// What the trails of a site tell of its clients.
///
/// A reader that goes on later can keep it: serialised, it is a snapshot. The records of a trail
/// must come in the trail's order and each only once. Those of several trails may come one trail
/// after the other, or mixed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fleet {
    ledgers: Vec<Ledger>,
}

impl Fleet {
    /// Takes a record, which was read at that time by the reader's clock.
    pub fn take(&mut self, record: &Record, read_at: Timestamp) {
        let known = self
            .ledgers
            .iter()
            .rposition(|ledger| *ledger.trail == *record.trail);
        let ledger = match known {
            Some(known) => &mut self.ledgers[known],
            None if self.ledgers.len() < MOST_TRAILS => {
                self.ledgers.push_mut(Ledger::of(&record.trail))
            }
            None => return,
        };
        ledger.take(record, read_at);
    }

    /// What is known of each client at this time, those that were found behind those that are
    /// listed.
    pub fn facts(&self, now: Timestamp) -> Vec<Facts> {
        resolve::Site::of(&self.ledgers, now).facts()
    }
}

/// A site has a few relays, and each may have begun a new trail now and then.
const MOST_TRAILS: usize = 256;
