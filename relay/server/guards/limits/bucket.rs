//! Holds a client to its rate by a token bucket.

use std::time::{Duration, Instant};

use crate::policy::Rate;

/// A token bucket: `rate` refills it, and it holds twice the rate's count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    rate: Rate,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: capacity(rate),
            rate,
            at: now,
        }
    }

    /// Adds the tokens since the last look. `rate` is passed in because a reload may change it.
    pub(super) fn refill(&mut self, rate: Rate, now: Instant) {
        self.tokens = self.level(rate, now);
        self.rate = rate;
        self.at = now;
    }

    /// Takes one token; false when there is none.
    pub(super) fn take(&mut self) -> bool {
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.level(self.rate, now) >= capacity(self.rate)
    }

    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at);
        let flow = f64::from(rate.count) / rate.per.max(Duration::from_millis(1)).as_secs_f64();
        (self.tokens + elapsed.as_secs_f64() * flow).min(capacity(rate))
    }
}

fn capacity(rate: Rate) -> f64 {
    2.0 * f64::from(rate.count)
}
