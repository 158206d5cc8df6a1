//! Limits that must agree, because a part can't be larger than the whole.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use crate::findings::Findings;
use crate::form::Form;
use crate::problem::Problem;
use crate::value::{At, Text};

/// A limit with its key and its place, to be compared with another one.
#[derive(Debug)]
pub struct Bound<'a> {
    key: &'static str,
    amount: u128,
    shown: String,
    span: Option<&'a Range<usize>>,
}

impl<'a> Bound<'a> {
    /// A number. `value` is the one in force, whether the file has it or not.
    pub fn count(key: &'static str, written: Option<&'a At<NonZeroU32>>, value: u32) -> Self {
        Self {
            key,
            amount: value.into(),
            shown: value.to_string(),
            span: written.map(|count| &count.span),
        }
    }

    /// A duration. `value` is the one in force, whether the file has it or not.
    pub fn duration(
        key: &'static str,
        written: Option<&'a Text<Duration>>,
        value: Duration,
    ) -> Self {
        Self {
            key,
            amount: value.as_nanos(),
            shown: value.write(),
            span: written.map(|text| &text.span),
        }
    }

    /// Reports this limit if it is above the greater one that it is part of.
    pub fn at_most(&self, greater: &Bound<'_>, findings: &mut Findings) {
        if self.amount <= greater.amount {
            return;
        }
        // At least one of the two is written, because the defaults agree.
        let span = self.span.or(greater.span).cloned();
        let title = format!(
            "{} can't be above {}",
            self.described(),
            greater.described()
        );
        let help = format!("lower `{}`, or raise `{}`", self.key, greater.key);
        let mut problem = Problem::new(span, title).help(help);
        if let (Some(_), Some(greater)) = (self.span, greater.span) {
            problem = problem.also(greater.clone(), "the other");
        }
        findings.problem(problem);
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
