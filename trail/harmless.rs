//! Makes text that came from outside harmless to a terminal, a spreadsheet, a log line or a reader
//! of JSON.
//!
//! Targets are escaped before they are recorded. But a file can be edited, so a program that shows
//! a record must not trust its text.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

/// Makes text harmless to a terminal, or any other place where a line must stay one line.
///
/// Characters that are invisible, move the cursor or reverse the text become `\u{…}`. All others
/// stay as they are.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_visible(&mut out, c));
    out.into()
}

/// Makes text harmless to a cell of a spreadsheet, or of a file that will be opened as one:
/// visible, and never a formula.
///
/// A character that would begin a formula gets an apostrophe before it. That applies after a
/// semicolon too, because it ends a cell in countries that write decimals with a comma.
pub fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut begins = true;
    for c in text.chars() {
        if begins && BEGINS_FORMULA.contains(&c) {
            out.push('\'');
        }
        begins = c == ';' || begins && matches!(c, ' ' | '"');
        push_visible(&mut out, c);
    }
    out
}

/// Makes bytes harmless to one field of a log whose fields are divided by spaces or quotes.
///
/// Bytes that no URI has, and the quotes and brackets of the log formats, are percent-encoded (RFC
/// 3986, 2.1). The field is cut after 1 KiB.
pub fn field(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().min(MAX_FIELD));
    for &byte in bytes {
        if out.len() + "%00".len() > MAX_FIELD {
            break;
        }
        if byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&*+,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Writes JSON on one line. Characters that [`visible`] would escape become `\uXXXX`.
pub fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(visible_json(&serde_json::to_string(value)?))
}

/// Does the same for text that is JSON already. Its value stays the same, its bytes don't.
pub fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Line feeds and tabs can only be outside strings here, because JSON escapes them inside.
        if is_hidden(c) && c != '\n' && c != '\t' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    if is_hidden(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || HIDDEN
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// No recorded target or name is near this length. Readers of logs have buffers of a few KiB for a
/// line.
const MAX_FIELD: usize = 1024;

/// The characters that begin a formula in a spreadsheet, with the wide forms that some locales take
/// too.
const BEGINS_FORMULA: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The Unicode general categories Cf, Zl and Zp: bidirectional controls, joiners, separators, tags,
/// and invisible blanks.
const HIDDEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_sees_what_is_there() {
        for (text, shown) in [
            ("ch3.zerto.com:443", "ch3.zerto.com:443"),
            ("Zürich", "Zürich"),
            ("a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("user\u{202e}moc", "user\\u{202e}moc"),
            ("zero\u{200b}width\u{2028}", "zero\\u{200b}width\\u{2028}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert!(cell(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(cell("a=1; b-2"), "a=1; b-2");
        assert_eq!(cell("a;=1;+\u{9}"), "a;'=1;'+\\u{9}");
        assert_eq!(cell("; \"=1"), "; \"'=1");
    }

    proptest! {
        #[test]
        fn a_field_is_one_field(bytes: Vec<u8>) {
            let field = field(&bytes);
            prop_assert!(field.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\()[]|<>".contains(&b)));
        }

        #[test]
        fn json_keeps_its_value(text: String) {
            let line = json_line(&text).unwrap();
            prop_assert!(!line.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
