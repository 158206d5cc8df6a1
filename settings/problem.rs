//! One mistake in a configuration: where it is, what is wrong, and what to write instead.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Snippet};

use crate::nearest::suggestion;

/// One mistake in the file.
#[derive(Debug)]
pub struct Problem {
    title: String,
    /// The bytes of the file that are wrong, or nothing if the file leaves something out.
    span: Option<Range<usize>>,
    label: Option<String>,
    also: Option<(Range<usize>, &'static str)>,
    help: Option<String>,
}

impl Problem {
    /// A mistake with its place, or without one if the file leaves something out.
    pub fn new(span: impl Into<Option<Range<usize>>>, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            span: span.into(),
            label: None,
            also: None,
            help: None,
        }
    }

    /// Adds what is wrong with the text at the place, to stand under it.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds another place of the file that is part of the mistake, and what it is.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.also = Some((span, label));
        self
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The byte of the file where the mistake begins. A mistake without a place comes first.
    pub(crate) fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }

    /// The title on one line. It can quote strings of the file, which may hold line breaks.
    pub(crate) fn title_line(&self) -> String {
        let mut line = String::new();
        for c in self.title.chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line
    }

    /// Puts the error of serde or of the TOML parser into the words of our other reports.
    ///
    /// Neither gives more than a message, so its fixed phrases are recognised here.
    pub(crate) fn from_toml(error: &toml::de::Error, text: &str) -> Self {
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
        // Serde lists the known words in backticks: "`a`", "`a` or `b`", "one of `a`, `b`, `c`".
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        Self::new(span, format!("unknown {kind} `{}`", unquoted(written)))
            .help(suggestion(unquoted(written), &known))
    }

    /// Reports a value of the wrong kind. `what` is serde's "invalid type: integer `5`", or the
    /// complaint of the TOML parser.
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

    /// Lays the mistake out for the renderer.
    pub(crate) fn report<'a>(&'a self, name: &'a str, text: &'a str) -> Group<'a> {
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

/// Removes the quotes around a key or a string.
fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

/// Cuts a span down to its first line, because the other lines tell nothing about the mistake.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    let length = text[start..end].find(['\r', '\n']).unwrap_or(end - start);
    start..start + length
}
