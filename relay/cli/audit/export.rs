//! `audit export`: the trail in another program's format.

use std::io::{BufWriter, Write as _};

use clap::ValueEnum;

use super::TrailArg;
use crate::audit::{Entry, Line, LineError, Reader, export, text};
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    trail: TrailArg,
    #[arg(long, value_enum)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Squid's native access.log, one line a session
    Squid,
    /// NCSA combined, one line a session
    Combined,
    /// A header, then one line a session
    Csv,
    /// Elastic Common Schema, one JSON object a record
    Ecs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = export::Format::from(args.format);
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
            // One that can't be opened ends it; of one that ends badly the rest is lost, and no more.
            Err(error) => {
                if reader.place().is_none() {
                    return Err(error.into());
                }
                out::error_line(&text::visible(&error.to_string()));
                exit = Exit::No;
                reader.skip_file();
                continue;
            }
        };
        let what = match Line::parse(raw.bytes) {
            // A line that stands twice is one record.
            Ok(line) if line.seq < next => continue,
            Ok(line) => {
                next = line.seq.saturating_add(1);
                let entry = Entry::of(&line);
                if let Some(text) = entry.as_ref().and_then(|entry| format.line(entry)) {
                    writeln!(out, "{text}")?;
                }
                if entry.is_some() {
                    continue;
                }
                UNKNOWN.to_owned()
            }
            // The relay is writing it.
            Err(LineError::NotARecord) if !raw.whole => continue,
            Err(error) => error.to_string(),
        };
        out::error_line(&text::visible(&format!("{}: {what}", raw.place)));
        exit = Exit::No;
    }
    out.flush()?;
    Ok(exit)
}

impl From<Format> for export::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Squid => Self::Squid,
            Format::Combined => Self::Combined,
            Format::Csv => Self::Csv,
            Format::Ecs => Self::Ecs,
        }
    }
}

const UNKNOWN: &str = "a record that this version doesn't know";
