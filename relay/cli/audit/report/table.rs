//! Writes the report as a table for people.

use std::io::{self, Write};
use std::iter;
use std::ops::Range;

use callhome_trail::harmless::visible;
use callhome_trail::human;
use callhome_trail::report::csv::reasons;
use callhome_trail::report::{AddressRow, ChainVerdict, Report, Row, SealVerdict, Span, Trail};
use jiff::Timestamp;

use crate::cli::out;

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{}, UTC: a relay ran on {} of its {} days",
        report.month, report.days_covered, report.days_in_month
    )?;
    for trail in &report.trails {
        write_trail(trail, out)?;
    }
    writeln!(out)?;
    if report.rows.is_empty() {
        return writeln!(
            out,
            "no client is listed, and none sent a request in the month"
        );
    }
    let rows: Vec<_> = report.rows.iter().map(cells).collect();
    write_columns(&HEADS, NUMBERS, &rows, out)?;
    let unjudged = report.unjudged();
    if unjudged > 0 {
        let warn = out::WARN;
        writeln!(out)?;
        writeln!(
            out,
            "{warn}unjudged{warn:#}  {unjudged} of the uploads: an older relay recorded them, and any byte to a destination counts"
        )?;
    }
    write_addresses(report, out)
}

/// Writes the addresses of each client that came from several.
fn write_addresses(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let of_several = report
        .addresses
        .chunk_by(|a, b| a.client == b.client)
        .filter(|addresses| addresses.len() > 1);
    let lines: Vec<_> = of_several.flatten().map(address_cells).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "clients that came from several addresses:")?;
    write_columns(&ADDRESS_HEADS, NUMBERS, &lines, out)
}

fn address_cells(row: &AddressRow) -> Vec<String> {
    vec![
        visible(&row.client).into_owned(),
        row.address.to_string(),
        row.tunnels.to_string(),
        row.uploads.to_string(),
        human::bytes(row.bytes_up),
        human::bytes(row.bytes_down),
        time(row.first_upload),
        time(row.last_upload),
    ]
}

fn write_trail(trail: &Trail, out: &mut impl Write) -> io::Result<()> {
    let style = match trail.verdict {
        ChainVerdict::Whole => out::GOOD,
        ChainVerdict::Gaps | ChainVerdict::NotChecked => out::WARN,
        ChainVerdict::Broken => out::BAD,
    };
    let relays: Vec<_> = trail.relays.iter().map(String::as_str).collect();
    writeln!(out)?;
    writeln!(
        out,
        "trail     {}  {style}{}{style:#}",
        visible(&trail.path),
        trail.verdict.as_str()
    )?;
    writeln!(
        out,
        "          {}  of {}",
        visible(&trail.trail),
        visible(&relays.join(", "))
    )?;
    writeln!(out, "records   {} in the month", span(&trail.in_month))?;
    writeln!(out, "          {} in all", span(&trail.all))?;
    writeln!(
        out,
        "ran       on {} days of the month, {} hours",
        trail.days_run,
        trail.seconds_run / 3600
    )?;
    writeln!(out, "seals     {}", seals(trail))?;
    let bad = out::BAD;
    if let Some(broken) = &trail.broken {
        writeln!(out, "{bad}broken{bad:#}    {}", visible(broken))?;
    }
    if trail.unread > 0 {
        writeln!(
            out,
            "{bad}unread{bad:#}    {} lines are not in the figures: they are no records, or of a kind that this version doesn't know",
            trail.unread
        )?;
    }
    let warn = out::WARN;
    for gap in &trail.gaps {
        writeln!(out, "{warn}gap{warn:#}       {}", visible(&gap.to_string()))?;
    }
    for step in &trail.clock_steps {
        writeln!(out, "{warn}clock{warn:#}     {step}")?;
    }
    Ok(())
}

fn seals(trail: &Trail) -> String {
    let words = trail.seals_in_words();
    match trail.seals {
        SealVerdict::NotChecked => format!("{words}: --key takes the first public key"),
        SealVerdict::Valid | SealVerdict::Broken => words,
    }
}

fn span(span: &Span) -> String {
    let (Some(from), Some(to), Some(first), Some(last)) =
        (span.from, span.to, span.first_time, span.last_time)
    else {
        return "none".to_owned();
    };
    format!(
        "{} ({from} to {to}, {} to {})",
        span.records,
        human::time(first),
        human::time(last)
    )
}

/// Writes lines in columns, each as wide as its widest cell.
fn write_columns(
    heads: &[&str],
    numbers: Range<usize>,
    lines: &[Vec<String>],
    out: &mut impl Write,
) -> io::Result<()> {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<&Vec<String>> = iter::once(&heads).chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..heads.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for line in &lines {
        let mut text = String::new();
        for ((cell, width), column) in line.iter().zip(&widths).zip(0..) {
            let padded = if numbers.contains(&column) {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
            text.push_str(&padded);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), human::time)
}

fn cells(row: &Row) -> Vec<String> {
    let without = match (&row.days_without_upload, row.longest_without_upload) {
        (Some(days), Some(longest)) if !days.is_empty() => {
            format!("{} ({longest} in a row)", days.len())
        }
        (Some(_), _) => "0".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let mut notes = row.notes();
    if row.refused() > 0 {
        notes.push(format!("denied: {}", reasons(&row.refusals)));
    }
    if row.failed() > 0 {
        notes.push(format!("failed: {}", reasons(&row.failures)));
    }
    vec![
        visible(&row.client).into_owned(),
        visible(row.destination.as_deref().unwrap_or("-")).into_owned(),
        row.tunnels.to_string(),
        row.uploads.to_string(),
        human::bytes(row.bytes_up),
        human::bytes(row.bytes_down),
        time(row.first_upload),
        time(row.last_upload),
        without,
        notes.join("; "),
    ]
}

const HEADS: [&str; 10] = [
    "CLIENT",
    "DESTINATION",
    "TUNNELS",
    "UPLOADS",
    "UP",
    "DOWN",
    "FIRST UPLOAD",
    "LAST UPLOAD",
    "DAYS WITHOUT",
    "NOTES",
];
const ADDRESS_HEADS: [&str; 8] = [
    "CLIENT",
    "ADDRESS",
    "TUNNELS",
    "UPLOADS",
    "UP",
    "DOWN",
    "FIRST UPLOAD",
    "LAST UPLOAD",
];
/// The columns of both tables that are flush right.
const NUMBERS: Range<usize> = 2..6;
