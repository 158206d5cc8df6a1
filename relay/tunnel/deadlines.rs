//! The moments at which a tunnel reaches its limits. Time is an argument here, so the tests needn't
//! sleep.

use std::time::Duration;

use tokio::time::Instant;

use super::{ClosedBy, TunnelLimits};

/// The moments that the limits count from.
#[derive(Debug)]
pub(super) struct Deadlines {
    started: Instant,
    last_active: Instant,
    half_closed: bool,
}

impl Deadlines {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            started: now,
            last_active: now,
            half_closed: false,
        }
    }

    /// Puts off `idle` and `half_closed`, because bytes moved or the first FIN came.
    pub(super) fn active(&mut self, now: Instant) {
        self.last_active = now;
    }

    /// Lets `half_closed` count from now on, because the first FIN came.
    pub(super) fn half_close(&mut self) {
        self.half_closed = true;
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Finds the limit that is reached next, and the time until then; zero when it is reached.
    pub(super) fn due(&self, limits: &TunnelLimits, now: Instant) -> (Duration, ClosedBy) {
        let quiet = now.saturating_duration_since(self.last_active);
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

    const LIMITS: TunnelLimits = TunnelLimits {
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
        let mut deadlines = Deadlines::start(start);
        assert_eq!(
            deadlines.due(&LIMITS, start),
            (seconds(600), ClosedBy::Idle)
        );
        deadlines.active(start + seconds(500));
        let due = deadlines.due(&LIMITS, start + seconds(600));
        assert_eq!(due, (seconds(500), ClosedBy::Idle));
        let due = deadlines.due(&LIMITS, start + seconds(1100));
        assert_eq!(due, (Duration::ZERO, ClosedBy::Idle));
        deadlines.active(start + seconds(3590));
        let due = deadlines.due(&LIMITS, start + seconds(3590));
        assert_eq!(due, (seconds(10), ClosedBy::Lifetime));
        let due = deadlines.due(&LIMITS, start + seconds(9999));
        assert_eq!(
            due,
            (Duration::ZERO, ClosedBy::Idle),
            "the first that was due"
        );
    }

    #[test]
    fn half_closed_runs_from_the_fin_and_is_put_off_by_bytes() {
        let start = Instant::now();
        let mut deadlines = Deadlines::start(start);
        deadlines.active(start + seconds(300));
        deadlines.half_close();
        let due = deadlines.due(&LIMITS, start + seconds(300));
        assert_eq!(due, (seconds(120), ClosedBy::HalfClosed));
        deadlines.active(start + seconds(400));
        let due = deadlines.due(&LIMITS, start + seconds(420));
        assert_eq!(due, (seconds(100), ClosedBy::HalfClosed));
    }

    #[test]
    fn idle_still_counts_where_it_is_the_shorter_one() {
        let start = Instant::now();
        let mut deadlines = Deadlines::start(start);
        deadlines.half_close();
        let limits = TunnelLimits {
            half_closed: Duration::MAX,
            lifetime: Duration::MAX,
            ..LIMITS
        };
        assert_eq!(
            deadlines.due(&limits, start),
            (seconds(600), ClosedBy::Idle)
        );
    }
}
