//! Formats quantities for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats bytes like `5.1 KiB`, and fewer than 1024 like `841 B`.
pub fn bytes(count: u64) -> String {
    let mut unit = "B";
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64;
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // A value that would be shown as 1024.0 is 1.0 of the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Formats a duration like `841ms`, `3.2s`, `12m03s`, `5h01m` or `2d03h`.
pub fn duration(milliseconds: f64) -> String {
    let milliseconds = milliseconds.max(0.0);
    if milliseconds < 999.5 {
        return format!("{milliseconds:.0}ms");
    }
    if milliseconds < 59_950.0 {
        return format!("{:.1}s", milliseconds / 1000.0);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a float saturates, and it isn't negative"
    )]
    let seconds = (milliseconds / 1000.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Formats a time like `2026-11-24 14:03:07Z`, in UTC as in the trail.
pub fn time(time: Timestamp) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    format!(
        "{} {:02}:{:02}:{:02}Z",
        time.date(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5123, "5.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn durations_have_units() {
        for (milliseconds, text) in [
            (0.0, "0ms"),
            (841.2, "841ms"),
            (999.6, "1.0s"),
            (59_960.0, "1m00s"),
            (723_000.0, "12m03s"),
            (86_399_900.0, "1d00h"),
            (18_060_000.0, "5h01m"),
            (-1.0, "0ms"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
    }
}
