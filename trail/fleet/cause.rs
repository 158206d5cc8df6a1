//! Why a client stands as it does, and what to do: a function of facts and time.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::clock::plus;
use super::facts::{AttemptEnd, Contact, Facts, RelayFacts, Tries};
use super::state::{State, state};
use crate::human;
use crate::reason::{Reason, Verdict};
use crate::words::ABANDONED;

/// Why a client stands as it does. `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// There is nothing to say.
    Well,
    Removed {
        since: Timestamp,
    },
    Exempt,
    /// The trails don't tell who is expected, because their relay is older.
    NoInventory {
        last_tunnel: Option<Contact>,
    },
    RelaySilent {
        relay: String,
        since: Timestamp,
    },
    /// The relay's clock is far ahead.
    RelayAhead {
        relay: String,
        ahead: SignedDuration,
    },
    Unread {
        relay: String,
    },
    Refused {
        tries: Tries,
    },
    /// Refused, but it isn't sure that the tries were to call home.
    PerhapsRefused {
        tries: Tries,
    },
    Failing {
        tries: Tries,
    },
    /// It goes to the billing host of another version.
    OtherVersion {
        contact: Contact,
    },
    /// It goes to a host that only report-only lets through.
    ReportOnly {
        contact: Contact,
    },
    /// Nothing came since the last upload, or since a single try.
    NoTry(NoTry),
}

/// What is known of a client from which nothing came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoTry {
    pub last: Option<Tries>,
    /// A tunnel of which the end wasn't recorded. It may have been an upload.
    pub lost: Option<Timestamp>,
    /// How long its relay was down meanwhile.
    pub down: SignedDuration,
    pub gap: Option<Timestamp>,
}

/// Finds the cause of a client's state.
pub fn cause(facts: &Facts, now: Timestamp) -> Cause {
    match state(facts, now) {
        State::Removed => Cause::Removed {
            since: facts.removed.unwrap_or(now),
        },
        State::Exempt => Cause::Exempt,
        State::Ok => Cause::Well,
        // An upload isn't due yet. What was tried all the same is worth a look.
        State::New | State::Late => match silence(facts, now) {
            Cause::NoTry(NoTry { last: None, .. })
            | Cause::RelaySilent { .. }
            | Cause::RelayAhead { .. } => Cause::Well,
            cause => cause,
        },
        State::Unknown => unknown(facts, now),
        State::Overdue
        | State::AtRisk
        | State::Refused
        | State::Failing
        | State::Quiet
        | State::Never => silence(facts, now),
    }
}

fn unknown(facts: &Facts, now: Timestamp) -> Cause {
    if !facts.has_inventory {
        return Cause::NoInventory {
            last_tunnel: facts.last_tunnel.clone(),
        };
    }
    let relays = &facts.relays;
    if let Some(relay) = relays.iter().find(|relay| relay.is_silent(now)) {
        return silent(relay);
    }
    let unread = relays.iter().find(|relay| relay.unread);
    Cause::Unread {
        relay: unread.map(|relay| relay.name.clone()).unwrap_or_default(),
    }
}

/// Finds why no upload comes.
fn silence(facts: &Facts, now: Timestamp) -> Cause {
    if let Some(tries) = facts.telling_tries(now).cloned() {
        let is_sure = facts.tries.as_ref() == Some(&tries);
        return match tries.attempt.end {
            AttemptEnd::Denied if is_sure => Cause::Refused { tries },
            AttemptEnd::Denied => Cause::PerhapsRefused { tries },
            _ => Cause::Failing { tries },
        };
    }
    // What no relay recorded is no fault of the client.
    let relays = &facts.relays;
    let due = plus(facts.since(), facts.period.with_grace());
    if let Some(relay) = relays.iter().max_by_key(|relay| relay.last)
        && relay.is_silent(now)
        && relay.last <= due
    {
        return silent(relay);
    }
    let is_later = |contact: &&Contact| {
        let tried = facts.tries.as_ref().map(|tries| tries.last);
        tried.is_none_or(|tried| contact.at > tried)
    };
    if let Some(contact) = facts.other_version.as_ref().filter(is_later) {
        return Cause::OtherVersion {
            contact: contact.clone(),
        };
    }
    if let Some(contact) = facts.report_only.as_ref().filter(is_later) {
        return Cause::ReportOnly {
            contact: contact.clone(),
        };
    }
    let last = [&facts.tries, &facts.perhaps].into_iter().flatten();
    Cause::NoTry(NoTry {
        last: last.max_by_key(|tries| tries.last).cloned(),
        lost: facts.lost,
        down: relays.iter().map(|it| it.down).min().unwrap_or_default(),
        gap: relays.iter().filter_map(|relay| relay.gap).max(),
    })
}

