//! Writes the report as comma-separated values, with a row for each client and destination.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use jiff::Timestamp;

use super::{Report, Row};
use crate::harmless::cell;

/// Writes a header, then a row for each client and destination.
pub fn write(report: &Report, out: impl io::Write) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS)?;
    // Each row has the verdicts of all trails, because it may come from any of them.
    let verdicts = words(report.trails.iter().map(|trail| trail.verdict.as_str()));
    let seals = words(report.trails.iter().map(|trail| trail.seals.as_str()));
    for row in &report.rows {
        let addresses: Vec<_> = row.addresses.iter().map(ToString::to_string).collect();
        let without = row.days_without_upload.as_ref().map(Vec::len);
        writer.write_record([
            report.month.to_string(),
            cell(&row.client),
            yes_or_no(row.listed).to_owned(),
            cell(row.role.as_deref().unwrap_or_default()),
            addresses.join(" "),
            cell(row.destination.as_deref().unwrap_or_default()),
            row.tunnels.to_string(),
            row.lost.to_string(),
            row.not_enforced.to_string(),
            row.bytes_up.to_string(),
            row.bytes_down.to_string(),
            row.uploads.to_string(),
            time(row.first_upload),
            time(row.last_upload),
            number(without),
            number(row.longest_without_upload),
            row.refused().to_string(),
            reasons(&row.refusals),
            row.failed().to_string(),
            reasons(&row.failures),
            verdicts.clone(),
            seals.clone(),
            row.calls_home.map(yes_or_no).unwrap_or_default().to_owned(),
            row.open.to_string(),
            reasons(&row.not_uploads),
            row.unjudged.to_string(),
            by_address(report, row),
        ])?;
    }
    writer.flush()?;
    Ok(())
}

/// Writes the last upload of each address of a client, like `10.0.0.1=2026-11-03T09:30:15Z
/// 10.0.0.2=-`.
fn by_address(report: &Report, row: &Row) -> String {
    if !row.listed {
        return String::new();
    }
    let all = &report.addresses;
    let from = all.partition_point(|it| it.client < row.client);
    let of_row = all[from..]
        .iter()
        .take_while(|it| it.client == row.client)
        .filter(|it| row.addresses.contains(&it.address));
    let last: Vec<_> = of_row
        .map(|it| match it.last_upload {
            Some(last) => format!("{}={last}", it.address),
            None => format!("{}=-", it.address),
        })
        .collect();
    last.join(" ")
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: BTreeSet<_> = words.collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
}

/// Writes a flag for people.
pub fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

/// Writes counts into one cell, like `rate_limited=3 port_not_allowed=1`.
pub fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|(reason, count)| format!("{reason}={count}"))
        .collect();
    cell(&counts.join(" "))
}

fn time(time: Option<Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn number(number: Option<impl ToString>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Columns may be added at the end. None is removed or moved, because scripts count them.
const COLUMNS: &[&str] = &[
    "month",
    "client",
    "listed",
    "role",
    "addresses",
    "destination",
    "tunnels",
    "lost",
    "not_enforced",
    "bytes_up",
    "bytes_down",
    "uploads",
    "first_upload",
    "last_upload",
    "days_without_upload",
    "longest_without_upload",
    "refusals",
    "refusals_by_reason",
    "failures",
    "failures_by_reason",
    "trails",
    "seals",
    "calls_home",
    "open",
    "not_uploads_by_kind",
    "unjudged",
    "last_upload_by_address",
];
