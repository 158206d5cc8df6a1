//! Whether the clock was set while the relay was down.

use callhome_trail::{ClockStepped, DAY};
use jiff::Timestamp;

use super::tail::Tail;

/// What the clocks say at this start.
#[derive(Clone, Debug)]
pub(super) struct Now {
    pub(super) time: Timestamp,
    pub(super) boot: Option<String>,
    pub(super) uptime_ms: u64,
}

/// How the clock was set since the trail's last records.
///
/// Within a boot the uptime tells. Across one only two things are known. A time before that of the
/// last record was set back by that much at least. A time that is days later was set ahead, or the
/// machine was off, and nothing tells which.
pub(super) fn step(tail: &Tail, now: &Now) -> Option<ClockStepped> {
    let mut maybe_off = false;
    let seconds = match &tail.clocks {
        Some(then) if then.boot.is_some() && then.boot == now.boot => {
            let passed = now.uptime_ms.checked_sub(then.uptime_ms)?;
            let wall = now.time.duration_since(then.time).as_millis_f64();
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact below 2^53 milliseconds, 285,000 years"
            )]
            let passed = passed as f64;
            (wall - passed) / 1000.0 - tail.stepped
        }
        _ => {
            let last = now.time.duration_since(tail.vouched_time?);
            let seconds = last.as_secs_f64() - tail.stepped_since;
            maybe_off = seconds > DAY;
            if maybe_off { seconds } else { seconds.min(0.0) }
        }
    };
    (seconds.abs() > TOLERANCE).then(|| ClockStepped {
        seconds: (seconds * 1000.0).round() / 1000.0,
        before_start: true,
        maybe_off,
    })
}

/// In seconds. The two clocks aren't read at the same instant.
const TOLERANCE: f64 = 1.0;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::tail::Clocks;
    use super::*;

    #[test]
    fn within_a_boot_the_uptime_tells_and_across_one_a_machine_may_have_been_off() {
        let then: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let tail = Tail {
            vouched_time: Some(then),
            clocks: Some(Clocks {
                time: then,
                boot: Some("a".into()),
                uptime_ms: 5_000,
            }),
            ..Tail::default()
        };
        let at = |boot: &str, days: i64, uptime_ms| {
            let now = Now {
                time: then + SignedDuration::from_hours(24 * days) + SignedDuration::from_secs(10),
                boot: Some(boot.into()),
                uptime_ms,
            };
            step(&tail, &now).map(|step| (step.seconds, step.maybe_off))
        };
        assert_eq!(at("a", 0, 15_000), None);
        assert_eq!(at("a", -46, 15_000), Some((-46.0 * DAY, false)));
        assert_eq!(at("a", 47, 15_000), Some((47.0 * DAY, false)));
        assert_eq!(at("b", 0, 100), None, "it was off meanwhile");
        assert_eq!(at("b", 47, 100), Some((10.0 + 47.0 * DAY, true)));
        assert_eq!(at("b", -46, 100), Some((10.0 - 46.0 * DAY, false)));
    }
}
