//! Writes the report as a workbook, with a summary and a sheet for each client.
//!
//! Numbers and times have the types of a workbook. Every text is written as text, so that none
//! becomes a formula.

mod names;

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::{Report, Row, Trail};
use crate::harmless;
use names::Names;

type SheetResult = Result<(), XlsxError>;

/// Makes the file of the workbook.
pub fn bytes(report: &Report) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    write(report, &mut workbook)?;
    workbook.save_to_buffer()
}

fn write(report: &Report, workbook: &mut Workbook) -> SheetResult {
    let mut names = Names::default();
    let sheet = workbook.add_worksheet();
    sheet.set_name(names.take(SUMMARY))?;
    write_summary(report, &mut Sheet::new(sheet))?;
    for rows in report.rows.chunk_by(is_same_client) {
        // An address that is only ever refused gets no sheet, because a scan would make a thousand
        // of them.
        let Some(row) = rows.iter().find(|row| row.listed || row.tunnels > 0) else {
            continue;
        };
        let sheet = workbook.add_worksheet();
        sheet.set_name(names.take(&row.client))?;
        write_client(report, rows, &mut Sheet::new(sheet))?;
    }
    Ok(())
}

fn is_same_client(a: &Row, b: &Row) -> bool {
    (a.listed, &a.client) == (b.listed, &b.client)
}

fn write_summary(report: &Report, sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title(&format!(
        "Uploads through the relay, {} (UTC)",
        report.month
    ))?;
    sheet.row(|row| {
        row.text("Days covered")?;
        row.number(u64::from(report.days_covered))?;
        row.text("of")?;
        row.number(u64::from(report.days_in_month))
    })?;
    sheet.blank();
    sheet.heads(&[
        "Trail", "Path", "Relays", "Chain", "Records", "From", "To", "First", "Last", "Unread",
    ])?;
    for trail in &report.trails {
        write_trail(trail, sheet)?;
    }
    sheet.blank();
    let flags = report.trails.iter().flat_map(flags);
    for (trail, kind, what) in flags {
        sheet.row(|row| {
            row.text(trail)?;
            row.text(kind)?;
            row.text(&what)
        })?;
    }
    sheet.blank();
    let heads = ["Client", "Listed", "Role", "Addresses"];
    sheet.heads(&[&heads[..], ROW_HEADS].concat())?;
    for row in &report.rows {
        let addresses: Vec<_> = row.addresses.iter().map(ToString::to_string).collect();
        sheet.row(|cells| {
            cells.text(&row.client)?;
            cells.text(if row.listed { "yes" } else { "no" })?;
            cells.text(row.role.as_deref().unwrap_or_default())?;
            cells.text(&addresses.join(" "))?;
            write_row(row, cells)
        })?;
    }
    sheet.finish();
    Ok(())
}

fn write_trail(trail: &Trail, sheet: &mut Sheet<'_>) -> SheetResult {
    let relays: Vec<_> = trail.relays.iter().map(String::as_str).collect();
    let span = &trail.in_month;
    sheet.row(|row| {
        row.text(&trail.trail)?;
        row.text(&trail.path)?;
        row.text(&relays.join(" "))?;
        row.text(trail.verdict.as_str())?;
        row.number(span.records)?;
        row.number(span.from)?;
        row.number(span.to)?;
        row.time(span.first_time)?;
        row.time(span.last_time)?;
        row.number(trail.unread)
    })
}

/// The findings about a trail that an auditor must know before trusting its figures.
fn flags(trail: &Trail) -> Vec<(&str, &'static str, String)> {
    let flag = |kind, what| (trail.trail.as_str(), kind, what);
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

fn write_row(row: &Row, cells: &mut Cells<'_, '_>) -> SheetResult {
    cells.text(row.destination.as_deref().unwrap_or_default())?;
    cells.number(row.tunnels)?;
    cells.number(row.uploads)?;
    cells.number(row.bytes_up)?;
    cells.number(row.bytes_down)?;
    cells.time(row.first_upload)?;
    cells.time(row.last_upload)?;
    cells.number(
        row.days_without_upload
            .as_ref()
            .map(|days| days.len() as u64),
    )?;
    cells.number(row.longest_without_upload.map(u64::from))?;
    cells.number(row.refused())?;
    cells.number(row.failed())?;
    cells.number(row.lost)?;
    cells.number(row.not_enforced)
}

fn write_client(report: &Report, rows: &[Row], sheet: &mut Sheet<'_>) -> SheetResult {
    let client = rows.first().map(|row| row.client.as_str());
    sheet.title(&format!(
        "{}, {} (UTC)",
        client.unwrap_or_default(),
        report.month
    ))?;
    sheet.blank();
    sheet.heads(ROW_HEADS)?;
    for row in rows {
        sheet.row(|cells| write_row(row, cells))?;
    }
    sheet.blank();
    sheet.heads(&["Destination", "Not served", "Reason", "Requests"])?;
    for row in rows {
        let refusals = row.refusals.iter().map(|count| ("denied", count));
        let failures = row.failures.iter().map(|count| ("failed", count));
        for (kind, (reason, count)) in refusals.chain(failures) {
            sheet.row(|cells| {
                cells.text(row.destination.as_deref().unwrap_or_default())?;
                cells.text(kind)?;
                cells.text(reason)?;
                cells.number(*count)
            })?;
        }
    }
    sheet.blank();
    sheet.heads(&["Destination", "Day", "Uploads", "Bytes up", "Bytes down"])?;
    for row in rows {
        write_days(row, sheet)?;
    }
    sheet.finish();
    Ok(())
}

/// Writes every covered day in order. Days without an upload have zeros.
fn write_days(row: &Row, sheet: &mut Sheet<'_>) -> SheetResult {
    let without = row.days_without_upload.iter().flatten();
    let days: BTreeSet<(Date, u64, u64, u64)> = row
        .days
        .iter()
        .map(|day| (day.date, day.uploads, day.bytes_up, day.bytes_down))
        .chain(without.map(|date| (*date, 0, 0, 0)))
        .collect();
    for (date, uploads, up, down) in days {
        sheet.row(|cells| {
            cells.text(row.destination.as_deref().unwrap_or_default())?;
            cells.date(date)?;
            cells.number(uploads)?;
            cells.number(up)?;
            cells.number(down)
        })?;
    }
    Ok(())
}

/// A sheet that is written from the top down.
struct Sheet<'a> {
    into: &'a mut Worksheet,
    next: u32,
    time: Format,
    date: Format,
    bold: Format,
}

