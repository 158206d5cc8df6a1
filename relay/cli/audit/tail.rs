//! `audit tail`: shows the trail to people, as it is or as it grows.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use anstyle::Style;
use callhome_trail::harmless::{visible, visible_json};
use callhome_trail::{Client, Decision, Event, Follower, Line, Record, TimeSpan, human, segments};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};

use super::TrailArg;
use super::filter::{Filter, Matcher};
use crate::cli::exit::{Exit, Refused};
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    trail: TrailArg,
    /// Go on with what is added, over rotation
    #[arg(short, long)]
    follow: bool,
    /// So many of the last records that match [default: 10, or all with --since or
    /// --session]
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

/// Shows lines, and notes what that came to.
struct Screen<'a, W> {
    out: &'a mut W,
    /// Whether a session's record, or any other that was asked for, was shown.
    has_shown: bool,
    /// Whether a line was left out of the output of records.
    has_left_out: bool,
    is_json: bool,
}

pub(super) fn run(args: &TailArgs) -> anyhow::Result<Exit> {
    let path = args.trail.path()?;
    let mut out = out::stdout();
    let mut screen = Screen {
        out: &mut out,
        has_shown: false,
        has_left_out: false,
        is_json: args.json,
    };
    let (mut follower, mut matcher) = if args.lines.is_none() && args.filter.is_bounded() {
        let follower = follower(&path, &args.filter.span(), usize::MAX)?.0;
        (follower, args.filter.matcher())
    } else {
        let last = last(&path, args.lines.unwrap_or(10), args)?;
        for shown in &last.shown {
            screen.show(shown)?;
        }
        (last.follower, last.matcher)
    };
    let is_once = !args.follow || path == Path::new("-");
    loop {
        let mut take = |line: Result<Line<'_>, String>| match select(line, args, &mut matcher) {
            Some(shown) => screen.show(&shown),
            None => Ok(()),
        };
        follower.drain(&mut take)?;
        if is_once {
            follower.finish(take)?;
        }
        screen.out.flush()?;
        if is_once {
            break;
        }
        if is_abandoned_after(PAUSE)? {
            return Ok(Exit::Fine);
        }
    }
    if let Some(session) = args.filter.session().filter(|_| !screen.has_shown) {
        return Err(Refused(format!(
            "there is no record of the session {}: its refusal may be one of those that were counted together, so look for --decision deny",
            visible(session)
        ))
        .into());
    }
    Ok(if screen.has_left_out {
        Exit::No
    } else {
        Exit::Fine
    })
}

/// Follows the last segments of a directory that may have records of the span, or all else. Returns
/// also whether there are more of them.
fn follower(path: &Path, span: &TimeSpan, last: usize) -> io::Result<(Follower, bool)> {
    let mut follower = Follower::open(path, 0)?;
    if !path.is_dir() {
        return Ok((follower, false));
    }
    let (read, not_read) = span.split(segments::list(path)?);
    let before = read.len().saturating_sub(last);
    follower.leave_out(&not_read);
    follower.leave_out(&read[..before]);
    Ok((follower, before > 0))
}

/// The last records that match, and what goes on behind them.
struct Last<'a> {
    shown: VecDeque<TailLine>,
    follower: Follower,
    matcher: Matcher<'a>,
}

/// Finds the last `wanted` records that match. It reads twice as many segments until there are
/// enough.
fn last<'a>(path: &Path, wanted: usize, args: &'a TailArgs) -> io::Result<Last<'a>> {
    let mut segments = 1_usize;
    loop {
        let (mut follower, has_more) = follower(path, &args.filter.span(), segments)?;
        let mut matcher = args.filter.matcher();
        let mut shown = VecDeque::new();
        let mut take = |line: Result<Line<'_>, String>| {
            shown.extend(select(line, args, &mut matcher));
            if shown.len() > wanted {
                shown.pop_front();
            }
            Ok(())
        };
        follower.drain(&mut take)?;
        if !args.follow {
            follower.finish(take)?;
        }
        if shown.len() >= wanted || !has_more {
            return Ok(Last {
                shown,
                follower,
                matcher,
            });
        }
        segments = segments.saturating_mul(2);
    }
}

fn select(
    line: Result<Line<'_>, String>,
    args: &TailArgs,
    matcher: &mut Matcher<'_>,
) -> Option<TailLine> {
    let line = match line {
        Ok(line) => line,
        Err(error) => return Some(TailLine::Not(error)),
    };
    let Some(record) = Record::of(&line) else {
        return match args.filter.matches_unread(&line) {
            Some(false) => None,
            Some(true) if args.json => Some(TailLine::Bytes(line.bytes.to_vec())),
            _ => Some(TailLine::Not(format!(
                "record {} is of a kind that this version doesn't know",
                line.seq
            ))),
        };
    };
    if !matcher.matches(&record) {
        return None;
    }
    if args.json {
        return Some(TailLine::Bytes(line.bytes.to_vec()));
    }
    // People have no use for a checkpoint every few minutes.
    (record.event != Event::Checkpoint).then(|| TailLine::Record(Box::new(record)))
}

impl<W: Write> Screen<'_, W> {
    fn show(&mut self, shown: &TailLine) -> io::Result<()> {
        match shown {
            // Standard output has nothing but records, for the program that reads them.
            TailLine::Not(error) if self.is_json => {
                out::error_line(&format!("not shown: {}", visible(error)));
                self.has_left_out = true;
                Ok(())
            }
            shown => {
                self.has_shown |= !matches!(shown, TailLine::Not(_));
                show(self.out, shown)
            }
        }
    }
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
    let sni = record.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let host = record.target.host.as_deref().unwrap_or_default();
    let line = match sni.filter(|sni| !sni.eq_ignore_ascii_case(host)) {
        Some(sni) => format!("{} sni={}", line.trim_end(), visible(sni)),
        None => line,
    };
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
