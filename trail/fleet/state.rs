//! The state of a client: a function of facts and time.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::clock::plus;
use super::facts::{AttemptEnd, DAYS, Facts, Period, PeriodSource, Tries};

/// How a client stands. The order is the order in which the rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In no inventory of its site any more.
    Removed,
    /// It isn't expected to call home.
    Exempt,
    /// Its 15 days are over.
    Overdue,
    /// At most five of its days are left.
    AtRisk,
    /// Something that may have shown an upload wasn't read.
    Unknown,
    /// Its tries are denied.
    Refused,
    /// Its tries are allowed, and no upload comes of them.
    Failing,
    /// No upload for longer than its period and grace.
    Quiet,
    /// No upload since it was entered.
    Never,
    /// An upload is due.
    Late,
    /// It was entered a short while ago.
    New,
    Ok,
}

/// How a client stands before the third of a month, when the vendor counts the month before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// It uploaded since the end of the month.
    Green,
    /// It uploaded in the month, and not since.
    Amber,
    /// It didn't upload in the month.
    Red,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Exempt => "exempt",
            Self::Overdue => "overdue",
            Self::AtRisk => "at-risk",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Quiet => "quiet",
            Self::Never => "never",
            Self::Late => "late",
            Self::New => "new",
            Self::Ok => "ok",
        }
    }

    /// Whether an engineer has to look at it. That it isn't known is no good news either.
    pub const fn is_quiet_or_worse(self) -> bool {
        self.severity() >= Self::Never.severity()
    }

    /// The worse, the higher.
    pub const fn severity(self) -> u8 {
        match self {
            Self::Overdue => 11,
            Self::AtRisk => 10,
            Self::Unknown => 9,
            Self::Refused => 8,
            Self::Failing => 7,
            Self::Quiet => 6,
            Self::Never => 5,
            Self::Late => 4,
            Self::New => 3,
            Self::Ok => 2,
            Self::Removed => 1,
            Self::Exempt => 0,
        }
    }
}

/// Judges a client. The first rule that holds gives its state.
pub fn state(facts: &Facts, now: Timestamp) -> State {
    if facts.removed.is_some() {
        return State::Removed;
    }
    if !facts.calls_home {
        return State::Exempt;
    }
    // A trail without an inventory doesn't tell what an upload is either.
    if !facts.has_inventory {
        return State::Unknown;
    }
    let deadline = facts.deadline();
    if now >= deadline {
        return State::Overdue;
    }
    if deadline.duration_since(now) <= AT_RISK && !facts.is_awaited(now) {
        return State::AtRisk;
    }
    let is_unknown = |relay: &super::RelayFacts| relay.unread || relay.is_silent(now);
    if facts.relays.iter().any(is_unknown) {
        return State::Unknown;
    }
    if let Some(tries) = facts.telling_tries(now) {
        return match tries.attempt.end {
            AttemptEnd::Denied => State::Refused,
            _ => State::Failing,
        };
    }
    let patience = facts.period.with_grace();
    match &facts.upload {
        Some(upload) if now > plus(upload.at, patience) => State::Quiet,
        Some(upload) if now > plus(upload.at, facts.period.every) => State::Late,
        Some(_) => State::Ok,
        None if now >= plus(facts.entered, patience.max(FIRST)) => State::Never,
        None => State::New,
    }
}

impl Facts {
    /// When its 15 days end, at the earliest.
    pub fn deadline(&self) -> Timestamp {
        let every = self.period.every;
        let deadline = match &self.upload {
            Some(upload) if every > LONG_PERIOD => plus(plus(upload.at, every), DAYS),
            Some(upload) => plus(upload.at, DAYS),
            None => plus(self.entered, DAYS),
        };
        let Some(reading) = &self.reading else {
            return deadline;
        };
        if self.upload.as_ref().is_some_and(|it| it.at > reading.at) {
            return deadline;
        }
        match reading.alert_since {
            Some(since) => plus(since, DAYS),
            None => deadline.max(plus(reading.at, DAYS)),
        }
    }

