//! The mode of `[policy]`: whether the policy is enforced. Report-only ends by itself.

use callhome_settings::{Findings, Problem};
use jiff::{SignedDuration, Timestamp};

use crate::config::file::PolicyTable;
use crate::config::words::PolicyModeWord;
use crate::policy::Enforcement;

/// Returns the mode in force at the time `now`.
pub(super) fn mode(file: &PolicyTable, now: Timestamp, findings: &mut Findings) -> Enforcement {
    let mode = file
        .mode
        .as_ref()
        .filter(|mode| mode.value == PolicyModeWord::ReportOnly);
    let until = file
        .report_only_until
        .as_ref()
        .and_then(|until| findings.timestamp(until));
    let Some(mode) = mode else {
        if until.is_some() {
            findings.warn("report_only_until has no effect with mode = \"enforce\"");
        }
        return Enforcement::Enforce;
    };
    let Some(written) = &file.report_only_until else {
        findings.problem(
            Problem::new(mode.span.clone(), "report-only needs an end")
                .help("add report_only_until = <date-time>, at most 30 days ahead"),
        );
        return Enforcement::Enforce;
    };
    let Some(until) = until else {
        return Enforcement::Enforce;
    };
    if until <= now {
        // This is only a warning, because a file that was right yesterday must not keep the relay
        // from starting today.
        findings.warn(format!(
            "report-only ended on {until}: the policy is enforced"
        ));
        return Enforcement::Enforce;
    }
    if until.duration_since(now) > LONGEST_REPORT_ONLY {
        findings.problem(
            Problem::new(written.span.clone(), "report-only lasts at most 30 days")
                .label("further ahead than that")
                .help("write an earlier date-time, and a new one when it is over"),
        );
    }
    findings.warn(format!(
        "report-only until {until}: names on no list are let through"
    ));
    Enforcement::ReportOnly { until }
}

const LONGEST_REPORT_ONLY: SignedDuration = SignedDuration::from_hours(30 * 24);
