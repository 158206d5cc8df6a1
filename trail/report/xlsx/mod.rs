//! Writes the report as a workbook: a summary, what it rests on, and a sheet for each client.
//!
//! Each sheet has one table, so that it can be filtered and its heads stay in view. Numbers and
//! times have the types of a workbook. Every text is written as text, so that none becomes a
//! formula.

mod client;
mod formats;
mod legend;
mod names;
mod sheet;

use rust_xlsxwriter::{Workbook, XlsxError};

use super::csv::yes_or_no;
use super::{ChainVerdict, Report, Row, Trail};
use names::Names;
use sheet::Column::{self, Number, Text};
use sheet::{Cells, Sheet, SheetResult};

/// Makes the file of the workbook.
pub fn bytes(report: &Report) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let mut names = Names::default();
    let month = report.month.to_string();
    let mut add = |name: &str, write: &mut dyn FnMut(&mut Sheet<'_>) -> SheetResult| {
        let into = workbook.add_worksheet();
        into.set_name(names.take(name))?;
        let mut sheet = Sheet::new(into, &month);
        write(&mut sheet)?;
        sheet.finish()
    };
    add("Summary", &mut |sheet| write_summary(report, sheet))?;
    add("Trails", &mut |sheet| write_trails(report, sheet))?;
    add("Addresses", &mut |sheet| write_addresses(report, sheet))?;
    add("Unserved", &mut |sheet| write_not_served(report, sheet))?;
    add("Legend", &mut legend::write)?;
    for rows in report.rows.chunk_by(is_same_client) {
        // An address that is only ever refused gets no sheet, because a scan would make a thousand
        // of them.
        let Some(row) = rows.iter().find(|row| row.listed || row.tunnels > 0) else {
            continue;
        };
        add(&row.client, &mut |sheet| client::write(report, rows, sheet))?;
    }
    workbook.save_to_buffer()
}

fn is_same_client(a: &Row, b: &Row) -> bool {
    (a.listed, &a.client) == (b.listed, &b.client)
}

fn write_summary(report: &Report, sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title(&format!(
        "Uploads through the relay, {} (UTC)",
        report.month
    ))?;
    sheet.line(&format!(
        "A relay ran on {} of the month's {} days.",
        report.days_covered, report.days_in_month
    ))?;
    sheet.line(&proof(report))?;
    if report.unjudged() > 0 {
        sheet.line(&format!(
            "{} of the uploads are unjudged: see the legend.",
            report.unjudged()
        ))?;
    }
    sheet.blank();
    sheet.heads(SUMMARY)?;
    for row in &report.rows {
        let is_silent = row.days_without_upload.is_some() && row.uploads == 0;
        if is_silent {
            sheet.marked_row(|cells| write_row(row, cells))?;
        } else {
            sheet.row(|cells| write_row(row, cells))?;
        }
    }
    sheet.end_table(true)
}

/// Says how far the trails are proved.
fn proof(report: &Report) -> String {
    let broken = |trail: &&Trail| trail.verdict == ChainVerdict::Broken;
    let broken = report.trails.iter().filter(broken).count();
    if broken > 0 {
        return format!("{broken} trails are BROKEN: don't rely on these figures. See Trails.");
    }
    let seals = report.trails.iter().map(Trail::seals_in_words);
    let mut seals: Vec<_> = seals.collect();
    seals.dedup();
    let gaps: usize = report.trails.iter().map(|trail| trail.gaps.len()).sum();
    let chain = if gaps > 0 {
        format!("whole but for {gaps} declared gaps")
    } else {
        "whole".to_owned()
    };
    format!("The record is {chain}. Seals: {}.", seals.join("; "))
}

fn write_row(row: &Row, cells: &mut Cells<'_, '_>) -> SheetResult {
    cells.text(&row.client)?;
    cells.text(yes_or_no(row.listed))?;
    cells.text(row.role.as_deref().unwrap_or_default())?;
    cells.text(&addresses(row))?;
    cells.text(destination(row))?;
    cells.count(row.tunnels)?;
    cells.count(row.uploads)?;
    cells.count(row.bytes_up)?;
    cells.count(row.bytes_down)?;
    cells.time(row.first_upload)?;
    cells.time(row.last_upload)?;
    let without = row.days_without_upload.as_ref();
    cells.number(without.map(|days| days.len() as u64))?;
    cells.number(row.longest_without_upload.map(u64::from))?;
    cells.count(row.refused())?;
    cells.count(row.failed())?;
    cells.text(&row.notes().join("; "))
}

fn destination(row: &Row) -> &str {
    row.destination.as_deref().unwrap_or("(none)")
}

