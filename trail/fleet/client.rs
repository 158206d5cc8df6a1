//! Puts together what the trails of a site tell of one client.

use jiff::{SignedDuration, Timestamp};

use super::account::{Account, MOST_VISITS, MarkedContact, Run};
use super::clock::minus;
use super::facts::{AttemptEnd, Contact, DAYS, Facts, LastUpload, Period, PeriodSource, Tries};
use super::part::{Part, accounts};
use super::places::{addresses, relays};
use crate::inventory::ExpectedClient;
use crate::text::Text;

/// What became of a client.
pub(super) enum Resolved {
    Facts(Box<Facts>),
    /// No trail has a time for it.
    Gone,
}

/// When a client was listed, without its times before a long absence.
struct Life {
    entered: Timestamp,
    removed: Option<Timestamp>,
    is_found: bool,
}

pub(super) fn resolve(name: &str, parts: &[Part<'_>], now: Timestamp) -> Resolved {
    let Some(life) = life(parts).or_else(|| unlisted(parts)) else {
        return Resolved::Gone;
    };
    let history = minus(life.entered, DAYS);
    let upload = last_upload(parts).filter(|upload| upload.at >= history);
    let since = upload.as_ref().map_or(life.entered, |upload| upload.at);
    let present = present(parts);
    let current = present.first().map(|(_, client)| *client);
    let learned = learned(parts);
    let contact = |of: fn(&Account) -> Option<&MarkedContact>| last_contact(parts, since, of);
    let lost = each(parts, |account| account.lost.as_ref());
    let seen = each(parts, |account| account.seen.as_ref());
    let relays = relays(parts, since);
    Resolved::Facts(Box::new(Facts {
        name: name.to_owned(),
        found: life.is_found,
        has_inventory: !life.is_found || has_inventory(parts),
        calls_home: present.is_empty() || present.iter().any(|(_, client)| client.calls_home),
        role: text(current.and_then(|client| client.role.as_ref())),
        version: text(current.and_then(|client| client.version.as_ref())),
        entered: life.entered,
        removed: life.removed,
        tries: tries(parts, since, upload.is_some(), |account| {
            account.tries.as_ref()
        }),
        perhaps: tries(parts, since, upload.is_some(), |account| {
            account.perhaps.as_ref()
        }),
        upload,
        period: period(&present, learned),
        learned,
        other_version: contact(|account| account.other_version.as_ref()),
        report_only: contact(|account| account.report_only.as_ref()),
        last_tunnel: last_contact(parts, Timestamp::MIN, |it| it.last_tunnel.as_ref()),
        lost: lost.filter(|at| *at > since).max(),
        seen: seen.max(),
        relays,
        addresses: addresses(parts, &present, now),
        addresses_left_out: accounts(parts).map(|(_, it)| it.addresses_left_out).sum(),
        contradictions: contradictions(&present),
        reading: None,
    }))
}

/// Whether a trail that has records of the client tells who is expected.
fn has_inventory(parts: &[Part<'_>]) -> bool {
    parts
        .iter()
        .any(|part| part.trail.ledger.listings.last.is_some())
}

/// The dates of a mark that accounts have.
fn each<'a>(
    parts: &[Part<'a>],
    of: fn(&'a Account) -> Option<&'a super::clock::Mark>,
) -> impl Iterator<Item = Timestamp> {
    accounts(parts).filter_map(move |(trail, account)| Some(trail.date(of(account)?)))
}

/// When a listed client was entered and removed. After an absence of more than 15 days it is
/// another client.
fn life(parts: &[Part<'_>]) -> Option<Life> {
    let mut spans = Vec::new();
    for part in parts {
        for span in part.listing.iter().flat_map(|listing| &listing.spans) {
            let to = span.to.map(|to| part.trail.date(&to));
            spans.push((part.trail.date(&span.from), to.or(part.trail.ended)));
        }
    }
    spans.sort_unstable();
    let mut life: Option<(Timestamp, Option<Timestamp>)> = None;
    for (from, to) in spans {
        life = match life {
            Some((begin, None)) => Some((begin, None)),
            Some((begin, Some(end))) if from.duration_since(end) <= DAYS => {
                Some((begin, to.map(|to| to.max(end))))
            }
            _ => Some((from, to)),
        };
    }
    let (entered, removed) = life?;
    Some(Life {
        entered,
        removed,
        is_found: false,
    })
}

/// A machine that no inventory has. Where a trail has inventories, one that the records name was
/// removed before the first of them.
fn unlisted(parts: &[Part<'_>]) -> Option<Life> {
    let entered = each(parts, |account| account.first.as_ref()).min()?;
    let seen = each(parts, |account| account.seen.as_ref()).max();
    let was_listed = parts
        .iter()
        .any(|part| part.trail.ledger.listings.last.is_some() && !part.is_stranger);
    Some(Life {
        entered,
        removed: seen.filter(|_| was_listed),
        is_found: !was_listed,
    })
}

fn last_upload(parts: &[Part<'_>]) -> Option<LastUpload> {
    let dated = accounts(parts).filter_map(|(trail, account)| {
        let uploads = account.upload.as_ref()?;
        let clock = &trail.ledger.clock;
        Some(LastUpload {
            at: uploads.last.date(clock, trail.now),
            opened: uploads.opened.date(clock, trail.now),
            relay: trail.ledger.relay.clone(),
            destination: uploads.destination.clone(),
            address: Some(uploads.address),
        })
    });
    let all: Vec<_> = dated.collect();
    let opened = all.iter().map(|upload| upload.opened).max()?;
    let last = all.into_iter().max_by_key(|upload| upload.at)?;
    Some(LastUpload { opened, ..last })
}

/// The tries since the last upload. Over several relays, the last try says how they ended.
fn tries<'a>(
    parts: &[Part<'a>],
    since: Timestamp,
    has_upload: bool,
    of: fn(&'a Account) -> Option<&'a Run>,
) -> Option<Tries> {
    let runs = accounts(parts).filter_map(|(trail, account)| {
        let run = of(account)?;
        let is_since = |at: &Timestamp| *at > since || !has_upload && *at == since;
        let first = trail.date(&run.first);
        let recent = run.recent.iter().map(|mark| trail.date(mark));
        let recent: Vec<_> = recent.filter(is_since).collect();
        let last = *recent.last()?;
        let is_whole = is_since(&first);
        Some(Tries {
            count: if is_whole {
                run.count
            } else {
                recent.len() as u64
            },
            first: if is_whole { first } else { recent[0] },
            last,
            relay: trail.ledger.relay.clone(),
            attempt: run.attempt.clone(),
        })
    });
    let runs: Vec<_> = runs.collect();
    let is_denied = |tries: &Tries| tries.attempt.end == AttemptEnd::Denied;
    let last = runs.iter().max_by_key(|tries| tries.last)?;
    let same = runs.iter().filter(|it| is_denied(it) == is_denied(last));
    Some(Tries {
        count: same.clone().map(|it| it.count).fold(0, u64::saturating_add),
        first: same.map(|it| it.first).min()?,
        ..last.clone()
    })
}

fn last_contact<'a>(
    parts: &[Part<'a>],
    since: Timestamp,
    of: fn(&'a Account) -> Option<&'a MarkedContact>,
) -> Option<Contact> {
    accounts(parts)
        .filter_map(|(trail, account)| {
            let contact = of(account)?;
            Some(Contact {
                at: trail.date(&contact.at),
                host: contact.host.clone(),
                destination: contact.destination.clone(),
            })
        })
        .filter(|contact| contact.at >= since)
        .max_by_key(|contact| contact.at)
}

/// The present entries of the client, each with its relay.
fn present<'a>(parts: &[Part<'a>]) -> Vec<(&'a str, &'a ExpectedClient)> {
    let lists = |part: &&Part<'_>| part.trail.ended.is_none();
    let listed = parts.iter().filter(lists).filter_map(|part| {
        let listing = part.listing.filter(|listing| listing.is_present())?;
        Some((&*part.trail.ledger.relay, &listing.client))
    });
    listed.collect()
}

/// The shortest that the configurations say, or else what the uploads show.
fn period(present: &[(&str, &ExpectedClient)], learned: Option<SignedDuration>) -> Period {
    let known = present.iter().filter_map(|(_, client)| client.expect_every);
    let known = known.min().map(|seconds| Period {
        every: SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)),
        source: PeriodSource::Known,
    });
    let learned = learned.map(|every| Period {
        every,
        source: PeriodSource::Learned,
    });
    known.or(learned).unwrap_or(Period::ASSUMED)
}

/// The longest of the last gaps between visits, if there are enough of them.
fn learned(parts: &[Part<'_>]) -> Option<SignedDuration> {
    let visits = accounts(parts).flat_map(|(trail, account)| {
        let visits = account.visits.iter();
        visits.map(move |mark| trail.date(mark))
    });
    let mut visits: Vec<_> = visits.collect();
    visits.sort_unstable();
    visits.dedup_by(|next, last| next.duration_since(*last) < SHORTEST);
    let last = &visits[visits.len().saturating_sub(MOST_VISITS)..];
    if last.len() <= FEWEST_GAPS {
        return None;
    }
    let gaps = last.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    gaps.max().map(|gap| gap.clamp(SHORTEST, LONGEST))
}

/// Where the relays of a site say different things of a client.
fn contradictions(present: &[(&str, &ExpectedClient)]) -> Vec<String> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let every = |it: &ExpectedClient| it.expect_every.map(|seconds| format!("{seconds}s"));
    let of = |key: &str, client: &ExpectedClient| match key {
        "role" => or_none(text(client.role.as_ref())),
        "version" => or_none(text(client.version.as_ref())),
        "expect_every" => or_none(every(client)),
        _ => client.calls_home.to_string(),
    };
    let differs = |key: &str| {
        let said = present
            .iter()
            .map(|(relay, client)| (*relay, of(key, client)));
        let said: Vec<_> = said.collect();
        let first = &said.first()?.1;
        if said.iter().all(|(_, value)| value == first) {
            return None;
        }
        let said = said
            .iter()
            .map(|(relay, value)| format!("{value} at {relay}"));
        Some(format!("{key}: {}", said.collect::<Vec<_>>().join(", ")))
    };
    let keys = ["role", "version", "expect_every", "calls_home"];
    keys.into_iter().filter_map(differs).collect()
}

fn text(text: Option<&Text>) -> Option<String> {
    text.map(ToString::to_string)
}

/// A learned period is between these two.
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(5 * 24);
/// So many gaps show a period.
const FEWEST_GAPS: usize = 5;
