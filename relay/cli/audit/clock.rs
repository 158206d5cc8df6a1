//! `audit clock`: shows by how much the clock jumped ahead, and confirms that the time has passed.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use callhome_trail::harmless::{visible, visible_json};
use callhome_trail::{Jump, Jumps, Line, Reader, seals};

use super::TrailArg;
use crate::audit::confirm_clock;
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ClockArgs {
    #[command(flatten)]
    trail: TrailArg,
    /// Say that the clock is right and that the time has passed: records get older by it, so that
    /// `keep` deletes those that are too old
    ///
    /// A running relay takes this within ten seconds, and any other when it starts.
    #[arg(long)]
    confirm: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ClockArgs) -> anyhow::Result<Exit> {
    let path = args.trail.path()?;
    anyhow::ensure!(
        path.is_dir(),
        "{} isn't the directory of a trail",
        path.display()
    );
    let jumps: Vec<_> = jumps(&path)?.unconfirmed().cloned().collect();
    // Only what is shown is confirmed. The clock may jump again before the relay reads this.
    let last = jumps.iter().map(|jump| jump.seq).max();
    let confirmed = last.filter(|_| args.confirm);
    if let Some(last) = confirmed {
        confirm_clock(&path, last)
            .with_context(|| format!("{} can't be written to", path.display()))?;
    }
    if args.json {
        let json = serde_json::json!({"unconfirmed": jumps, "confirmed": confirmed});
        let json = serde_json::to_string_pretty(&json)?;
        writeln!(out::stdout(), "{}", visible_json(&json))?;
    } else {
        print(&jumps, confirmed.is_some())?;
    }
    Ok(Exit::Fine)
}

/// Reads the jumps from the last checkpoint on, which has those before it.
fn jumps(directory: &Path) -> io::Result<Jumps> {
    let last = seals::last(directory)?;
    let last = last.line.as_deref().and_then(|line| Line::parse(line).ok());
    let mut jumps = Jumps::default();
    let from = last.as_ref().map_or(0, |line| line.seq);
    if let Some(line) = &last {
        line.tell(&mut jumps);
    }
    let mut reader = Reader::open_from(directory, from)?;
    while let Some(raw) = reader.next_line()? {
        if let Ok(line) = Line::parse(raw.bytes)
            && line.seq > from
        {
            line.tell(&mut jumps);
        }
    }
    Ok(jumps)
}

fn print(jumps: &[Jump], is_confirmed: bool) -> io::Result<()> {
    let mut out = out::stdout();
    if jumps.is_empty() {
        return writeln!(out, "no jump of the clock waits for a confirmation");
    }
    for jump in jumps {
        writeln!(
            out,
            "record {}, {}: the clock jumped {} ahead ({} s), or the machine was off",
            jump.seq,
            visible(&jump.time),
            span(jump.open),
            jump.open
        )?;
    }
    if is_confirmed {
        return writeln!(
            out,
            "Confirmed. The relay records that within ten seconds, or when it starts."
        );
    }
    writeln!(
        out,
        "No record gets older by this. If that time has really passed, say so with --confirm.\n\
         If the clock was wrong before and is right now, there is nothing to do."
    )
}

/// Seconds as days and hours, for people.
pub(super) fn span(seconds: f64) -> String {
    let hours = (seconds / 3600.0).round();
    let (days, hours) = ((hours / 24.0).floor(), hours % 24.0);
    if hours > 0.0 {
        format!("{days} d {hours} h")
    } else {
        format!("{days} d")
    }
}
