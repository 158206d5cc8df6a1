//! `audit export`: converts the trail to the format of another program.

use std::io::{self, BufWriter, Write as _};

use callhome_trail::export::ExportFormat;
use callhome_trail::{Counted, Event, Line, LineError, Reader, Record, Seen, harmless};
use clap::ValueEnum;

use super::TrailArg;
use super::filter::Filter;
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    trail: TrailArg,
    #[arg(long, value_enum)]
    format: FormatArg,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// Squid's native access.log, one line a session
    Squid,
    /// NCSA combined, one line a session
    Combined,
    /// A header, then one line a session, and one for each reason of refusals counted together
    Csv,
    /// Elastic Common Schema, one JSON object a record
    Ecs,
}

/// What could not be exported.
#[derive(Debug, Default)]
struct NotExported {
    /// Whether a line, or the rest of a file, could not be read as records.
    unread: bool,
    /// Requests that the format has no place for, and their records.
    requests: u64,
    records: u64,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<Exit> {
    let format = ExportFormat::from(args.format);
    let mut out = BufWriter::new(out::stdout());
    let path = args.trail.path()?;
    let mut reader = Reader::open_within(&path, &args.filter.span())?;
    let mut matcher = args.filter.matcher();
    let mut seen = Seen::default();
    let mut not = NotExported::default();
    if let Some(header) = format.header() {
        writeln!(out, "{header}")?;
    }
    loop {
        let raw = match reader.next_line() {
            Ok(Some(raw)) => raw,
            Ok(None) => break,
            // A file that can't be opened ends the export, unless it was pruned meanwhile. Of a
            // damaged file only the rest is left out.
            Err(error) => {
                if reader.place().is_some() {
                    reader.skip_file();
                } else if !path.is_dir() || error.kind() != io::ErrorKind::NotFound {
                    return Err(error.into());
                }
                not.tell(&error.to_string());
                continue;
            }
        };
        let line = match Line::parse(raw.bytes) {
            Ok(line) => line,
            // The relay is writing this line now.
            Err(LineError::NotARecord) if !raw.whole => continue,
            Err(error) => {
                not.tell(&format!("{}: {error}", raw.place));
                continue;
            }
        };
        if !seen.insert(&line) {
            continue;
        }
        let Some(record) = known(&line) else {
            if args.filter.matches_unread(&line) != Some(false) {
                not.tell(&format!("{}: {UNKNOWN}", raw.place));
            }
            continue;
        };
        if matcher.matches(&record) {
            for text in format.lines(&record) {
                writeln!(out, "{text}")?;
            }
            let requests = format.leaves_out(&record);
            not.requests = not.requests.saturating_add(requests);
            not.records += u64::from(requests > 0);
        }
    }
    out.flush()?;
    Ok(not.finish())
}

/// Reads a record of which this version knows all that is exported.
fn known(line: &Line<'_>) -> Option<Record> {
    let record = Record::of(line)?;
    let is_known = record.event != Event::Refusals || Counted::of(&record).is_some();
    is_known.then_some(record)
}

impl NotExported {
    fn tell(&mut self, what: &str) {
        out::error_line(&harmless::visible(what));
        self.unread = true;
    }

    fn finish(self) -> Exit {
        let (requests, records) = (self.requests, self.records);
        if records > 0 {
            out::error_text(&format!(
                "note: {requests} requests that the relay counted together in {records} records are left out, because this format has no place for them"
            ));
        }
        if self.unread { Exit::No } else { Exit::Fine }
    }
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