    /// The whole days that are left of the 15, at least. None if it isn't expected to call home.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        if self.removed.is_some() || !self.calls_home || !self.has_inventory {
            return None;
        }
        let left = self.deadline().duration_since(now).as_hours() / 24;
        Some(left.max(0))
    }

    /// Whether the deadline is known from an upload or from the ZVM. Without both, its own alert
    /// may have begun before it was entered.
    pub fn is_deadline_known(&self) -> bool {
        self.upload.is_some() || self.reading.is_some()
    }

    /// How it stands before the third of a month. None outside of the days for which that is asked:
    /// from the last but one of a month to the third.
    pub fn ready(&self, now: Timestamp) -> Option<Ready> {
        if self.removed.is_some() || !self.calls_home {
            return None;
        }
        let today = TimeZone::UTC.to_datetime(now).date();
        let (begin, end) = closing_month(today)?;
        let opened = self.upload.as_ref().map(|upload| upload.opened);
        Some(match opened {
            Some(opened) if opened >= end => Ready::Green,
            Some(opened) if opened >= begin => Ready::Amber,
            _ => Ready::Red,
        })
    }

    /// Whether the configuration says that its next upload isn't due yet.
    fn is_awaited(&self, now: Timestamp) -> bool {
        let due = |at| plus(at, self.period.with_grace());
        self.period.source == PeriodSource::Known
            && self.upload.as_ref().is_some_and(|it| now <= due(it.at))
    }

    /// The tries since the last upload that tell why none comes. A single one may be chance.
    pub(super) fn telling_tries(&self, now: Timestamp) -> Option<&Tries> {
        let recent = self.period.with_grace().max(RECENT);
        let is_telling = |tries: &&Tries| {
            let is_repeated =
                tries.count >= 3 || tries.count >= 2 && now.duration_since(tries.first) >= REPEATED;
            is_repeated && now.duration_since(tries.last) <= recent
        };
        let tries = self.tries.as_ref().filter(is_telling);
        tries.or(self.perhaps.as_ref().filter(is_telling))
    }
}

impl Period {
    /// The grace that an upload has beyond its period.
    pub fn grace(&self) -> SignedDuration {
        GRACE.max(self.every / 4)
    }

    pub(super) fn with_grace(&self) -> SignedDuration {
        self.every.saturating_add(self.grace())
    }

    /// What is assumed where nothing shows a period.
    pub const ASSUMED: Self = Self {
        every: SignedDuration::from_hours(3 * 24),
        source: PeriodSource::Assumed,
    };
}

impl super::RelayFacts {
    /// Whether it wrote nothing for longer than a relay that runs, or that can't be told.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.is_ahead() || now.duration_since(self.last) > self.silent_after
    }

    /// Whether its clock is so far ahead that its last record may be of any time before now.
    pub fn is_ahead(&self) -> bool {
        self.ahead.is_some_and(|ahead| ahead > AHEAD_AT_MOST)
    }
}

/// A clock that is ahead by less makes dates wrong by less than it matters.
const AHEAD_AT_MOST: SignedDuration = SignedDuration::from_hours(1);

impl Ready {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }
}

/// The month that closes around this day: its begin and its end. None in the middle of a month.
fn closing_month(today: Date) -> Option<(Timestamp, Timestamp)> {
    let first = if today.day() <= 3 {
        today.first_of_month().yesterday().ok()?.first_of_month()
    } else if today.day() + 2 > today.days_in_month() {
        today.first_of_month()
    } else {
        return None;
    };
    let next = first.last_of_month().tomorrow().ok()?;
    let begin = |day: Date| {
        let midnight = date(day.year(), day.month(), 1).at(0, 0, 0, 0);
        TimeZone::UTC.to_timestamp(midnight).ok()
    };
    Some((begin(first)?, begin(next)?))
}

/// A period beyond this is longer than what 15 days leave room for.
const LONG_PERIOD: SignedDuration = SignedDuration::from_hours(9 * 24);
const AT_RISK: SignedDuration = SignedDuration::from_hours(5 * 24);
const GRACE: SignedDuration = SignedDuration::from_hours(6);
/// What a new client has for its first upload, at least.
const FIRST: SignedDuration = SignedDuration::from_hours(3 * 24);
/// Tries count for this long, at least.
const RECENT: SignedDuration = SignedDuration::from_hours(24);
/// Two tries this far apart are no chance.
const REPEATED: SignedDuration = SignedDuration::from_mins(30);