/// A row that is written from the left.
struct Cells<'s, 'a> {
    sheet: &'s mut Sheet<'a>,
    column: u16,
}

impl<'a> Sheet<'a> {
    fn new(sheet: &'a mut Worksheet) -> Self {
        Self {
            into: sheet,
            next: 0,
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            date: Format::new().set_num_format("yyyy-mm-dd"),
            bold: Format::new().set_bold(),
        }
    }

    fn row(&mut self, write: impl FnOnce(&mut Cells<'_, 'a>) -> SheetResult) -> SheetResult {
        write(&mut Cells {
            sheet: self,
            column: 0,
        })?;
        self.next += 1;
        Ok(())
    }

    fn blank(&mut self) {
        self.next += 1;
    }

    fn title(&mut self, text: &str) -> SheetResult {
        self.heads(&[text])
    }

    fn heads(&mut self, heads: &[&str]) -> SheetResult {
        let row = self.next;
        for (column, head) in (0..).zip(heads) {
            let head = bounded(head);
            self.into
                .write_string_with_format(row, column, head, &self.bold)?;
        }
        self.next += 1;
        Ok(())
    }

    fn finish(&mut self) {
        self.into.set_autofit_max_width(MAX_PIXELS).autofit();
    }
}

impl Cells<'_, '_> {
    fn text(&mut self, text: &str) -> SheetResult {
        let (row, column) = self.place();
        self.sheet.into.write_string(row, column, bounded(text))?;
        Ok(())
    }

    fn number(&mut self, number: impl Into<Option<u64>>) -> SheetResult {
        let (row, column) = self.place();
        if let Some(number) = number.into() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a workbook has no other numbers"
            )]
            self.sheet.into.write_number(row, column, number as f64)?;
        }
        Ok(())
    }

    fn time(&mut self, time: Option<Timestamp>) -> SheetResult {
        let (row, column) = self.place();
        // The times of a workbook begin in 1900 and end in 9999. Any other is left out.
        if let Some(Ok(time)) = time.map(|time| ExcelDateTime::from_timestamp(time.as_second())) {
            let format = &self.sheet.time;
            self.sheet
                .into
                .write_datetime_with_format(row, column, &time, format)?;
        }
        Ok(())
    }

    fn date(&mut self, date: Date) -> SheetResult {
        let (row, column) = self.place();
        let [year, month, day] = [date.year(), date.month().into(), date.day().into()];
        let parts = (u16::try_from(year), u8::try_from(month), u8::try_from(day));
        if let (Ok(year), Ok(month), Ok(day)) = parts
            && let Ok(date) = ExcelDateTime::from_ymd(year, month, day)
        {
            let format = &self.sheet.date;
            self.sheet
                .into
                .write_datetime_with_format(row, column, &date, format)?;
        }
        Ok(())
    }

    fn place(&mut self) -> (u32, u16) {
        let column = self.column;
        self.column += 1;
        (self.sheet.next, column)
    }
}

/// Makes text harmless, and cuts it to what a cell holds.
fn bounded(text: &str) -> String {
    harmless::cell(text).chars().take(MAX_TEXT).collect()
}

const SUMMARY: &str = "Summary";
const ROW_HEADS: &[&str] = &[
    "Destination",
    "Tunnels",
    "Uploads",
    "Bytes up",
    "Bytes down",
    "First upload",
    "Last upload",
    "Days without upload",
    "Most in a row",
    "Denied",
    "Failed",
    "Lost",
    "By report-only",
];
/// A cell holds 32,767 UTF-16 units, and no name is near that.
const MAX_TEXT: usize = 16_000;
const MAX_PIXELS: u32 = 400;
