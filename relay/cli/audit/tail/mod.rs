//! `audit tail`: shows the trail to people, as it is or as it grows.

mod filter;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use anstyle::Style;
use callhome_trail::harmless::{visible, visible_json};
use callhome_trail::{Client, Decision, Event, Follower, Line, Record, human};
use jiff::{SignedDuration, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};

use super::TrailArg;
use crate::cli::exit::Exit;
use crate::cli::out;
use filter::Filter;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    trail: TrailArg,
    /// Go on with what is added, over rotation
    #[arg(short, long)]
    follow: bool,
    /// So many of the last records that match [default: 10, or all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    #[command(flatten)]
    filter: Filter,
    /// The records themselves, as they stand in the trail
    #[arg(long)]
    json: bool,
}

/// A line that is shown: the bytes of a record, the record itself, or the reason why it is none.
enum TailLine {
    Bytes(Vec<u8>),
    Record(Box<Record>),
    Not(String),
}

pub(super) fn run(args: &TailArgs) -> anyhow::Result<Exit> {
    let path = args.trail.path()?;
    let mut out = out::stdout();
    let mut follower = match (args.lines, args.filter.since()) {
        (None, Some(since)) => all_since(&path, since)?,
        (lines, _) => {
            let (follower, shown) = last(&path, lines.unwrap_or(10), args)?;
            for shown in shown {
                show(&mut out, &shown)?;
            }
            follower
        }
    };
    loop {
        follower.drain(|line| match select(line, args) {
            Some(shown) => show(&mut out, &shown),
            None => Ok(()),
        })?;
        out.flush()?;
        if !args.follow || path == Path::new("-") || is_abandoned_after(PAUSE)? {
            return Ok(Exit::Fine);
        }
    }
}

/// Follows the trail from the first segment that may have a record since that time.
///
/// The times follow the order of the records, unless the clock was set. The margin of a day covers
/// steps within a segment up to that. Where the next segment begins earlier, nothing is known of
/// how late this one goes, so it is read.
fn all_since(path: &Path, since: Timestamp) -> io::Result<Follower> {
    let follower = Follower::open(path, 0)?;
    let early = since
        .checked_sub(SignedDuration::from_hours(24))
        .unwrap_or(Timestamp::MIN);
    let beginnings = follower.beginnings()?;
    match beginnings.get(first_since(&beginnings, early)) {
        Some((first, begin)) if *begin <= early => Follower::open(path, *first),
        // A damaged segment has no beginning, and may be before the first that has one.
        _ => Ok(follower),
    }
}

/// Which of the segments, by their beginnings, is the first that may have a record since then.
fn first_since(beginnings: &[(u64, Timestamp)], early: Timestamp) -> usize {
    let is_before = |pair: &[(u64, Timestamp)]| {
        let [(_, begin), (_, next)] = *pair else {
            return false;
        };
        begin <= next && next <= early
    };
    beginnings.windows(2).take_while(|it| is_before(it)).count()
}

/// Finds the last `wanted` records that match, and the follower after them. It reads twice as many
/// segments until there are enough.
fn last(path: &Path, wanted: usize, args: &TailArgs) -> io::Result<(Follower, VecDeque<TailLine>)> {
    let beginnings = Follower::open(path, 0)?.beginnings()?;
    let mut segments = 1_usize;
    loop {
        let from = beginnings.len().saturating_sub(segments);
        let first = if from == 0 { 0 } else { beginnings[from].0 };
        let mut follower = Follower::open(path, first)?;
        let mut shown = VecDeque::new();
        follower.drain(|line| {
            shown.extend(select(line, args));
            if shown.len() > wanted {
                shown.pop_front();
            }
            Ok(())
        })?;
        if shown.len() >= wanted || from == 0 {
            return Ok((follower, shown));
        }
        segments = segments.saturating_mul(2);
    }
}

fn select(line: Result<Line<'_>, String>, args: &TailArgs) -> Option<TailLine> {
    let line = match line {
        Ok(line) => line,
        Err(error) => return (!args.json).then_some(TailLine::Not(error)),
    };
    let Some(record) = Record::of(&line) else {
        let what = format!(
            "record {} is of a kind that this version doesn't know",
            line.seq
        );
        return (!args.json).then_some(TailLine::Not(what));
    };
    if !args.filter.matches(&record) {
        return None;
    }
    if args.json {
        return Some(TailLine::Bytes(line.bytes.to_vec()));
    }
    // People have no use for a checkpoint every few minutes.
    (record.event != Event::Checkpoint).then(|| TailLine::Record(Box::new(record)))
}

