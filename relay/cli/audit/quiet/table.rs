//! Writes what `audit quiet` found for people: the worst first, each with its cause and the next
//! step.

use std::io::{self, Write};

use anstyle::Style;
use callhome_trail::fleet::{PeriodSource, ReadTrail, Ready, State};
use callhome_trail::harmless::visible;
use callhome_trail::human;
use jiff::Timestamp;

use super::row::{AddressRow, ClientRow, Quiet};
use crate::cli::out;

pub(super) fn write(quiet: &Quiet, out: &mut impl Write) -> io::Result<()> {
    let judged = |row: &&ClientRow| row.state != State::Exempt;
    let rows: Vec<_> = quiet.clients.iter().filter(judged).collect();
    write_summary(quiet, rows.len(), out)?;
    for trail in &quiet.trails {
        write_trail(trail, quiet.at, out)?;
    }
    if !rows.is_empty() {
        writeln!(out)?;
        write_rows(&rows, quiet.at, out)?;
    }
    let exempt = quiet.clients.len() - rows.len();
    if exempt > 0 {
        writeln!(out, "\nnot expected to call home: {exempt}")?;
    }
    if !quiet.found.is_empty() {
        writeln!(out, "\nfound, and in no inventory:\n")?;
        let found: Vec<_> = quiet.found.iter().collect();
        write_rows(&found, quiet.at, out)?;
    }
    let guessed = |row: &&ClientRow| row.days_left.is_some() && !row.days_left_known;
    if rows.iter().any(guessed) {
        writeln!(
            out,
            "\n?  no upload is known: counted from the entry into the inventory. The machine's own alert may have begun before"
        )?;
    }
    Ok(())
}

fn write_summary(quiet: &Quiet, clients: usize, out: &mut impl Write) -> io::Result<()> {
    if quiet.clients.is_empty() {
        let warn = out::WARN;
        let at = human::time(quiet.at);
        return writeln!(
            out,
            "{warn}no client is listed{warn:#} at {at}: a [[client]] is needed for each machine that must call home"
        );
    }
    let count = quiet.quiet();
    let style = if count == 0 { out::GOOD } else { out::BAD };
    writeln!(
        out,
        "{style}{count} of {clients} clients{style:#} quiet or worse at {}",
        human::time(quiet.at)
    )
}

/// Writes a line for each trail, because an answer is worth no more than what it was read from.
fn write_trail(trail: &ReadTrail, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let (warn, bad) = (out::WARN, out::BAD);
    let path = trail.path.display().to_string();
    let last = trail
        .last_time
        .map_or_else(|| "nothing".to_owned(), human::time);
    writeln!(
        out,
        "read {} of {}: {} records, the last at {last}",
        visible(&path),
        visible(&trail.relay),
        trail.records
    )?;
    if let Some(ahead) = trail.ahead(now) {
        let ahead = duration(ahead.as_secs());
        writeln!(
            out,
            "  {bad}clock{bad:#}: {ahead} ahead of this machine's; times since it was set are corrected by that"
        )?;
    }
    if let Some(broken) = &trail.broken {
        writeln!(out, "  {bad}broken{bad:#}: {}", visible(broken))?;
    }
    if trail.unread > 0 {
        writeln!(
            out,
            "  {bad}unread{bad:#}: {} lines are no records, or of a kind that this version doesn't know",
            trail.unread
        )?;
    }
    if trail.gaps > 0 {
        writeln!(
            out,
            "  {warn}gaps{warn:#}: {}, as the trail declares; `audit verify` lists them",
            trail.gaps
        )?;
    }
    if !trail.has_inventory {
        writeln!(
            out,
            "  {warn}no inventory{warn:#}: it doesn't say who is expected, nor what an upload is. A relay of before wrote it: upgrade that. What was found is below"
        )?;
    }
    Ok(())
}

/// Writes rows in columns, each as wide as its widest cell, and below a row what there is to say of
/// it.
fn write_rows(rows: &[&ClientRow], now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| cells(row, now)));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..HEADS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut lines = lines.iter();
    if let Some(heads) = lines.next() {
        writeln!(out, "{}", padded(heads, &widths, Style::new()))?;
    }
    for (line, row) in lines.zip(rows) {
        writeln!(out, "{}", padded(line, &widths, style(row.state)))?;
        write_details(row, now, out)?;
    }
    Ok(())
}

