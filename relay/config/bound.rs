//! Limits that must agree: a part can't be larger than the whole.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use super::check::Findings;
use super::error::Problem;
use super::value::{At, Form, Raw};

/// A limit among others, with what is needed to complain about it.
pub(super) struct Bound<'a> {
    key: &'static str,
    pub(super) value: u32,
    amount: u128,
    shown: String,
    span: Option<&'a Range<usize>>,
}

impl<'a> Bound<'a> {
    pub(super) fn count(
        key: &'static str,
        written: Option<&'a At<NonZeroU32>>,
        default: u32,
    ) -> Self {
        let value = written.map_or(default, |count| count.value.get());
        Self {
            key,
            value,
            amount: value.into(),
            shown: value.to_string(),
            span: written.map(|count| &count.span),
        }
    }

    pub(super) fn duration(
        key: &'static str,
        written: Option<&'a At<Raw<Duration>>>,
        value: Duration,
    ) -> Self {
        Self {
            key,
            value: 0,
            amount: value.as_nanos(),
            shown: value.write(),
            span: written.map(|text| &text.span),
        }
    }

    fn described(&self) -> String {
        let default = if self.span.is_none() {
            ", the default"
        } else {
            ""
        };
        format!("`{}` ({}{default})", self.key, self.shown)
    }
}

impl Findings {
    /// Reports a lesser limit that lies above the greater one it is part of.
    pub(super) fn at_most(&mut self, lesser: &Bound<'_>, greater: &Bound<'_>) {
        if lesser.amount <= greater.amount {
            return;
        }
        // At least one of the two is written: the defaults agree.
        let span = lesser.span.or(greater.span).cloned();
        let title = format!(
            "{} can't be above {}",
            lesser.described(),
            greater.described()
        );
        let help = format!("lower `{}`, or raise `{}`", lesser.key, greater.key);
        let mut problem = Problem::new(span, title).help(help);
        if let (Some(_), Some(greater)) = (lesser.span, greater.span) {
            problem = problem.also(greater.clone(), "the other");
        }
        self.problem(problem);
    }
}
