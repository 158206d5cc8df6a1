//! Report-only, which ends by itself.

use jiff::{SignedDuration, Timestamp};

use super::check::Findings;
use super::error::Problem;
use super::file::{self, PolicyMode};
use super::value::At;
use crate::policy::Enforcement;

impl Findings {
    pub(super) fn mode(&mut self, file: &file::Policy, now: Timestamp) -> Enforcement {
        let mode = file
            .mode
            .as_ref()
            .filter(|mode| mode.value == PolicyMode::ReportOnly);
        let until = file
            .report_only_until
            .as_ref()
            .and_then(|until| self.timestamp(until));
        let Some(mode) = mode else {
            if until.is_some() {
                self.warn("report_only_until has no effect with mode = \"enforce\"");
            }
            return Enforcement::Enforce;
        };
        let Some(written) = &file.report_only_until else {
            self.problem(
                Problem::new(mode.span.clone(), "report-only needs an end")
                    .help("add report_only_until = <date-time>, at most 30 days ahead"),
            );
            return Enforcement::Enforce;
        };
        let Some(until) = until else {
            return Enforcement::Enforce;
        };
        if until <= now {
            // A file that was fine yesterday must not keep the relay from starting today.
            self.warn(format!(
                "report-only ended on {until}: the policy is enforced"
            ));
            return Enforcement::Enforce;
        }
        if until.duration_since(now) > LONGEST_REPORT_ONLY {
            self.problem(
                Problem::new(written.span.clone(), "report-only lasts at most 30 days")
                    .label("further ahead than that")
                    .help("write an earlier date-time, and a new one when it is over"),
            );
        }
        self.warn(format!(
            "report-only until {until}: names on no list are let through"
        ));
        Enforcement::ReportOnly { until }
    }

    fn timestamp(&mut self, written: &At<file::DateTime>) -> Option<Timestamp> {
        let parsed = written.value.0.to_string().parse::<Timestamp>();
        if let Err(error) = &parsed {
            let complete = written.value.0.offset.is_some();
            let problem = Problem::new(
                written.span.clone(),
                "a date, a time and an offset are needed",
            )
            .help("write 2026-12-01T08:00:00Z, or +01:00 for Z");
            self.problem(if complete {
                problem.label(error.to_string())
            } else {
                problem
            });
        }
        parsed.ok()
    }
}

const LONGEST_REPORT_ONLY: SignedDuration = SignedDuration::from_hours(30 * 24);
