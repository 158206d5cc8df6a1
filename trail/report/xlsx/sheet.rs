//! A sheet of the workbook, as people and printers want it.

use jiff::Timestamp;
use jiff::civil::Date;
use rust_xlsxwriter::utility::column_number_to_name;
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Worksheet, XlsxError};

use super::formats::{DATE, Formats, MARKED, TIME, lines_of, thousands};
use crate::harmless;

pub(super) type SheetResult = Result<(), XlsxError>;

/// A sheet that is written from the top down.
pub(super) struct Sheet<'a> {
    into: &'a mut Worksheet,
    next: u32,
    /// Where the table that is filtered, frozen and repeated has its heads.
    heads: Option<u32>,
    /// The widest content of each column, in characters.
    widths: Vec<usize>,
    /// Texts that are longer than this are wrapped.
    most: usize,
    /// The sum of each column of numbers.
    sums: Vec<Option<u64>>,
    formats: Formats,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Text(&'static str),
    /// Its head is flush right, as its numbers are.
    Number(&'static str),
}

/// A row that is written from the left.
pub(super) struct Cells<'s, 'a> {
    sheet: &'s mut Sheet<'a>,
    column: u16,
    is_marked: bool,
    /// How many lines its longest text takes.
    lines: usize,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(sheet: &'a mut Worksheet, month: &str) -> Self {
        // Paper is mostly A4. Excel's number for that is 9.
        sheet
            .set_landscape()
            .set_paper_size(9)
            .set_print_fit_to_pages(1, 0)
            .set_margins(0.4, 0.4, 0.6, 0.6, 0.3, 0.3)
            .set_footer(format!(
                "&Lcallhome-relay audit report, {month}&C&A&R&P / &N"
            ));
        Self {
            into: sheet,
            next: 0,
            heads: None,
            widths: Vec::new(),
            most: WIDE,
            sums: Vec::new(),
            formats: Formats::new(),
        }
    }

    pub(super) fn row(
        &mut self,
        write: impl FnOnce(&mut Cells<'_, 'a>) -> SheetResult,
    ) -> SheetResult {
        self.write_row(false, write)
    }

    /// Writes a row that a reader should see.
    pub(super) fn marked_row(
        &mut self,
        write: impl FnOnce(&mut Cells<'_, 'a>) -> SheetResult,
    ) -> SheetResult {
        self.write_row(true, write)
    }

    fn write_row(
        &mut self,
        is_marked: bool,
        write: impl FnOnce(&mut Cells<'_, 'a>) -> SheetResult,
    ) -> SheetResult {
        let mut cells = Cells {
            sheet: self,
            column: 0,
            is_marked,
            lines: 1,
        };
        write(&mut cells)?;
        let lines = cells.lines;
        self.end_row(lines)
    }

    /// Ends a row. `LibreOffice` doesn't make it higher for wrapped text by itself.
    fn end_row(&mut self, lines: usize) -> SheetResult {
        if lines > 1 {
            let lines = u32::try_from(lines).unwrap_or(u32::MAX);
            let height = f64::from(lines) * LINE;
            self.into.set_row_height(self.next, height.min(HIGHEST))?;
        }
        self.next += 1;
        Ok(())
    }

    /// Prints the sheet upright, because its table is higher than it is wide.
    pub(super) fn upright(&mut self) {
        self.into.set_portrait();
    }

    pub(super) fn blank(&mut self) {
        self.next += 1;
    }

    pub(super) fn title(&mut self, text: &str) -> SheetResult {
        let row = self.next;
        let format = &self.formats.title;
        self.into
            .write_string_with_format(row, 0, bounded(text), format)?;
        self.next += 1;
        Ok(())
    }

    /// Writes a line that is wider than its column.
    pub(super) fn line(&mut self, text: &str) -> SheetResult {
        self.into.write_string(self.next, 0, bounded(text))?;
        self.next += 1;
        Ok(())
    }

    /// Begins a table below other rows, which gets neither filter nor totals.
    pub(super) fn more_heads(&mut self, columns: &[Column]) -> SheetResult {
        let row = self.next;
        let mut lines = 1;
        for (column, kind) in (0..).zip(columns) {
            let (head, format) = match kind {
                Column::Text(head) => (head, &self.formats.head),
                Column::Number(head) => (head, &self.formats.number_head),
            };
            self.into
                .write_string_with_format(row, column, *head, format)?;
            // A head may take several lines, and leaves room for the button of the filter.
            let longest = head.split(' ').map(str::len).max().unwrap_or(0);
            lines = lines.max(lines_of(head, longest + 5));
            self.widen(column, longest + 3);
        }
        self.end_row(lines)
    }

    /// Begins the table of the sheet. Its heads stay in view, and on each page.
    pub(super) fn heads(&mut self, columns: &[Column]) -> SheetResult {
        self.heads = Some(self.next);
        self.sums = vec![None; columns.len()];
        self.into.set_freeze_panes(self.next + 1, 1)?;
        self.into.set_repeat_rows(self.next, self.next)?;
        self.more_heads(columns)
    }

    /// Ends the table of the sheet: the filter, and below it the totals of what the filter shows.
    pub(super) fn end_table(&mut self, with_totals: bool) -> SheetResult {
        let Some(heads) = self.heads else {
            return Ok(());
        };
        let last = self.next - 1;
        let columns = u16::try_from(self.sums.len()).unwrap_or(u16::MAX);
        self.into
            .autofilter(heads, 0, last, columns.saturating_sub(1))?;
        let sums = std::mem::take(&mut self.sums);
        if !with_totals || last == heads {
            return Ok(());
        }
        let format = &self.formats.total;
        let row = self.next;
        let label = &self.formats.total_label;
        self.into.write_string_with_format(row, 0, "Total", label)?;
        for (column, sum) in (1..).zip(&sums[1..]) {
            let Some(sum) = sum else {
                self.into.write_blank(row, column, format)?;
                continue;
            };
            let name = column_number_to_name(column);
            // 109 sums up what is shown.
            let sums_shown = format!("=SUBTOTAL(109,{name}{}:{name}{})", heads + 2, last + 1);
            let formula = Formula::new(sums_shown).set_result(sum.to_string());
            self.into
                .write_formula_with_format(row, column, formula, format)?;
        }
        for (column, sum) in (0..).zip(sums) {
            self.widen(column, sum.map_or(0, thousands));
        }
        self.next += 1;
        Ok(())
    }

    /// Sets what only the whole content tells.
    pub(super) fn finish(self) -> SheetResult {
        for (column, width) in (0..).zip(self.widths) {
            let width = u32::try_from(width.min(self.most)).unwrap_or(0);
            self.into.set_column_width(column, f64::from(width) + 1.5)?;
        }
        Ok(())
    }

    fn widen(&mut self, column: u16, width: usize) {
        let column = usize::from(column);
        if self.widths.len() <= column {
            self.widths.resize(column + 1, 0);
        }
        self.widths[column] = self.widths[column].max(width);
    }

    fn sum(&mut self, column: u16, number: u64) {
        if let Some(sum) = self.sums.get_mut(usize::from(column)) {
            *sum = Some(sum.unwrap_or(0).saturating_add(number));
        }
    }
}

impl Cells<'_, '_> {
    pub(super) fn text(&mut self, text: &str) -> SheetResult {
        let (row, column) = self.place();
        let text = bounded(text);
        // One more for the indent.
        self.sheet.widen(column, text.chars().count() + 1);
        self.lines = self.lines.max(lines_of(&text, self.sheet.most + 3));
        let format = self.format(|formats| &formats.text);
        self.sheet
            .into
            .write_string_with_format(row, column, text, &format)?;
        Ok(())
    }

    /// Writes a text that takes several lines of a wide column.
    pub(super) fn wide_text(&mut self, text: &str) -> SheetResult {
        self.sheet.most = WIDEST;
        self.text(text)
    }

    /// Writes a number that counts in the totals.
    pub(super) fn count(&mut self, number: impl Into<Option<u64>>) -> SheetResult {
        let number = number.into();
        self.sheet.sum(self.column, number.unwrap_or(0));
        self.number(number)
    }

    /// Writes a number of which there is no total.
    pub(super) fn number(&mut self, number: impl Into<Option<u64>>) -> SheetResult {
        let (row, column) = self.place();
        let format = self.format(|formats| &formats.number);
        let Some(number) = number.into() else {
            self.sheet.into.write_blank(row, column, &format)?;
            return Ok(());
        };
        self.sheet.widen(column, thousands(number));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a workbook has no other numbers"
        )]
        let number = number as f64;
        self.sheet
            .into
            .write_number_with_format(row, column, number, &format)?;
        Ok(())
    }

    pub(super) fn time(&mut self, time: Option<Timestamp>) -> SheetResult {
        let time = time.map(|time| ExcelDateTime::from_timestamp(time.as_second()));
        self.moment(time, TIME, |formats| &formats.time)
    }

    pub(super) fn date(&mut self, date: Date) -> SheetResult {
        let [year, month, day] = [date.year(), date.month().into(), date.day().into()];
        let parts = (u16::try_from(year), u8::try_from(month), u8::try_from(day));
        let date = match parts {
            (Ok(year), Ok(month), Ok(day)) => Some(ExcelDateTime::from_ymd(year, month, day)),
            _ => None,
        };
        self.moment(date, DATE, |formats| &formats.date)
    }

    fn moment(
        &mut self,
        time: Option<Result<ExcelDateTime, XlsxError>>,
        shown: &str,
        format: impl Fn(&Formats) -> &Format,
    ) -> SheetResult {
        let (row, column) = self.place();
        let format = self.format(format);
        // The times of a workbook begin in 1900 and end in 9999. Any other is left out.
        let Some(Ok(time)) = time else {
            self.sheet.into.write_blank(row, column, &format)?;
            return Ok(());
        };
        self.sheet.widen(column, shown.len() + 1);
        self.sheet
            .into
            .write_datetime_with_format(row, column, &time, &format)?;
        Ok(())
    }

    fn format(&self, of: impl Fn(&Formats) -> &Format) -> Format {
        let format = of(&self.sheet.formats).clone();
        if self.is_marked {
            format.set_background_color(MARKED)
        } else {
            format
        }
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

/// The height of a line, and the greatest that a row may have.
const LINE: f64 = 15.0;
const HIGHEST: f64 = 409.0;
/// A cell holds 32,767 UTF-16 units, and no name is near that.
const MAX_TEXT: usize = 16_000;
const WIDE: usize = 45;
const WIDEST: usize = 110;
