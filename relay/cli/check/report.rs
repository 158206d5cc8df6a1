//! Collects the whole result of `check`: warnings and notes on the file, the walks, their count.

use std::io::{self, Write};

use serde::Serialize;

use super::lines::Plain;
use crate::cli::out;
use crate::config::Config;
use crate::probe::{HopStatus, Walk};

/// Holds the whole result. Its serialized form is the answer of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct CheckReport {
    config: String,
    offline: bool,
    warnings: Vec<String>,
    notes: Vec<String>,
    destinations: Vec<Walk>,
    summary: Summary,
}

/// Counts the walks by their worst hop.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    ok: usize,
    warn: usize,
    fail: usize,
    not_walked: usize,
}

impl CheckReport {
    /// Begins a report, to which the walks are added.
    pub(super) fn new(config: &Config, offline: bool, notes: Vec<String>) -> Self {
        Self {
            config: config.source.to_string(),
            offline,
            warnings: config.warnings.clone(),
            notes,
            destinations: Vec::new(),
            summary: Summary::default(),
        }
    }

    pub(super) fn add(&mut self, walk: Walk) {
        let count = match walk.worst() {
            HopStatus::Skipped => &mut self.summary.not_walked,
            HopStatus::Ok => &mut self.summary.ok,
            HopStatus::Warn => &mut self.summary.warn,
            HopStatus::Fail => &mut self.summary.fail,
        };
        *count += 1;
        self.destinations.push(walk);
    }

    pub(super) fn failed(&self) -> bool {
        self.summary.fail > 0
    }

    pub(super) fn write_head(&self, out: &mut impl Write) -> io::Result<()> {
        let (good, warn) = (out::GOOD, out::WARN);
        writeln!(
            out,
            "{good}ok{good:#}    configuration: {}",
            Plain(&self.config)
        )?;
        for warning in &self.warnings {
            writeln!(out, "{warn}warn{warn:#}  {}", Plain(warning))?;
        }
        for note in &self.notes {
            writeln!(out, "note  {}", Plain(note))?;
        }
        Ok(())
    }

    pub(super) fn write_summary(&self, out: &mut impl Write) -> io::Result<()> {
        if self.offline {
            return writeln!(out, "\nnothing was walked (--offline)");
        }
        let Summary {
            ok,
            warn,
            fail,
            not_walked,
        } = self.summary;
        let (style, label) = match (fail, warn) {
            (0, 0) => (out::GOOD, "ok"),
            (0, _) => (out::WARN, "warn"),
            _ => (out::BAD, "FAIL"),
        };
        writeln!(
            out,
            "\n{style}{label}{style:#}: {ok} ok, {warn} with warnings, {fail} failed, {not_walked} not walked"
        )
    }
}
