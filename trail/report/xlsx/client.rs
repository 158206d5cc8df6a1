//! The sheet of a client: each day of the month, with its uploads or why there are none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::destination;
use super::sheet::Column::{Number, Text};
use super::sheet::{Cells, Sheet, SheetResult};
use crate::report::{Day, Report, Row};

pub(super) fn write(report: &Report, rows: &[Row], sheet: &mut Sheet<'_>) -> SheetResult {
    let client = rows.first().map_or("", |row| &row.client);
    sheet.upright();
    sheet.title(&format!("{client}, {} (UTC)", report.month))?;
    sheet.blank();
    sheet.heads(&[
        Text("Day"),
        Text("Destination"),
        Number("Uploads"),
        Number("Bytes up"),
        Number("Bytes down"),
        Text("Note"),
    ])?;
    let without: BTreeSet<Date> = rows
        .iter()
        .filter_map(|row| row.days_without_upload.as_ref())
        .flatten()
        .copied()
        .collect();
    let mut uploads: BTreeMap<Date, Vec<(&Row, &Day)>> = BTreeMap::new();
    for (row, day) in rows
        .iter()
        .flat_map(|row| row.days.iter().map(move |day| (row, day)))
    {
        uploads.entry(day.date).or_default().push((row, day));
    }
    let is_expected = rows.iter().any(|row| row.days_without_upload.is_some());
    for date in report.month.all_dates() {
        let empty =
            |note: &'static str| move |cells: &mut Cells<'_, '_>| write_empty(date, note, cells);
        match uploads.get(&date) {
            Some(days) => {
                for (row, day) in days {
                    sheet.row(|cells| write_day(row, day, cells))?;
                }
            }
            None if without.contains(&date) => sheet.marked_row(empty("no upload"))?,
            None if !is_expected => {}
            None if report.days_uncovered.contains(&date) => sheet.row(empty("no relay ran"))?,
            None => sheet.row(empty("not listed by a relay that ran"))?,
        }
    }
    sheet.end_table(true)
}

fn write_day(row: &Row, day: &Day, cells: &mut Cells<'_, '_>) -> SheetResult {
    cells.date(day.date)?;
    cells.text(destination(row))?;
    cells.count(day.uploads)?;
    cells.count(day.bytes_up)?;
    cells.count(day.bytes_down)?;
    cells.text(if day.uploads == 0 {
        "in a tunnel that is counted with a later day"
    } else {
        ""
    })
}

fn write_empty(date: Date, note: &str, cells: &mut Cells<'_, '_>) -> SheetResult {
    cells.date(date)?;
    cells.text("")?;
    cells.count(0)?;
    cells.count(0)?;
    cells.count(0)?;
    cells.text(note)
}
