//! What was found, and how it is shown.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use super::handshake::TrustStores;
use super::notes;
use crate::cli::out;
use crate::config::Config;
use crate::server::Certificates;

/// The whole result; its serialized form is the answer of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    config: String,
    offline: bool,
    warnings: Vec<String>,
    notes: Vec<String>,
    destinations: Vec<Walk>,
    summary: Summary,
}

/// The way to one host, hop by hop.
#[derive(Debug, Serialize)]
pub(super) struct Walk {
    /// The destination's name.
    name: String,
    host: Option<String>,
    port: Option<u16>,
    /// Why there was nothing to walk.
    not_walked: Option<&'static str>,
    hops: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    hop: Hop,
    #[serde(flatten)]
    finding: Finding,
}

/// What one hop showed; after trouble also the likely cause and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// What a hop gives to the next one, and what it showed; or why the walk ends here.
pub(super) type Outcome<T> = Result<(T, Finding), Finding>;

/// The hops, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hop {
    Name,
    Ranges,
    Tcp,
    Tls,
    Http,
    Clock,
}

/// In the order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Skipped,
    Ok,
    Warn,
    Fail,
}

/// How many destinations came out how, by their worst hop.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    ok: usize,
    warn: usize,
    fail: usize,
    not_walked: usize,
}

impl Report {
    /// Begins one; without roots to judge by, nothing is walked.
    pub(super) fn new(
        config: &Config,
        certificates: &Certificates,
        stores: Option<&TrustStores>,
    ) -> Self {
        Self {
            config: config.source.to_string(),
            offline: stores.is_none(),
            warnings: config.warnings.clone(),
            notes: notes::on(config, certificates, stores),
            destinations: Vec::new(),
            summary: Summary::default(),
        }
    }

    pub(super) fn add(&mut self, walk: Walk) {
        let count = match walk.worst() {
            Status::Skipped => &mut self.summary.not_walked,
            Status::Ok => &mut self.summary.ok,
            Status::Warn => &mut self.summary.warn,
            Status::Fail => &mut self.summary.fail,
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

impl Walk {
    pub(super) fn to(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            host: Some(host.to_owned()),
            port: Some(port),
            not_walked: None,
            hops: Vec::new(),
        }
    }

    pub(super) fn passed(name: &str, because: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            host: None,
            port: None,
            not_walked: Some(because),
            hops: Vec::new(),
        }
    }

    /// Notes what a hop showed, and gives what the next one needs; none after a failure.
    pub(super) fn take<T>(&mut self, hop: Hop, outcome: Outcome<T>) -> Option<T> {
        let (value, finding) = match outcome {
            Ok((value, finding)) => (Some(value), finding),
            Err(finding) => (None, finding),
        };
        self.hops.push(Step { hop, finding });
        value
    }

    /// Notes that what is left wasn't reached, or isn't there.
    pub(super) fn skip_rest(&mut self, because: &str) {
        for &hop in Hop::ALL.iter().skip(self.hops.len()) {
            let finding = Finding::skipped(because);
            self.hops.push(Step { hop, finding });
        }
    }

    fn worst(&self) -> Status {
        let statuses = self.hops.iter().map(|step| step.finding.status);
        statuses.max().unwrap_or(Status::Skipped)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "\n{}", Plain(&self.name))?;
        if let (Some(host), Some(port)) = (&self.host, self.port) {
            write!(out, "  {host}:{port}")?;
        }
        if let Some(because) = self.not_walked {
            write!(out, "  not walked: {because}")?;
        }
        writeln!(out)?;
        self.hops.iter().try_for_each(|step| step.write(out))
    }
}

impl Step {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Finding {
            status,
            seen,
            cause,
            next,
        } = &self.finding;
        let (style, label) = match status {
            Status::Skipped => (Style::new(), "skip"),
            Status::Ok => (out::GOOD, "ok"),
            Status::Warn => (out::WARN, "warn"),
            Status::Fail => (out::BAD, "FAIL"),
        };
        let hop = self.hop.as_str();
        writeln!(
            out,
            "  {style}{label:<4}{style:#}  {hop:<6}  {}",
            Plain(seen)
        )?;
        for (label, text) in [("cause", cause), ("next", next)] {
            if let Some(text) = text {
                writeln!(out, "        {label:<6}  {}", Plain(text))?;
            }
        }
        Ok(())
    }
}

impl Finding {
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self::bare(Status::Ok, seen)
    }

    pub(super) fn skipped(because: impl Into<String>) -> Self {
        Self::bare(Status::Skipped, because)
    }

    pub(super) fn warn(
        seen: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            cause: Some(cause.into()),
            next: Some(next.into()),
            ..Self::bare(Status::Warn, seen)
        }
    }

    pub(super) fn fail(
        seen: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(seen, cause, next)
        }
    }

    fn bare(status: Status, seen: impl Into<String>) -> Self {
        Self {
            status,
            seen: seen.into(),
            cause: None,
            next: None,
        }
    }
}

impl Hop {
    const ALL: [Self; 6] = [
        Self::Name,
        Self::Ranges,
        Self::Tcp,
        Self::Tls,
        Self::Http,
        Self::Clock,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Ranges => "ranges",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Clock => "clock",
        }
    }
}

/// A text without what could steer a terminal: names in certificates and errors come from the network.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            // Those that turn the direction of writing can make one name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(f, "{}", char.escape_unicode())
            }
            char if char.is_control() => write!(f, "{}", char.escape_unicode()),
            char => f.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_network_steers_no_terminal() {
        let shown = Plain("CA \u{1b}[2J\r\n\u{202e}x\u{9b}").to_string();
        assert_eq!(shown, "CA \\u{1b}[2J\\u{d}\\u{a}\\u{202e}x\\u{9b}");
        assert_eq!(Plain("Prüfstelle \"A\"").to_string(), "Prüfstelle \"A\"");
    }

    #[test]
    fn hops_after_a_failure_are_shown_as_skipped() {
        let mut walk = Walk::to("billing", "billing.example", 443);
        let there = walk.take(Hop::Name, Ok((1, Finding::ok("there"))));
        assert_eq!(there, Some(1));
        let gone: Option<u8> = walk.take(Hop::Ranges, Err(Finding::fail("gone", "why", "what")));
        assert_eq!(gone, None);
        walk.skip_rest("not reached");
        assert_eq!(walk.worst(), Status::Fail);
        let mut text = Vec::new();
        walk.write(&mut text).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&text).unwrap()).to_string();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "",
                "billing  billing.example:443",
                "  ok    name    there",
                "  FAIL  ranges  gone",
                "        cause   why",
                "        next    what",
                "  skip  tcp     not reached",
                "  skip  tls     not reached",
                "  skip  http    not reached",
                "  skip  clock   not reached",
            ]
        );
    }
}
