//! `audit export`: converts the trail to the format of another program.

use std::io::{BufWriter, Write as _};

use callhome_trail::export::ExportFormat;
use callhome_trail::{Line, LineError, Reader, Record, harmless};
use clap::ValueEnum;

use super::TrailArg;
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    trail: TrailArg,
    #[arg(long, value_enum)]
    format: FormatArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// Squid's native access.log, one line a session
    Squid,
    /// NCSA combined, one line a session
    Combined,
    /// A header, then one line a session
    Csv,
    /// Elastic Common Schema, one JSON object a record
    Ecs,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<Exit> {
    let format = ExportFormat::from(args.format);
    let mut out = BufWriter::new(out::stdout());
    let mut reader = Reader::open(&args.trail.path()?)?;
    let mut next = 0;
    let mut exit = Exit::Fine;
    if let Some(header) = format.header() {
        writeln!(out, "{header}")?;
    }
    loop {
        let raw = match reader.next_line() {
            Ok(Some(raw)) => raw,
            Ok(None) => break,
            // A file that can't be opened ends the export. Of a damaged file only the rest is left
            // out.
            Err(error) => {
                if reader.place().is_none() {
                    return Err(error.into());
                }
                out::error_line(&harmless::visible(&error.to_string()));
                exit = Exit::No;
                reader.skip_file();
                continue;
            }
        };
        let what = match Line::parse(raw.bytes) {
            // A line that comes a second time is the same record.
            Ok(line) if line.seq < next => continue,
            Ok(line) => {
                next = line.seq.saturating_add(1);
                let record = Record::of(&line);
                if let Some(text) = record.as_ref().and_then(|record| format.line(record)) {
                    writeln!(out, "{text}")?;
                }
                if record.is_some() {
                    continue;
                }
                UNKNOWN.to_owned()
            }
            // The relay is writing this line now.
            Err(LineError::NotARecord) if !raw.whole => continue,
            Err(error) => error.to_string(),
        };
        out::error_line(&harmless::visible(&format!("{}: {what}", raw.place)));
        exit = Exit::No;
    }
    out.flush()?;
    Ok(exit)
}

impl From<FormatArg> for ExportFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Squid => Self::Squid,
            FormatArg::Combined => Self::Combined,
            FormatArg::Csv => Self::Csv,
            FormatArg::Ecs => Self::Ecs,
        }
    }
}

const UNKNOWN: &str = "a record that this version doesn't know";
