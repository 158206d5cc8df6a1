//! `audit quiet`: says which clients haven't called home, since when, and why.

mod row;
mod table;

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use callhome_settings::Form as _;
use callhome_trail::fleet::{Period, PeriodSource, read};
use callhome_trail::harmless;
use jiff::{SignedDuration, Timestamp};

use super::{TrailArg, verify};
use crate::cli::exit::Exit;
use crate::cli::{ConfigArg, out};
use row::Quiet;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct QuietArgs {
    /// The trails of one site, each a directory, a file, or `-` for standard input [default: the
    /// configured directory]
    #[arg(value_name = "DIR|FILE|-")]
    trails: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// How often clients call home, such as 12h or 3d. It replaces their `expect_every` [default:
    /// 3d for a client without one]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    every: Option<SignedDuration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &QuietArgs) -> anyhow::Result<Exit> {
    let trails = if args.trails.is_empty() {
        let configured = TrailArg {
            trail: None,
            config: args.config.clone(),
        };
        vec![configured.path()?]
    } else {
        args.trails.clone()
    };
    let bar = verify::progress_bar();
    let now = Timestamp::now();
    let read = read(&trails, now, |reader| {
        bar.set_length(reader.size());
        bar.set_position(reader.position());
    });
    bar.finish_and_clear();
    let (fleet, trails) = read?;
    let mut quiet = Quiet::of(fleet.facts(now), trails, args.every, now);
    if let Some(file) = &args.config.config {
        quiet.name_config(file);
    }
    let mut out = BufWriter::new(out::stdout());
    if args.json {
        let json = serde_json::to_string_pretty(&quiet)?;
        writeln!(out, "{}", harmless::visible_json(&json))?;
    } else {
        table::write(&quiet, &mut out)?;
    }
    out.flush()?;
    Ok(if quiet.is_well() {
        Exit::Fine
    } else {
        Exit::No
    })
}

/// The period that this command judges by: what it is told, else the client's `expect_every`, else
/// three days. What uploads show isn't used, so that the exit code means the same for each client.
fn period(configured: Period, told: Option<SignedDuration>) -> Period {
    match (told, configured.source) {
        (Some(every), _) => Period {
            every,
            source: PeriodSource::Known,
        },
        (None, PeriodSource::Known) => configured,
        (None, PeriodSource::Learned | PeriodSource::Assumed) => Period::ASSUMED,
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration = Duration::read(text).map_err(|mistake| mistake.help.into_owned())?;
    if duration.is_zero() {
        return Err("write a duration above zero: 3d".to_owned());
    }
    SignedDuration::try_from(duration).map_err(|error| error.to_string())
}
