//! Writes the report as a table for people.

use std::io::{self, Write};

use callhome_trail::harmless::visible;
use callhome_trail::human;
use callhome_trail::report::csv::reasons;
use callhome_trail::report::{ChainVerdict, Report, Row, Span, Trail};
use jiff::Timestamp;

use crate::cli::out;

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{}, UTC: the trails cover {} of its {} days",
        report.month, report.days_covered, report.days_in_month
    )?;
    for trail in &report.trails {
        write_trail(trail, out)?;
    }
    writeln!(out)?;
    if report.rows.is_empty() {
        return writeln!(out, "no client sent a request that ended in the month");
    }
    write_rows(&report.rows, out)
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

/// Writes rows in columns, each as wide as its widest cell.
fn write_rows(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..HEADS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for line in &lines {
        let mut text = String::new();
        for ((cell, width), column) in line.iter().zip(&widths).zip(0..) {
            let padded = if NUMBERS.contains(&column) {
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

fn cells(row: &Row) -> Vec<String> {
    let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), human::time);
    let without = match (&row.days_without_upload, row.longest_without_upload) {
        (Some(days), Some(longest)) if !days.is_empty() => {
            format!("{} ({longest} in a row)", days.len())
        }
        (Some(_), _) => "0".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let mut notes = Vec::new();
    if row.refused() > 0 {
        notes.push(format!("denied: {}", reasons(&row.refusals)));
    }
    if row.failed() > 0 {
        notes.push(format!("failed: {}", reasons(&row.failures)));
    }
    if row.lost > 0 {
        notes.push(format!("{} lost", row.lost));
    }
    if row.not_enforced > 0 {
        notes.push(format!("{} let through by report-only", row.not_enforced));
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
/// The columns that are flush right.
const NUMBERS: std::ops::Range<usize> = 2..6;
