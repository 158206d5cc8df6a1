//! Notices when the wall clock jumps, because the times in the trail are then not comparable.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Compares the wall clock with the monotonic clock, which can't be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    wall: Timestamp,
    monotonic: Instant,
}

impl WallClock {
    pub(super) fn start(wall: Timestamp, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// What the wall clock said at the last comparison.
    pub(super) fn now(&self) -> Timestamp {
        self.wall
    }

    /// Returns by how much the wall clock has jumped since the last call, if that is more than a
    /// second.
    ///
    /// Each call starts a new comparison, so the slow corrections of a time daemon don't add up to
    /// a jump.
    pub(super) fn step(&mut self, wall: Timestamp, monotonic: Instant) -> Option<SignedDuration> {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let step = wall.duration_since(self.wall).saturating_sub(passed);
        let jumped = step.unsigned_abs() > TOLERANCE;
        *self = Self { wall, monotonic };
        jumped.then_some(step)
    }
}

const TOLERANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_noticed_and_drift_is_not() {
        let (wall, monotonic) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut clock = WallClock::start(wall, monotonic);
        let after = |wall_ms: i64, monotonic_ms: u64| {
            (
                wall + SignedDuration::from_millis(wall_ms),
                monotonic + Duration::from_millis(monotonic_ms),
            )
        };
        let mut look = |wall_ms, monotonic_ms| {
            let (wall, monotonic) = after(wall_ms, monotonic_ms);
            clock.step(wall, monotonic)
        };
        assert_eq!(look(10_000, 10_000), None);
        assert_eq!(look(20_900, 20_000), None, "slewed");
        assert_eq!(look(30_900, 30_000), None);
        assert_eq!(
            look(37_400, 40_000),
            Some(SignedDuration::from_millis(-3500))
        );
        assert_eq!(look(47_400, 50_000), None, "told once");
        assert_eq!(
            look(3_657_400, 60_000),
            Some(SignedDuration::from_secs(3600))
        );
    }
}
