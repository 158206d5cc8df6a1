//! How a kind of value is written as text.

use std::borrow::Cow;
use std::fmt;

/// A kind of value that the file writes as text.
///
/// Serde only checks that a string is there. `read` judges what it says, so that every mistake in a
/// file is found in one pass.
pub trait Form: Sized {
    /// What the value is called in messages, with its article: "a duration".
    const NOUN: &'static str;
    /// A value as an operator would write it, for messages and the JSON Schema.
    const EXAMPLE: &'static str;
    /// A regular expression for the JSON Schema, where it tells more than "a string".
    const PATTERN: Option<&'static str> = None;

    /// Reads the value from what the file has between the quotes.
    fn read(text: &str) -> Result<Self, Mistake>;

    /// Returns the canonical spelling, which reads as the same value.
    fn write(&self) -> String;
}

/// Why a text is no such value: what is wrong with it, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, to stand under the text. It is left out where `help` tells it already.
    pub label: Option<Cow<'static, str>>,
    /// What to write instead.
    pub help: Cow<'static, str>,
}

impl Mistake {
    /// A mistake that names what is wrong and what to write instead.
    pub fn new(label: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self {
            label: Some(label.into()),
            help: help.into(),
        }
    }

    /// A mistake against a rule whose words tell both what is wrong and what to write.
    pub fn against(rule: impl fmt::Display) -> Self {
        Self {
            label: None,
            help: rule.to_string().into(),
        }
    }
}