fn padded(cells: &[String], widths: &[usize], style: Style) -> String {
    let mut text = String::new();
    for ((cell, width), column) in cells.iter().zip(widths).zip(0..) {
        let cell = format!("{cell:<width$}  ");
        let cell = if column == 0 {
            format!("{style}{cell}{style:#}")
        } else {
            cell
        };
        text.push_str(&cell);
    }
    text.trim_end().to_owned()
}

fn cells(row: &ClientRow, now: Timestamp) -> [String; 6] {
    let upload = row.upload.as_ref();
    let by = upload.map(|upload| match &upload.destination {
        Some(destination) => format!("{}, {destination}", upload.relay),
        None => upload.relay.clone(),
    });
    let none = || "-".to_owned();
    [
        row.state.as_str().to_owned(),
        visible(&row.name).into_owned(),
        upload.map_or_else(none, |it| {
            format!("{} ({} ago)", human::time(it.at), ago(it.at, now))
        }),
        by.map_or_else(none, |by| visible(&by).into_owned()),
        match row.days_left {
            Some(days) if row.days_left_known => days.to_string(),
            Some(days) => format!("{days}?"),
            None => none(),
        },
        row.ready.map_or("-", Ready::as_str).to_owned(),
    ]
}

fn write_details(row: &ClientRow, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let mut detail = |name: &str, text: &str| {
        if text.is_empty() {
            return Ok(());
        }
        writeln!(out, "    {name:<5} {}", visible(text))
    };
    detail("why", &row.why)?;
    detail("next", &row.next)?;
    if row.is_quiet()
        && row.every_source == PeriodSource::Assumed
        && let Some(usual) = row.usual_seconds
    {
        let usual = duration(usual);
        detail(
            "note",
            &format!("it has no `expect_every`, and usually calls home within {usual}"),
        )?;
    }
    for contradiction in &row.contradictions {
        detail(
            "note",
            &format!("the relays say different things: {contradiction}"),
        )?;
    }
    if !row.same_machine.is_empty() {
        let same = row.same_machine.join(", ");
        detail(
            "same?",
            &format!("maybe {same}: one came about when the other was last seen"),
        )?;
    }
    if row.is_quiet() || row.addresses.iter().any(|it| it.state.is_some()) {
        for address in row.addresses.iter().take(MOST_ADDRESSES) {
            detail("from", &address_in_words(address, now))?;
        }
        let more = row.addresses.len().saturating_sub(MOST_ADDRESSES) as u64;
        let more = more.saturating_add(row.addresses_left_out);
        if more > 0 {
            detail(
                "from",
                &format!("{more} more; `--json` has those that are kept"),
            )?;
        }
    }
    for line in row.block.iter().flat_map(|block| block.lines()) {
        writeln!(out, "          {}", visible(line))?;
    }
    Ok(())
}

fn address_in_words(row: &AddressRow, now: Timestamp) -> String {
    let state = row
        .state
        .map_or(String::new(), |state| format!(" {}:", state.as_str()));
    let upload = match row.upload {
        Some(at) => format!("last upload {} ({} ago)", human::time(at), ago(at, now)),
        None => format!("no upload, seen since {}", human::time(row.first)),
    };
    let why = if row.why.is_empty() {
        String::new()
    } else {
        format!("; {}", row.why)
    };
    format!("{}{state} {upload}{why}", row.address)
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(at).as_secs())
}

fn duration(seconds: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is shown in minutes at best")]
    let milliseconds = seconds as f64 * 1000.0;
    human::duration(milliseconds)
}

fn style(state: State) -> Style {
    match state {
        State::Overdue | State::AtRisk => out::BAD,
        state if state.is_quiet_or_worse() => out::WARN,
        State::Ok => out::GOOD,
        _ => Style::new(),
    }
}

const HEADS: [&str; 6] = [
    "STATE",
    "CLIENT",
    "LAST PROBABLE UPLOAD",
    "BY",
    "DAYS LEFT OF 15, AT LEAST",
    "READY FOR THE 3RD",
];
/// So many addresses of a client are listed, the worst first.
const MOST_ADDRESSES: usize = 10;
