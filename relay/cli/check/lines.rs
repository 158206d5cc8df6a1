//! Writes the lines that a person reads: one a hop, with cause and next step after trouble.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstyle::Style;

use crate::cli::out;
use crate::probe::{Finding, HopFinding, HopStatus, Walk};

pub(super) fn write_walk(walk: &Walk, out: &mut impl Write) -> io::Result<()> {
    write!(out, "\n{}", Plain(&walk.name))?;
    if let (Some(host), Some(port)) = (&walk.host, walk.port) {
        write!(out, "  {host}:{port}")?;
    }
    if let Some(because) = walk.not_walked {
        write!(out, "  not walked: {because}")?;
    }
    writeln!(out)?;
    walk.hops.iter().try_for_each(|hop| write_hop(hop, out))
}

fn write_hop(HopFinding { hop, finding }: &HopFinding, out: &mut impl Write) -> io::Result<()> {
    let Finding {
        status,
        seen,
        cause,
        next,
    } = finding;
    let (style, label) = match status {
        HopStatus::Skipped => (Style::new(), "skip"),
        HopStatus::Ok => (out::GOOD, "ok"),
        HopStatus::Warn => (out::WARN, "warn"),
        HopStatus::Fail => (out::BAD, "FAIL"),
    };
    writeln!(
        out,
        "  {style}{label:<4}{style:#}  {:<6}  {}",
        hop.as_str(),
        Plain(seen)
    )?;
    for (label, text) in [("cause", cause), ("next", next)] {
        if let Some(text) = text {
            writeln!(out, "        {label:<6}  {}", Plain(text))?;
        }
    }
    Ok(())
}

/// Shows a text with its control characters escaped. Names in certificates and errors come from the
/// network, and control characters would steer the terminal.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            // Characters that turn the direction of writing can make one name look like another.
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
    use crate::probe::Hop;

    #[test]
    fn a_name_from_the_network_steers_no_terminal() {
        let shown = Plain("CA \u{1b}[2J\r\n\u{202e}x\u{9b}").to_string();
        assert_eq!(shown, "CA \\u{1b}[2J\\u{d}\\u{a}\\u{202e}x\\u{9b}");
        assert_eq!(Plain("Prüfstelle \"A\"").to_string(), "Prüfstelle \"A\"");
    }

    #[test]
    fn cause_and_next_step_are_lines_of_their_own() {
        let finding = |status, seen: &str, why: Option<&str>| Finding {
            status,
            seen: seen.to_owned(),
            cause: why.map(str::to_owned),
            next: why.map(|_| "what".to_owned()),
        };
        let hop = |hop, finding| HopFinding { hop, finding };
        let walk = Walk {
            name: "billing".to_owned(),
            host: Some("billing.example".to_owned()),
            port: Some(443),
            not_walked: None,
            hops: vec![
                hop(Hop::Name, finding(HopStatus::Ok, "there", None)),
                hop(Hop::Ranges, finding(HopStatus::Fail, "gone", Some("why"))),
                hop(Hop::Tcp, finding(HopStatus::Skipped, "not reached", None)),
            ],
        };
        let mut text = Vec::new();
        write_walk(&walk, &mut text).unwrap();
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
            ]
        );
    }
}
