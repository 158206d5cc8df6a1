//! How the cells of the workbook look, and how much room they take.

use rust_xlsxwriter::{Color, Format, FormatAlign, FormatBorder};

#[derive(Debug)]
pub(super) struct Formats {
    pub(super) title: Format,
    pub(super) head: Format,
    pub(super) number_head: Format,
    pub(super) text: Format,
    pub(super) number: Format,
    pub(super) time: Format,
    pub(super) date: Format,
    pub(super) total: Format,
    pub(super) total_label: Format,
}

impl Formats {
    pub(super) fn new() -> Self {
        let cell = || Format::new().set_align(FormatAlign::Top);
        // The indent keeps a text off the number on its left.
        let text = || cell().set_align(FormatAlign::Left).set_indent(1);
        let head = |format: Format| {
            format
                .set_bold()
                .set_text_wrap()
                .set_background_color(HEAD)
                .set_border_bottom(FormatBorder::Thin)
        };
        let total = |format: Format| {
            format
                .set_bold()
                .set_num_format(NUMBER)
                .set_border_top(FormatBorder::Thin)
        };
        Self {
            title: Format::new().set_bold().set_font_size(14),
            head: head(text()),
            number_head: head(cell().set_align(FormatAlign::Right)),
            text: text().set_text_wrap(),
            number: cell().set_num_format(NUMBER),
            time: text().set_num_format(TIME),
            date: text().set_num_format(DATE),
            total: total(cell()),
            total_label: total(text()),
        }
    }
}

/// The characters of a number with its separators.
pub(super) fn thousands(number: u64) -> usize {
    let digits = number.to_string().len();
    digits + (digits - 1) / 3
}

/// How many lines a text takes in a column of this width, if each is broken between words.
pub(super) fn lines_of(text: &str, width: usize) -> usize {
    let mut lines = 1;
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines += 1;
            used = 0;
        }
        used += length + usize::from(used > 0);
        // A word that is longer than the column is broken too.
        while used > width.max(1) {
            lines += 1;
            used -= width.max(1);
        }
    }
    lines
}

const NUMBER: &str = "#,##0";
pub(super) const TIME: &str = "yyyy-mm-dd hh:mm:ss";
pub(super) const DATE: &str = "yyyy-mm-dd";
const HEAD: Color = Color::RGB(0x00D9_E2EC);
pub(super) const MARKED: Color = Color::RGB(0x00FD_EBC8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_as_many_lines_as_its_words_need() {
        for (text, width, lines) in [
            ("", 10, 1),
            ("ten digits", 10, 1),
            ("ten digits", 9, 2),
            ("Days without upload", 12, 2),
            ("0123456789", 4, 3),
            ("a 0123456789 b", 4, 4),
        ] {
            assert_eq!(lines_of(text, width), lines, "{text:?} in {width}");
        }
        for (number, characters) in [(0, 1), (999, 3), (1000, 5), (1_000_000, 9)] {
            assert_eq!(thousands(number), characters);
        }
    }
}