fn show(out: &mut impl Write, shown: &TailLine) -> io::Result<()> {
    match shown {
        TailLine::Bytes(bytes) if io::stdout().is_terminal() => {
            writeln!(out, "{}", visible_json(&String::from_utf8_lossy(bytes)))
        }
        TailLine::Bytes(bytes) => {
            out.write_all(bytes)?;
            out.write_all(b"\n")
        }
        TailLine::Record(record) if record.client.is_some() => show_session(out, record),
        TailLine::Record(record) => show_relay(out, record),
        TailLine::Not(error) => {
            let bad = out::BAD;
            writeln!(out, "{bad}not shown{bad:#}  {}", visible(error))
        }
    }
}

fn show_session(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let client = record.client.as_ref().map(Client::label);
    let target = record.target.authority();
    let target = target.as_deref().or(record.target.raw.as_deref());
    let (style, decision) = decision(record);
    let reason = match (&record.reason, &record.closed_by, record.event) {
        (Some(reason), ..) => reason,
        (None, _, Event::TunnelOpened) => "opened",
        (None, _, Event::TunnelProgress) => "still open",
        (None, _, Event::TunnelLost) => "lost",
        (None, Some(by), _) => by,
        (None, None, _) => "",
    };
    let line = format!(
        "{}  {:<20} {:<32} {style}{decision:<5}{style:#}  {:>10} up {:>10} down {:>8}  {}",
        human::time(record.time),
        visible(client.as_deref().unwrap_or("-")),
        visible(target.unwrap_or("-")),
        human::bytes(record.bytes_up),
        human::bytes(record.bytes_down),
        human::duration(record.duration_ms.0),
        visible(reason),
    );
    writeln!(out, "{}", line.trim_end())
}

fn decision(record: &Record) -> (Style, &'static str) {
    match record.decision {
        Some(Decision::Deny) => (out::BAD, "deny"),
        Some(Decision::Allow) if record.enforced == Some(false) => (out::WARN, "allow"),
        Some(Decision::Allow) if !record.had_tunnel() => (out::WARN, "allow"),
        Some(Decision::Allow) => (out::GOOD, "allow"),
        None => (Style::new(), "-"),
    }
}

/// Shows the event, and its data as `key=value`.
fn show_relay(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let style = match record.event {
        Event::AuditGap | Event::ConfigRejected | Event::ClockStepped => out::BAD,
        Event::Refusals | Event::TrailPruned => out::WARN,
        _ => Style::new(),
    };
    let event = serde_json::to_value(record.event).unwrap_or_default();
    write!(
        out,
        "{}  {:<20} {style}{}{style:#}",
        human::time(record.time),
        visible(&record.relay),
        visible(event.as_str().unwrap_or_default())
    )?;
    let data: Map<String, Value> = record.data().unwrap_or_default();
    for (key, value) in data.iter().filter(|(_, value)| !value.is_null()) {
        let value = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        write!(out, " {}={}", visible(key), visible(&value))?;
    }
    writeln!(out)
}

/// Waits, and returns whether the reader of standard output has gone meanwhile.
fn is_abandoned_after(pause: Timespec) -> io::Result<bool> {
    let stdout = io::stdout();
    // Without a requested event, poll reports only that the other end was closed.
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut polled, Some(&pause)) {
        Ok(ended) => Ok(ended > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_segment_with_a_late_record_is_left_out() {
        let day = |day: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
        let first = |days: &[i64], since| {
            let beginnings: Vec<_> = (1..).zip(days.iter().map(|it| day(*it))).collect();
            first_since(&beginnings, day(since))
        };
        assert_eq!(first(&[100, 110, 120], 115), 1);
        assert_eq!(first(&[100, 110, 120], 200), 2);
        assert_eq!(first(&[100, 110, 120], 50), 0);
        // Set back by 46 days at day 112, and forward by 47 at day 68.
        assert_eq!(first(&[100, 110, 66, 67, 115], 111), 1);
        assert_eq!(first(&[], 111), 0);
    }
}
