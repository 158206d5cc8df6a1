//! What is wrong with a configuration, and where: title, snippet, help.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Why a configuration can't be used. Displays as the full report, without colour.
pub struct Error {
    /// The file's path, or what stands for it.
    name: String,
    kind: Kind,
}

enum Kind {
    Unreadable(io::Error),
    Invalid {
        text: String,
        problems: Vec<Problem>,
    },
}

/// One mistake in the file.
#[derive(Debug)]
pub(super) struct Problem {
    title: String,
    /// Bytes of the file. Without them the mistake is in what the file leaves out.
    span: Option<Range<usize>>,
    label: Option<String>,
    also: Option<(Range<usize>, &'static str)>,
    help: Option<String>,
}

impl Error {
    pub(super) fn unreadable(path: &Path, error: io::Error) -> Self {
        Self {
            name: path.display().to_string(),
            kind: Kind::Unreadable(error),
        }
    }

    pub(super) fn invalid(name: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Invalid {
                text: text.to_owned(),
                problems,
            },
        }
    }

    /// The full report, a paragraph a mistake, for a terminal that shows colours or for anything else.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        match &self.kind {
            Kind::Unreadable(error) => renderer.render(&[Level::ERROR
                .primary_title(format!("can't read the configuration: {error}"))
                .element(Origin::path(&self.name))]),
            Kind::Invalid { text, problems } => problems
                .iter()
                .map(|problem| renderer.render(&[problem.report(&self.name, text)]))
                .collect::<Vec<_>>()
                .join("\n\n"),
        }
    }

    /// One line for a log or a record: the first mistake with its place, and how many more there are.
    pub fn summary(&self) -> String {
        let name = &self.name;
        let (text, problems) = match &self.kind {
            Kind::Unreadable(error) => return format!("{name}: {error}"),
            Kind::Invalid { text, problems } => (text, problems),
        };
        let Some(problem) = problems.first() else {
            return name.clone();
        };
        let (line, column) = position(text, problem.start());
        // A title can quote the file, whose strings may hold line breaks.
        let title: String = problem
            .title
            .chars()
            .map(|c| {
                if c.is_control() {
                    c.escape_default().to_string()
                } else {
                    c.to_string()
                }
            })
            .collect();
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
        match &self.kind {
            Kind::Unreadable(error) => Some(error),
            Kind::Invalid { .. } => None,
        }
    }
}

impl Problem {
    pub(super) fn new(span: impl Into<Option<Range<usize>>>, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            span: span.into(),
            label: None,
            also: None,
            help: None,
        }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Another place that has to do with it.
    pub(super) fn also(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.also = Some((span, label));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Where in the file it stands; first what is about the whole.
    pub(super) fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }

    /// Serde's words for a file of the wrong shape, put as the rest of the errors are.
    pub(super) fn from_toml(error: &toml::de::Error, text: &str) -> Self {
        let span = error.span();
        let message = error
            .message()
            .replace("a nonzero u16", "a port from 1 to 65535")
            .replace("a nonzero u32", "a whole number from 1 to 4294967295");
        let written = span
            .clone()
            .and_then(|span| text.get(span))
            .unwrap_or_default();
        if let Some(missing) = message.strip_prefix("missing field ") {
            return Self::new(span, format!("the key {missing} is missing here"))
                .help(format!("add {missing} to this table"));
        }
        let (kind, expected) = match message.rsplit_once(", expected ") {
            Some((start, expected)) if start.starts_with("unknown field ") => ("key", expected),
            Some((start, expected)) if start.starts_with("unknown variant ") => ("value", expected),
            Some((what, expected)) => return Self::wrong_kind(span, what, expected),
            None if message == "duplicate key" => {
                return Self::new(span, message).help("remove one of the two");
            }
            None => {
                return Self::new(span, message)
                    .help("see https://toml.io for how TOML is written");
            }
        };
        // The words are quoted: "`a`", "`a` or `b`", "one of `a`, `b`, `c`".
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        Self::new(span, format!("unknown {kind} `{}`", unquoted(written)))
            .help(suggestion(unquoted(written), &known))
    }

    /// `what` is serde's "invalid type: integer `5`", or what the TOML parser came across.
    fn wrong_kind(span: Option<Range<usize>>, what: &str, expected: &str) -> Self {
        let found = ["invalid type: ", "invalid value: "]
            .iter()
            .find_map(|prefix| what.strip_prefix(prefix));
        let Some(found) = found else {
            return Self::new(span, what).help(format!("expected {expected}"));
        };
        let found = match found {
            "map" => "a table",
            "sequence" => "a list",
            other => other,
        };
        let expected = match expected {
            "a sequence" => "a list in square brackets",
            other => other,
        };
        Self::new(span, "the wrong kind of value")
            .label(found)
            .help(format!("write {expected}"))
    }

    fn report<'a>(&'a self, name: &'a str, text: &'a str) -> Group<'a> {
        let title = Level::ERROR.primary_title(&self.title);
        let mut report = match &self.span {
            Some(span) => {
                let primary = AnnotationKind::Primary
                    .span(first_line(text, span))
                    .label(self.label.as_deref());
                let also = self.also.iter().map(|(span, label)| {
                    AnnotationKind::Context
                        .span(first_line(text, span))
                        .label(*label)
                });
                title.element(
                    Snippet::source(text)
                        .path(name)
                        .annotation(primary)
                        .annotations(also),
                )
            }
            None => title.element(Origin::path(name)),
        };
        if let Some(help) = &self.help {
            report = report.element(Level::HELP.message(help));
        }
        report
    }
}

/// The nearest of the known words, or all of them where none is near.
fn suggestion(written: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|word| (strsim::jaro_winkler(written, word), word))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((similarity, word)) if similarity > NEAR => {
            format!("did you mean `{word}`? Known here: {}", known.join(", "))
        }
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// A key or string as it was meant, without its quotes.
fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

/// A span over many lines is shown by its first: the rest says nothing about the mistake.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    let length = text[start..end].find(['\r', '\n']).unwrap_or(end - start);
    start..start + length
}

/// Line and column, counted from one, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Jaro-Winkler similarity from which on a word is offered: `bnd` for `bind`, but not `sni` for `bind`.
const NEAR: f64 = 0.75;
