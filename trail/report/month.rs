//! A calendar month in UTC, and sets of its days.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Serialize, Serializer};

/// A month, written `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    first: Date,
    /// Its first moment, and that of the next month.
    start: Timestamp,
    end: Timestamp,
}

/// A set of days of a month. The first day is bit 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Days(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a month is written like 2026-11")]
pub struct MonthError;

impl Month {
    /// The day of the month on which a time is, counted from 0. None if it is in another month.
    pub(super) fn day(self, time: Timestamp) -> Option<u8> {
        let passed = time.duration_since(self.start);
        let is_in = time >= self.start && time < self.end;
        is_in
            .then(|| u8::try_from(passed.as_secs() / DAY).ok())
            .flatten()
    }

    pub(super) fn start(self) -> Timestamp {
        self.start
    }

    /// The first moment after the month.
    pub(super) fn end(self) -> Timestamp {
        self.end
    }

    pub(super) fn date(self, day: u8) -> Date {
        self.first.saturating_add(i64::from(day).days())
    }

    pub(super) fn length(self) -> u8 {
        u8::try_from(self.first.days_in_month()).unwrap_or(31)
    }

    /// The dates of all its days.
    pub(super) fn all_dates(self) -> Vec<Date> {
        self.dates(self.days())
    }

    pub(super) fn days(self) -> Days {
        (0..self.length()).collect()
    }

    /// The days of the month between two times, including the days of the times.
    pub(super) fn between(self, from: Timestamp, to: Timestamp) -> Days {
        let date = |time| TimeZone::UTC.to_datetime(time).date();
        let (from, to) = (date(from), date(to));
        (0..self.length())
            .filter(|day| (from..=to).contains(&self.date(*day)))
            .collect()
    }

    /// The seconds of the month between two times.
    pub(super) fn seconds(self, from: Timestamp, to: Timestamp) -> u64 {
        let passed = to.min(self.end).duration_since(from.max(self.start));
        u64::try_from(passed.as_secs()).unwrap_or(0)
    }

    pub(super) fn dates(self, days: Days) -> Vec<Date> {
        days.iter().map(|day| self.date(day)).collect()
    }
}

impl Days {
    pub(super) fn insert(&mut self, day: u8) {
        self.0 |= 1 << day;
    }

    pub(super) fn len(self) -> u8 {
        // There are at most 31.
        u8::try_from(self.0.count_ones()).unwrap_or(31)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The longest run of days.
    pub(super) fn longest_run(self) -> u8 {
        let mut rest = self.0;
        let mut longest = 0;
        // Each round removes the first day of every run, so the number of rounds is the longest
        // run.
        while rest != 0 {
            rest &= rest << 1;
            longest += 1;
        }
        longest
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..31).filter(move |day| self.0 & (1 << day) != 0)
    }
}

impl FromIterator<u8> for Days {
    fn from_iter<I: IntoIterator<Item = u8>>(days: I) -> Self {
        let mut set = Self::default();
        days.into_iter().for_each(|day| set.insert(day));
        set
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let (year, month) = text.split_once('-').ok_or(MonthError)?;
        let digits = |text: &str, count| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) {
            return Err(MonthError);
        }
        let year = year.parse().map_err(|_| MonthError)?;
        let month = month.parse().map_err(|_| MonthError)?;
        let first = Date::new(year, month, 1).map_err(|_| MonthError)?;
        let begins = |date: Date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
        Ok(Self {
            first,
            start: begins(first).map_err(|_| MonthError)?,
            // Nothing comes after the last month that a time can have.
            end: first
                .checked_add(1.month())
                .and_then(begins)
                .unwrap_or(Timestamp::MAX),
        })
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The seconds of a day.
const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_is_written_one_way() {
        let month: Month = "2026-11".parse().unwrap();
        assert_eq!(month.to_string(), "2026-11");
        assert_eq!(month.length(), 30);
        assert_eq!("2028-02".parse::<Month>().unwrap().length(), 29);
        for wrong in [
            "2026-13",
            "2026-00",
            "2026-1",
            "26-11",
            "2026",
            "+026-11",
            "2026-11-01",
            "",
        ] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn its_days_are_those_of_utc() {
        let month: Month = "2026-11".parse().unwrap();
        assert_eq!(month.day(time("2026-11-01T00:00:00Z")), Some(0));
        assert_eq!(month.day(time("2026-11-30T23:59:59.999999Z")), Some(29));
        assert_eq!(month.day(time("2026-12-01T00:00:00Z")), None);
        assert_eq!(month.day(time("2026-10-31T23:59:59Z")), None);
        assert_eq!(month.day(time("2025-11-15T00:00:00Z")), None);
        assert_eq!(month.day(time("2026-12-01T01:30:00+02:00")), Some(29));
    }

    #[test]
    fn runs_of_days_are_counted() {
        let days = |days: &[u8]| days.iter().copied().collect::<Days>();
        assert_eq!(days(&[]).longest_run(), 0);
        assert_eq!(days(&[0, 1, 2, 5, 6, 30]).longest_run(), 3);
        assert_eq!((0..31).collect::<Days>().longest_run(), 31);
    }

    #[test]
    fn what_is_between_two_times() {
        let month: Month = "2026-11".parse().unwrap();
        let days = month.between(time("2026-10-05T00:00:00Z"), time("2026-11-03T00:00:00Z"));
        assert_eq!(days, [0, 1, 2].into_iter().collect());
        let none = month.between(time("2026-12-05T00:00:00Z"), time("2026-12-06T00:00:00Z"));
        assert_eq!(none, Days::default());
        let seconds = |from, to| month.seconds(time(from), time(to));
        assert_eq!(
            seconds("2026-10-05T00:00:00Z", "2026-11-01T01:00:00Z"),
            3600
        );
        assert_eq!(
            seconds("2026-11-30T23:00:00Z", "2027-01-01T00:00:00Z"),
            3600
        );
        assert_eq!(seconds("2026-12-05T00:00:00Z", "2026-12-06T00:00:00Z"), 0);
        assert_eq!(seconds("2026-11-06T00:00:00Z", "2026-11-05T00:00:00Z"), 0);
    }
}
