//! Where commands write: results to standard output, everything else to standard error, colour only on a terminal.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

/// Standard output, which drops colours where nobody sees them. Write with `writeln!(…)?`: a closed pipe is an error, not a panic.
pub(super) fn stdout() -> anstream::AutoStream<io::StdoutLock<'static>> {
    anstream::AutoStream::auto(io::stdout().lock())
}

/// One line of trouble on standard error.
pub(super) fn error_line(text: &str) {
    // There is nowhere left to complain to.
    let _ = writeln!(anstream::stderr(), "{BAD}error{BAD:#}: {text}");
}

/// A report that is rendered already.
pub(super) fn error_text(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

pub(super) fn error_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
