//! The report of all mistakes in a configuration: for each its title, its place and its help.

use std::fmt;
use std::io;

use annotate_snippets::{Level, Origin, Renderer};

use crate::problem::Problem;

/// Why a configuration can't be used. `Display` and `Debug` write the full report without colour.
pub struct Error {
    /// The path of the file, or another name for a text that comes from no file.
    name: String,
    cause: Cause,
}

enum Cause {
    Unreadable(io::Error),
    Invalid {
        text: String,
        problems: Vec<Problem>,
    },
}

impl Error {
    pub(crate) fn unreadable(name: String, error: io::Error) -> Self {
        Self {
            name,
            cause: Cause::Unreadable(error),
        }
    }

    pub(crate) fn invalid(name: String, text: String, problems: Vec<Problem>) -> Self {
        Self {
            name,
            cause: Cause::Invalid { text, problems },
        }
    }

    /// Returns the full report with a paragraph for each mistake. `color` is for a terminal that
    /// shows colours.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        match &self.cause {
            Cause::Unreadable(error) => renderer.render(&[Level::ERROR
                .primary_title(format!("can't read the configuration: {error}"))
                .element(Origin::path(&self.name))]),
            Cause::Invalid { text, problems } => problems
                .iter()
                .map(|problem| renderer.render(&[problem.report(&self.name, text)]))
                .collect::<Vec<_>>()
                .join("\n\n"),
        }
    }

    /// Returns one line for a log or a record: the first mistake with its place, and the number of
    /// the others.
    pub fn summary(&self) -> String {
        let name = &self.name;
        let (text, problems) = match &self.cause {
            Cause::Unreadable(error) => return format!("{name}: {error}"),
            Cause::Invalid { text, problems } => (text, problems),
        };
        let Some(problem) = problems.first() else {
            return name.clone();
        };
        let (line, column) = position(text, problem.start());
        let title = problem.title_line();
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{name}:{line}:{column}: {title}{more}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Unreadable(error) => Some(error),
            Cause::Invalid { .. } => None,
        }
    }
}

/// Returns line and column of a byte, both counted from one. A column is a character.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
