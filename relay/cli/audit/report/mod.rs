//! `audit report`: sums up a month by client and destination, for people and for spreadsheets.

mod table;

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use callhome_trail::PublicKey;
use callhome_trail::harmless;
use callhome_trail::report::{ChainVerdict, Month, Report, Source, csv, read, xlsx};

use super::{TrailArg, verify};
use crate::cli::exit::Exit;
use crate::cli::{ConfigArg, out};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReportArgs {
    /// The trails, each a directory, a file, or `-` for standard input [default: the configured
    /// directory]
    #[arg(value_name = "DIR|FILE|-")]
    trails: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// The month, in UTC
    #[arg(long, value_name = "YYYY-MM")]
    month: Month,
    /// The first public key of the trail, in hexadecimal: checks the seals. With several trails,
    /// give one for each, in their order
    #[arg(long, value_name = "HEX", value_parser = verify::parse_key)]
    key: Vec<PublicKey>,
    #[command(flatten)]
    format: ReportFormat,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct ReportFormat {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// A header, then one line a client and destination
    #[arg(long)]
    csv: bool,
    /// A workbook: a summary, and a sheet a client
    #[arg(long, value_name = "FILE")]
    xlsx: Option<PathBuf>,
}

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    let paths = if args.trails.is_empty() {
        let configured = TrailArg {
            trail: None,
            config: args.config.clone(),
        };
        vec![configured.path()?]
    } else {
        args.trails.clone()
    };
    if !args.key.is_empty() && args.key.len() != paths.len() {
        out::error_line(&format!(
            "error: {} trails need as many keys, and {} are given",
            paths.len(),
            args.key.len()
        ));
        return Ok(Exit::Usage);
    }
    let mut keys = args.key.iter().cloned();
    let sources: Vec<_> = paths
        .into_iter()
        .map(|path| Source {
            path,
            key: keys.next(),
        })
        .collect();
    let bar = verify::progress_bar();
    let report = read(args.month, &sources, |reader| {
        bar.set_length(reader.size());
        bar.set_position(reader.position());
    });
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = &args.format.xlsx {
        // The workbook is made in memory. If that fails, a file that is there stays as it is.
        fs::write(path, xlsx::bytes(&report)?).with_context(|| path.display().to_string())?;
        warn(&report);
    } else {
        let mut out = BufWriter::new(out::stdout());
        if args.format.json {
            let json = serde_json::to_string_pretty(&report)?;
            writeln!(out, "{}", harmless::visible_json(&json))?;
        } else if args.format.csv {
            csv::write(&report, &mut out)?;
            warn(&report);
        } else {
            table::write(&report, &mut out)?;
        }
        out.flush()?;
    }
    Ok(if is_sound(&report) {
        Exit::Fine
    } else {
        Exit::No
    })
}

/// Whether every trail is unchanged, as far as the chain and the seals prove it. A declared gap is
/// in the report, and isn't an error.
fn is_sound(report: &Report) -> bool {
    report
        .trails
        .iter()
        .all(|trail| trail.verdict != ChainVerdict::Broken && trail.unread == 0)
}

/// Reports broken trails on standard error, because the rows of a file don't show them.
fn warn(report: &Report) {
    for trail in &report.trails {
        if let Some(broken) = &trail.broken {
            out::error_line(&harmless::visible(&format!(
                "{}: broken: {broken}",
                trail.path
            )));
        }
    }
}
