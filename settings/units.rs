//! Durations, sizes and percentages, which are a number and a unit.

use std::time::Duration;

use crate::form::{Form, Mistake};

/// A duration that is never zero: a wait or an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

/// A share of something else, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

impl Form for Duration {
    const NOUN: &'static str = "a duration";
    const EXAMPLE: &'static str = "5s";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(ms|s|m|h|d)$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let (count, unit) = split(text, "write a number and one of ms, s, m, h, d: \"5s\"")?;
        let unit = DURATIONS.iter().find(|(name, _)| *name == unit);
        let Some((_, milliseconds)) = unit else {
            return Err(Mistake::new(
                "unknown unit",
                "the units are ms, s, m, h and d",
            ));
        };
        count
            .checked_mul(*milliseconds)
            .map(Duration::from_millis)
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| Mistake::new("too long", "write at most \"3650d\""))
    }

    fn write(&self) -> String {
        let milliseconds = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        if milliseconds == 0 {
            return "0s".to_owned();
        }
        largest_unit(milliseconds, &DURATIONS)
    }
}

impl Form for Timeout {
    const NOUN: &'static str = "a duration above zero";
    const EXAMPLE: &'static str = "5s";
    const PATTERN: Option<&'static str> = Some("^0*[1-9][0-9]*(ms|s|m|h|d)$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let duration = Duration::read(text)?;
        if duration.is_zero() {
            return Err(Mistake::new(
                "zero",
                "leave the key out for the default; nothing waits for ever",
            ));
        }
        Ok(Self(duration))
    }

    fn write(&self) -> String {
        self.0.write()
    }
}

impl Form for Size {
    const NOUN: &'static str = "a size";
    const EXAMPLE: &'static str = "16KiB";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(B|KiB|MiB|GiB)$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let (count, unit) = split(
            text,
            "write a number and one of B, KiB, MiB, GiB: \"16KiB\"",
        )?;
        let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
            return Err(Mistake::new(
                "unknown unit",
                "the units are B, KiB, MiB and GiB, powers of 1024",
            ));
        };
        count
            .checked_mul(*bytes)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| Mistake::new("too large", "write a smaller size"))
    }

    fn write(&self) -> String {
        largest_unit(self.0 as u64, &SIZES)
    }
}

impl Form for Percent {
    const NOUN: &'static str = "a percentage";
    const EXAMPLE: &'static str = "25%";
    const PATTERN: Option<&'static str> = Some("^[0-9]+%$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let help = "write a whole number from 0 to 100 and a percent sign: \"25%\"";
        let (count, unit) = split(text, help)?;
        if unit != "%" {
            return Err(Mistake::new("no percent sign at the end", help));
        }
        match u8::try_from(count) {
            Ok(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(Mistake::new("above 100%", help)),
        }
    }

    fn write(&self) -> String {
        format!("{}%", self.0)
    }
}

/// Splits "16KiB" into 16 and "KiB". The number has digits only: no sign, fraction or space.
fn split<'a>(text: &'a str, help: &'static str) -> Result<(u64, &'a str), Mistake> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    if count.is_empty() {
        return Err(Mistake::new("no number at the start", help));
    }
    if unit.is_empty() {
        return Err(Mistake::new("no unit at the end", help));
    }
    match count.parse() {
        Ok(count) => Ok((count, unit)),
        Err(_) => Err(Mistake::new("the number is too large", help)),
    }
}

/// Writes a count in the largest unit that divides it, so that 120000 milliseconds are "2m".
fn largest_unit(count: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .rev()
        .find(|(_, size)| count.is_multiple_of(*size))
        .map_or_else(
            || count.to_string(),
            |(name, size)| format!("{}{name}", count / size),
        )
}

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];
/// The longest duration that can be written. Added to any instant it can't overflow.
const LONGEST: Duration = Duration::from_hours(3650 * 24);
const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label<F: Form>(text: &str) -> String {
        match F::read(text) {
            Ok(value) => panic!("{text} is read as {}", value.write()),
            Err(mistake) => mistake.label.unwrap_or_default().into_owned(),
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds, canonical) in [
            ("250ms", 250, "250ms"),
            ("5s", 5_000, "5s"),
            ("60s", 60_000, "1m"),
            ("90s", 90_000, "90s"),
            ("24h", 86_400_000, "1d"),
            ("0h", 0, "0s"),
            ("3650d", 315_360_000_000, "3650d"),
        ] {
            let duration = Duration::read(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration.write(), canonical, "{text}");
        }
        for (text, why) in [
            ("", "no number at the start"),
            ("s", "no number at the start"),
            ("-5s", "no number at the start"),
            ("+5s", "no number at the start"),
            (" 5s", "no number at the start"),
            ("\u{665}s", "no number at the start"),
            ("5", "no unit at the end"),
            ("5 s", "unknown unit"),
            ("5S", "unknown unit"),
            ("5sec", "unknown unit"),
            ("1h30m", "unknown unit"),
            ("1.5h", "unknown unit"),
            ("5us", "unknown unit"),
            ("3651d", "too long"),
            ("18446744073709551615d", "too long"),
            ("18446744073709551616s", "the number is too large"),
        ] {
            assert_eq!(label::<Duration>(text), why, "{text}");
        }
        assert_eq!(label::<Timeout>("0ms"), "zero");
    }

    #[test]
    fn sizes() {
        for (text, bytes, canonical) in [
            ("1B", 1, "1B"),
            ("16KiB", 16 << 10, "16KiB"),
            ("2048KiB", 2 << 20, "2MiB"),
            ("1GiB", 1 << 30, "1GiB"),
        ] {
            let size = Size::read(text).unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.write(), canonical, "{text}");
        }
        for (text, why) in [
            ("16", "no unit at the end"),
            ("16KB", "unknown unit"),
            ("16kib", "unknown unit"),
            ("16 KiB", "unknown unit"),
            ("99999999999999999GiB", "too large"),
        ] {
            assert_eq!(label::<Size>(text), why, "{text}");
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(Percent::read("0%"), Ok(Percent(0)));
        assert_eq!(Percent::read("100%"), Ok(Percent(100)));
        assert_eq!(label::<Percent>("101%"), "above 100%");
        assert_eq!(label::<Percent>("356%"), "above 100%");
        assert_eq!(label::<Percent>("25"), "no unit at the end");
        assert_eq!(label::<Percent>("25 %"), "no percent sign at the end");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(milliseconds in 0..315_360_000_000_u64, bytes: u32) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(Duration::read(&duration.write()), Ok(duration));
            let size = Size(bytes as usize);
            prop_assert_eq!(Size::read(&size.write()), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = Duration::read(&text);
            let _ = Size::read(&text);
            let _ = Percent::read(&text);
        }
    }
}
