//! The collector of what is found in a file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::date_time::DateTime;
use crate::document::Document;
use crate::error::Error;
use crate::form::Form;
use crate::name::Name;
use crate::problem::Problem;
use crate::value::{At, List, Text};

/// What the checks of a file have found so far.
///
/// A problem makes the file unusable. A warning leaves it usable, and is for the operator to judge.
/// After a problem the checks go on with a default, so that one report shows all mistakes.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Findings {
    /// Adds a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds a warning, which is one sentence.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Returns the number of problems so far.
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Makes one error of all problems, in the order of their places.
    pub fn into_error(mut self, document: Document) -> Error {
        self.problems.sort_by_key(Problem::start);
        document.into_error(self.problems)
    }

    /// Returns the warnings, for a file without problems.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Reads a text. A mistake in it is a problem, and gives nothing.
    pub fn read<F: Form>(&mut self, text: &Text<F>) -> Option<F> {
        let written = &text.value.text;
        match F::read(written) {
            Ok(value) => Some(value),
            Err(mistake) => {
                let title = format!("`{written}` is not {}", F::NOUN);
                let problem = Problem::new(text.span.clone(), title).help(mistake.help);
                self.problem(match mistake.label {
                    Some(label) => problem.label(label),
                    None => problem,
                });
                None
            }
        }
    }

    /// Reads a text that may be left out. The default also replaces a text with a mistake, so that
    /// the rest of the file is checked too.
    pub fn read_or<F: Form>(&mut self, text: Option<&Text<F>>, default: F) -> F {
        text.and_then(|text| self.read(text)).unwrap_or(default)
    }

    /// Reads every text of a list that may be left out.
    pub fn read_all<F: Form>(&mut self, list: Option<&List<F>>) -> Vec<F> {
        let texts = list.into_iter().flat_map(|list| &list.value);
        texts.filter_map(|text| self.read(text)).collect()
    }

    /// Reads every text of a list that restricts something, and returns nothing if it is left out.
    ///
    /// An empty list is a problem, because it could mean "none" or "no restriction".
    pub fn read_some<F: Form>(
        &mut self,
        key: &str,
        list: Option<&List<F>>,
        help: &str,
    ) -> Option<Vec<F>> {
        let list = list?;
        self.refuse_empty(key, list, help);
        Some(self.read_all(Some(list)))
    }

    /// Reports an empty list.
    pub fn refuse_empty<T>(&mut self, key: &str, list: &At<Vec<T>>, help: &str) {
        if list.value.is_empty() {
            let title = format!("`{key}` is empty");
            self.problem(Problem::new(list.span.clone(), title).help(help));
        }
    }

    /// Reads a path that may be left out. An empty one is a problem.
    pub fn path(&mut self, key: &str, path: Option<&At<String>>) -> Option<PathBuf> {
        let path = path?;
        if path.value.is_empty() {
            let title = format!("`{key}` is empty");
            self.problem(Problem::new(path.span.clone(), title).help("remove the key"));
        }
        Some(PathBuf::from(&path.value))
    }

    /// Reads a moment, which needs a date, a time and an offset.
    pub fn timestamp(&mut self, written: &At<DateTime>) -> Option<Timestamp> {
        let parsed = written.value.timestamp();
        if let Err(error) = &parsed {
            let title = "a date, a time and an offset are needed";
            let problem = Problem::new(written.span.clone(), title)
                .help("write 2026-12-01T08:00:00Z, or +01:00 for Z");
            self.problem(if written.value.has_offset() {
                problem.label(error.to_string())
            } else {
                problem
            });
        }
        parsed.ok()
    }

    /// Reports names that are there twice, because a record couldn't tell the two things apart.
    pub fn unique<'a>(&mut self, what: &str, names: impl IntoIterator<Item = &'a Text<Name>>) {
        let mut seen: HashMap<&str, &Text<Name>> = HashMap::new();
        for name in names {
            let text = &name.value.text;
            match seen.entry(text) {
                Entry::Occupied(first) => self.problem(
                    Problem::new(name.span.clone(), format!("two {what}s are named `{text}`"))
                        .also(first.get().span.clone(), "the first")
                        .help("rename one"),
                ),
                Entry::Vacant(free) => {
                    free.insert(name);
                }
            }
        }
    }
}
