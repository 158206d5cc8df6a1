//! When a tunnel has lasted long enough. Time is an argument here, so nothing has to be slept through to be tested.

use std::time::Duration;

use tokio::time::Instant;

use super::{ClosedBy, Limits};

/// What the limits are measured from.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    last_sign: Instant,
    half_closed: bool,
}

impl Clock {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            started: now,
            last_sign: now,
            half_closed: false,
        }
    }

    /// Bytes moved in either direction, or the first FIN came.
    pub(super) fn active(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// The first FIN came; `half_closed` counts from now on.
    pub(super) fn half_close(&mut self) {
        self.half_closed = true;
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// The limit that is due next, and in how long; zero when it is due now.
    pub(super) fn due(&self, limits: &Limits, now: Instant) -> (Duration, ClosedBy) {
        let quiet = now.saturating_duration_since(self.last_sign);
        let age = now.saturating_duration_since(self.started);
        let idle = (limits.idle.saturating_sub(quiet), ClosedBy::Idle);
        let lifetime = (limits.lifetime.saturating_sub(age), ClosedBy::Lifetime);
        let half_closed = (
            limits.half_closed.saturating_sub(quiet),
            ClosedBy::HalfClosed,
        );
        let quieter = if self.half_closed && half_closed.0 <= idle.0 {
            half_closed
        } else {
            idle
        };
        if lifetime.0 < quieter.0 {
            lifetime
        } else {
            quieter
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        idle: Duration::from_mins(10),
        half_closed: Duration::from_mins(2),
        lifetime: Duration::from_hours(1),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_byte_puts_idle_off_but_not_lifetime() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        assert_eq!(clock.due(&LIMITS, start), (seconds(600), ClosedBy::Idle));
        clock.active(start + seconds(500));
        let due = clock.due(&LIMITS, start + seconds(600));
        assert_eq!(due, (seconds(500), ClosedBy::Idle));
        let due = clock.due(&LIMITS, start + seconds(1100));
        assert_eq!(due, (Duration::ZERO, ClosedBy::Idle));
        clock.active(start + seconds(3590));
        let due = clock.due(&LIMITS, start + seconds(3590));
        assert_eq!(due, (seconds(10), ClosedBy::Lifetime));
        let due = clock.due(&LIMITS, start + seconds(9999));
        assert_eq!(
            due,
            (Duration::ZERO, ClosedBy::Idle),
            "the first that was due"
        );
    }

    #[test]
    fn half_closed_runs_from_the_fin_and_is_put_off_by_bytes() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        clock.active(start + seconds(300));
        clock.half_close();
        let due = clock.due(&LIMITS, start + seconds(300));
        assert_eq!(due, (seconds(120), ClosedBy::HalfClosed));
        clock.active(start + seconds(400));
        let due = clock.due(&LIMITS, start + seconds(420));
        assert_eq!(due, (seconds(100), ClosedBy::HalfClosed));
    }

    #[test]
    fn idle_still_counts_where_it_is_the_shorter_one() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        clock.half_close();
        let limits = Limits {
            half_closed: Duration::MAX,
            lifetime: Duration::MAX,
            ..LIMITS
        };
        assert_eq!(clock.due(&limits, start), (seconds(600), ClosedBy::Idle));
    }
}
