//! Writes what commands say: results to standard output, everything else to standard error. Colour
//! goes to a terminal only.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

/// Opens standard output, without colours unless it is a terminal. Write with `writeln!(…)?`,
/// because then a closed pipe is an error and not a panic.
pub(super) fn stdout() -> anstream::AutoStream<io::StdoutLock<'static>> {
    anstream::AutoStream::auto(io::stdout().lock())
}

/// Writes an error as one line to standard error.
pub(super) fn error_line(text: &str) {
    // If standard error is closed, no other place is left to report that to.
    let _ = writeln!(anstream::stderr(), "{BAD}error{BAD:#}: {text}");
}

/// Writes an error that is rendered already to standard error.
pub(super) fn error_text(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

pub(super) fn error_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
