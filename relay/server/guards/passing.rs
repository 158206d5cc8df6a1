//! Knows each `ClientHello` that is passing through the relay at this moment.
//!
//! The relay changes no byte of a ClientHello. So one that arrives while the same is passing
//! through has come back, even over a translator that changed every address, or over other relays.
//! Only `sni` listeners look one up, because a loop through a `proxy` listener needs a CONNECT.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tls::Random;

/// Each passing `ClientHello` by its random (RFC 8446, 4.1.2). A clone shares them.
///
/// Equal ones are counted, because a broken or malicious client may send one random twice.
#[derive(Clone, Debug, Default)]
pub(super) struct PassingHellos(Arc<Mutex<HashMap<Random, usize>>>);

/// Keeps one ClientHello registered until it is dropped.
#[must_use = "its drop says that the ClientHello has passed"]
#[derive(Debug)]
pub(in crate::server) struct PassingHello {
    passing: PassingHellos,
    random: Random,
}

impl PassingHellos {
    pub(super) fn contains(&self, random: &Random) -> bool {
        self.lock().contains_key(random)
    }

    pub(super) fn enter(&self, random: Random) -> PassingHello {
        *self.lock().entry(random).or_insert(0) += 1;
        PassingHello {
            passing: self.clone(),
            random,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Random, usize>> {
        // No code panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PassingHello {
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
        let passing = PassingHellos::default();
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