/// The addresses of a row, or how many there are. The sheet of addresses has all.
fn addresses(row: &Row) -> String {
    if row.addresses.len() > 2 {
        return format!("{} addresses", row.addresses.len());
    }
    let addresses: Vec<_> = row.addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

fn write_trails(report: &Report, sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title("The trails that the figures are made from")?;
    sheet.blank();
    sheet.heads(TRAILS)?;
    for trail in &report.trails {
        let is_broken = trail.verdict == ChainVerdict::Broken;
        if is_broken {
            sheet.marked_row(|cells| write_trail(trail, cells))?;
        } else {
            sheet.row(|cells| write_trail(trail, cells))?;
        }
    }
    sheet.end_table(false)?;
    sheet.blank();
    let flags: Vec<_> = report.trails.iter().flat_map(flags).collect();
    if flags.is_empty() {
        return Ok(());
    }
    sheet.more_heads(&[Text("Path"), Text("Finding"), Text("What")])?;
    for (path, kind, what) in flags {
        sheet.row(|cells| {
            cells.text(path)?;
            cells.text(kind)?;
            cells.text(&what)
        })?;
    }
    Ok(())
}

fn write_trail(trail: &Trail, cells: &mut Cells<'_, '_>) -> SheetResult {
    let relays: Vec<_> = trail.relays.iter().map(String::as_str).collect();
    let span = &trail.in_month;
    cells.text(&trail.path)?;
    cells.text(&relays.join(" "))?;
    cells.text(&trail.trail)?;
    cells.text(trail.verdict.as_str())?;
    cells.text(&trail.seals_in_words())?;
    cells.number(u64::from(trail.days_run))?;
    cells.number(trail.seconds_run / 3600)?;
    cells.number(span.records)?;
    cells.number(span.from)?;
    cells.number(span.to)?;
    cells.time(span.first_time)?;
    cells.time(span.last_time)?;
    cells.number(trail.unread)
}

/// The findings about a trail that an auditor must know before trusting its figures.
fn flags(trail: &Trail) -> Vec<(&str, &'static str, String)> {
    let flag = |kind, what| (trail.path.as_str(), kind, what);
    let broken = trail
        .broken
        .iter()
        .map(|broken| flag("broken", broken.clone()));
    let gaps = trail.gaps.iter().map(|gap| flag("gap", gap.to_string()));
    let steps = trail
        .clock_steps
        .iter()
        .map(|step| flag("clock", step.to_string()));
    broken.chain(gaps).chain(steps).collect()
}

fn write_addresses(report: &Report, sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title("The addresses of the listed clients")?;
    sheet.blank();
    sheet.heads(ADDRESSES)?;
    for row in &report.addresses {
        sheet.row(|cells| {
            cells.text(&row.client)?;
            cells.text(&row.address.to_string())?;
            cells.count(row.tunnels)?;
            cells.count(row.uploads)?;
            cells.count(row.bytes_up)?;
            cells.count(row.bytes_down)?;
            cells.time(row.first_upload)?;
            cells.time(row.last_upload)?;
            cells.count(row.refused)?;
            cells.count(row.failed)
        })?;
    }
    sheet.end_table(true)
}

fn write_not_served(report: &Report, sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title("Requests that got no tunnel")?;
    sheet.blank();
    sheet.heads(&[
        Text("Client"),
        Text("Destination"),
        Text("Not served"),
        Text("Reason"),
        Number("Requests"),
    ])?;
    for row in &report.rows {
        let refusals = row.refusals.iter().map(|count| ("denied", count));
        let failures = row.failures.iter().map(|count| ("failed", count));
        for (kind, (reason, count)) in refusals.chain(failures) {
            sheet.row(|cells| {
                cells.text(&row.client)?;
                cells.text(destination(row))?;
                cells.text(kind)?;
                cells.text(reason)?;
                cells.count(*count)
            })?;
        }
    }
    sheet.end_table(true)
}

const SUMMARY: &[Column] = &[
    Text("Client"),
    Text("Listed"),
    Text("Role"),
    Text("Addresses"),
    Text("Destination"),
    Number("Tunnels"),
    Number("Uploads"),
    Number("Bytes up"),
    Number("Bytes down"),
    Text("First upload"),
    Text("Last upload"),
    Number("Days without upload"),
    Number("Most in a row"),
    Number("Denied"),
    Number("Failed"),
    Text("Notes"),
];
const TRAILS: &[Column] = &[
    Text("Path"),
    Text("Relays"),
    Text("Trail"),
    Text("Chain"),
    Text("Seals"),
    Number("Days run"),
    Number("Hours run"),
    Number("Records"),
    Number("From"),
    Number("To"),
    Text("First"),
    Text("Last"),
    Number("Unread"),
];
const ADDRESSES: &[Column] = &[
    Text("Client"),
    Text("Address"),
    Number("Tunnels"),
    Number("Uploads"),
    Number("Bytes up"),
    Number("Bytes down"),
    Text("First upload"),
    Text("Last upload"),
    Number("Denied"),
    Number("Failed"),
];
