//! Writes records in the formats of other programs. No text of a record breaks its line.

mod combined;
#[cfg(feature = "report")]
mod csv;
mod ecs;
mod squid;

use crate::counted::Counted;
use crate::reason::Reason;
use crate::record::{Client, Record};
use crate::words::{Decision, Outcome};
use crate::{escape, harmless};

/// A format. ECS has every record, and the others have the last record of each session. CSV also
/// has refusals that were counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Squid's native `access.log`.
    Squid,
    /// The combined log format of NCSA httpd and Apache.
    Combined,
    /// Comma-separated values: a header, and columns that stay the same over versions.
    #[cfg(feature = "report")]
    Csv,
    /// JSON lines with the fields of the Elastic Common Schema.
    Ecs,
}

impl ExportFormat {
    /// The line that comes before the first record, without its line feed.
    pub fn header(self) -> Option<String> {
        match self {
            #[cfg(feature = "report")]
            Self::Csv => Some(csv::header()),
            _ => None,
        }
    }

    /// The record's lines, without their line feeds. There are none for a record that the format
    /// has no place for, and several for refusals that were counted together.
    pub fn lines(self, record: &Record) -> Vec<String> {
        let line: fn(&Record, &Client) -> String = match self {
            Self::Ecs => return ecs::line(record).into_iter().collect(),
            Self::Squid => squid::line,
            Self::Combined => combined::line,
            #[cfg(feature = "report")]
            Self::Csv => match Counted::of(record) {
                Some(counted) => return csv::counted(record, &counted),
                None => csv::line,
            },
        };
        let client = record.client.as_ref().filter(|_| record.is_closing());
        client.map(|it| line(record, it)).into_iter().collect()
    }

    /// How many requests of the record the format has no place for, because they were counted
    /// together.
    pub fn leaves_out(self, record: &Record) -> u64 {
        match self {
            Self::Squid | Self::Combined => Counted::of(record).map_or(0, |it| it.count()),
            _ => 0,
        }
    }
}

/// The status that the client got, or 499 like nginx if it left before it got any.
fn status(record: &Record) -> u16 {
    if record.had_tunnel() {
        return 200;
    }
    match record.reason.as_deref() {
        Some(token) => Reason::of(token).map_or(500, Reason::status),
        None => 499,
    }
}

/// The method. It isn't recorded, but it was CONNECT, unless the request was refused for its
/// method.
fn method(record: &Record) -> &'static str {
    match record.reason.as_deref().and_then(Reason::of) {
        Some(Reason::MethodNotAllowed) => "NONE",
        _ => "CONNECT",
    }
}

/// The target as one field, as it was understood, or else as it was sent.
fn target(record: &Record) -> Option<String> {
    let target = &record.target;
    let authority = target.authority();
    if target.literal().is_some() {
        // An IPv6 address is the only field that may have brackets.
        return authority;
    }
    let bytes = match authority {
        Some(authority) => authority.into_bytes(),
        None => escape::unescape(target.raw.as_deref()?),
    };
    (!bytes.is_empty()).then(|| harmless::field(&bytes))
}

/// A name as one field.
fn name(name: Option<&str>) -> String {
    name.filter(|name| !name.is_empty())
        .map_or_else(|| "-".to_owned(), |name| harmless::field(name.as_bytes()))
}

/// Whether the session was cut off before its end.
fn is_aborted(record: &Record) -> bool {
    matches!(record.outcome, Some(Outcome::Abandoned | Outcome::Lost))
}

fn is_denied(record: &Record) -> bool {
    record.decision == Some(Decision::Deny)
}

/// The word that the trail has for a value.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value)
        .ok()?
        .as_str()
        .map(str::to_owned)
}