fn silent(relay: &RelayFacts) -> Cause {
    if let Some(ahead) = relay.ahead.filter(|_| relay.is_ahead()) {
        return Cause::RelayAhead {
            relay: relay.name.clone(),
            ahead,
        };
    }
    Cause::RelaySilent {
        relay: relay.name.clone(),
        since: relay.last,
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => Ok(()),
            Self::Removed { since } => {
                write!(f, "in no inventory since {}", human::time(*since))
            }
            Self::Exempt => f.write_str("not expected to call home (calls_home = false)"),
            Self::NoInventory { last_tunnel } => {
                f.write_str("no inventory tells whether it is expected")?;
                match last_tunnel {
                    Some(last) => write!(f, "; its last tunnel was to {}", last_contact(last)),
                    None => Ok(()),
                }
            }
            Self::RelaySilent { relay, since } => write!(
                f,
                "the trail of {relay} ends at {}, so later uploads aren't known",
                human::time(*since)
            ),
            Self::RelayAhead { relay, ahead } => write!(
                f,
                "the clock of {relay} is {} ahead, so when its last records were written isn't known",
                period(*ahead)
            ),
            Self::Unread { relay } => write!(
                f,
                "records of {relay} since then were deleted or lost before they were read"
            ),
            Self::Refused { tries } => write!(f, "refused: {}", tries_in_words(tries)),
            Self::PerhapsRefused { tries } if tries.attempt.host.is_some() => write!(
                f,
                "refused at a name on no list, which is perhaps its billing host: {}",
                tries_in_words(tries)
            ),
            Self::PerhapsRefused { tries } => write!(
                f,
                "refused before it named a target: {}",
                tries_in_words(tries)
            ),
            Self::Failing { tries } => write!(
                f,
                "{}: {}",
                end_in_words(tries.attempt.end, tries.attempt.reason.as_deref()),
                tries_in_words(tries)
            ),
            Self::OtherVersion { contact } => write!(
                f,
                "it calls the billing host of another version: {}",
                last_contact(contact)
            ),
            Self::ReportOnly { contact } => write!(
                f,
                "it calls a name on no list, which only report-only lets through: {}",
                last_contact(contact)
            ),
            Self::NoTry(known) => known.fmt(f),
        }
    }
}

impl fmt::Display for NoTry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            None => f.write_str("no try since")?,
            Some(tries) => {
                let end = end_in_words(tries.attempt.end, tries.attempt.reason.as_deref());
                write!(f, "no try since this one: {end}: {}", tries_in_words(tries))?;
            }
        }
        if let Some(lost) = self.lost {
            write!(
                f,
                "; the end of its tunnel of {} wasn't recorded, so that may have been an upload",
                human::time(lost)
            )?;
        }
        if self.down >= SignedDuration::from_mins(10) {
            write!(
                f,
                "; its relay was down for {} meanwhile",
                period(self.down)
            )?;
        }
        if let Some(gap) = self.gap {
            write!(f, "; records are missing, told at {}", human::time(gap))?;
        }
        Ok(())
    }
}

fn end_in_words(end: AttemptEnd, reason: Option<&str>) -> &'static str {
    match end {
        AttemptEnd::Denied => "refused",
        AttemptEnd::Distrusted => "it leaves when it sees the certificate",
        AttemptEnd::Small => "its tunnels carry less than an upload has",
        AttemptEnd::Unanswered => "what it sends gets no answer",
        AttemptEnd::Failed if reason.is_some() => "allowed, and failed",
        AttemptEnd::Failed => "its tunnels carry no upload",
    }
}

/// Tells of tries: how many, the last one, its reason, target, origin and relay.
fn tries_in_words(tries: &Tries) -> String {
    let attempt = &tries.attempt;
    let mut text = match tries.count {
        1 => format!("once, at {}", human::time(tries.last)),
        count => format!(
            "{count} times since {}, the last at {}",
            human::time(tries.first),
            human::time(tries.last)
        ),
    };
    if let Some(reason) = &attempt.reason {
        text.push_str(", ");
        text.push_str(reason);
    }
    if let Some(host) = attempt.host.as_ref().or(attempt.destination.as_ref()) {
        text.push_str(", to ");
        text.push_str(host);
    }
    let claimed = if attempt.claimed {
        ", not let in as this client"
    } else {
        ""
    };
    format!(
        "{text}, from {} by {}{claimed}",
        attempt.address, tries.relay
    )
}

fn last_contact(contact: &Contact) -> String {
    let host = contact.host.as_deref().or(contact.destination.as_deref());
    let host = host.unwrap_or("an unnamed host");
    format!("{host}, the last time at {}", human::time(contact.at))
}

/// Formats a period like `3d00h`.
pub(super) fn period(duration: SignedDuration) -> String {
    human::duration(duration.as_secs_f64() * 1000.0)
}

/// Whether requests with this reason were allowed, and then failed.
pub(super) fn is_failure(token: &str) -> bool {
    token == ABANDONED
        || Reason::of(token).is_some_and(|reason| reason.verdict() == Verdict::Failed)
}
