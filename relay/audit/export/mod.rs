//! Records in the formats of other programs. What comes out is one line a record, whatever the record's text is.

mod combined;
mod csv;
mod ecs;
mod squid;

use super::entry::Entry;
use super::record::{Decision, Outcome};
use super::text;
use crate::proxy_error::Reason;

/// A format. The first three have the last record of each session; ECS has every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Squid's native `access.log`.
    Squid,
    /// The combined log format of NCSA httpd and Apache.
    Combined,
    /// A header, and columns that stay what they are.
    Csv,
    /// JSON lines with the fields of the Elastic Common Schema.
    Ecs,
}

impl Format {
    pub const ALL: &[Self] = &[Self::Squid, Self::Combined, Self::Csv, Self::Ecs];

    /// What stands before the first record, without a line feed.
    pub fn header(self) -> Option<String> {
        (self == Self::Csv).then(csv::header)
    }

    /// The record's line, without a line feed; None for a record that the format has no place for.
    pub fn line(self, entry: &Entry) -> Option<String> {
        if self == Self::Ecs {
            return ecs::line(entry);
        }
        let client = entry.client.as_ref().filter(|_| entry.is_closing())?;
        Some(match self {
            Self::Squid => squid::line(entry, client),
            Self::Combined => combined::line(entry, client),
            Self::Csv | Self::Ecs => csv::line(entry, client),
        })
    }
}

/// The status that the client got. 499, as nginx has it, for one that left before it got any.
fn status(entry: &Entry) -> u16 {
    if entry.had_tunnel() {
        return 200;
    }
    match entry.reason.as_deref() {
        Some(token) => Reason::of(token).map_or(500, Reason::status),
        None => 499,
    }
}

/// The method, which isn't recorded: CONNECT, but where it was refused because it was another.
fn method(entry: &Entry) -> &'static str {
    match entry.reason.as_deref().and_then(Reason::of) {
        Some(Reason::MethodNotAllowed) => "NONE",
        _ => "CONNECT",
    }
}

/// The target in a field of its own: as it was understood, else as it was sent.
fn target(entry: &Entry) -> Option<String> {
    let target = &entry.target;
    let authority = target.authority();
    if target.literal().is_some() {
        // The one thing that may have brackets.
        return authority;
    }
    let bytes = match authority {
        Some(authority) => authority.into_bytes(),
        None => text::unescape(target.raw.as_deref()?),
    };
    (!bytes.is_empty()).then(|| text::field(&bytes))
}

/// A name in a field of its own.
fn name(name: Option<&str>) -> String {
    name.filter(|name| !name.is_empty())
        .map_or_else(|| "-".to_owned(), |name| text::field(name.as_bytes()))
}

/// Whether the session ended before it was done.
fn is_aborted(entry: &Entry) -> bool {
    matches!(entry.outcome, Some(Outcome::Abandoned | Outcome::Lost))
}

fn is_denied(entry: &Entry) -> bool {
    entry.decision == Some(Decision::Deny)
}

/// The word that stands for a value in the trail.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value)
        .ok()?
        .as_str()
        .map(str::to_owned)
}
