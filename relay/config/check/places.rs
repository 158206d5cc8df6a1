//! The places of a rule's values, for what the policy finds wrong with the rule.

use std::fmt::Display;
use std::ops::Range;

use callhome_settings::{Form, List};

/// Where a `[[client]]` or a `[[destination]]` is in the file, with each value of it.
///
/// The policy knows no files: its messages only quote the value that they are about. A rule of the
/// preset has no places.
#[derive(Default)]
pub(super) struct RulePlaces {
    /// Each value as the policy writes it. The empty text is in every message, so it gives the
    /// place of the rule itself when no value is quoted.
    values: Vec<(String, Range<usize>)>,
}

impl RulePlaces {
    /// The places of a rule, without its values.
    pub(super) fn of_rule(rule: &Range<usize>) -> Self {
        Self {
            values: vec![(String::new(), rule.clone())],
        }
    }

    /// Adds the values of a list. Those that can't be read have been reported already.
    #[must_use]
    pub(super) fn with<F: Form + Display>(mut self, list: Option<&List<F>>) -> Self {
        for text in list.into_iter().flat_map(|list| &list.value) {
            if let Ok(value) = F::read(&text.value.text) {
                self.values.push((value.to_string(), text.span.clone()));
            }
        }
        self
    }

    /// Finds the place that a message is about: that of the longest value it quotes.
    pub(super) fn find(&self, message: &str) -> Option<Range<usize>> {
        self.values
            .iter()
            .filter(|(value, _)| message.contains(value.as_str()))
            .max_by_key(|(value, _)| value.len())
            .map(|(_, span)| span.clone())
    }
}
