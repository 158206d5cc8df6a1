//! Each `ClientHello` that passes through at this moment.
//!
//! Nothing is changed on its way through the relay, so one that arrives while it is already passing through has come back: over a
//! translator that changed every address, or over other relays, it is the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tls::Random;

/// They are told apart by their random (RFC 8446, 4.1.2), counted because a client may be broken or play tricks. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Passing(Arc<Mutex<HashMap<Random, usize>>>);

/// Keeps one registered until it is dropped.
#[must_use = "dropping it says that the ClientHello has passed"]
#[derive(Debug)]
pub(in crate::server) struct Passage {
    passing: Passing,
    random: Random,
}

impl Passing {
    pub(in crate::server) fn contains(&self, random: &Random) -> bool {
        self.lock().contains_key(random)
    }

    pub(in crate::server) fn enter(&self, random: Random) -> Passage {
        *self.lock().entry(random).or_insert(0) += 1;
        Passage {
            passing: self.clone(),
            random,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Random, usize>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut passing = self.passing.lock();
        if let Some(count) = passing.get_mut(&self.random) {
            *count -= 1;
            if *count == 0 {
                passing.remove(&self.random);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_known_until_the_last_of_it_has_passed() {
        let passing = Passing::default();
        let random = [7; 32];
        assert!(!passing.contains(&random));
        let first = passing.enter(random);
        let second = passing.clone().enter(random);
        assert!(passing.contains(&random) && !passing.contains(&[8; 32]));
        drop(first);
        assert!(passing.contains(&random));
        drop(second);
        assert!(passing.lock().is_empty());
    }
}
