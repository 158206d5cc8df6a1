//! `audit`: proves the trail, and shows it to people and to other programs.

mod clock;
mod export;
mod filter;
mod keygen;
mod quiet;
mod report;
mod schema;
mod tail;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::ConfigArg;
use super::exit::Exit;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Prove that no record was changed, removed, inserted or moved
    Verify(verify::VerifyArgs),
    /// Show the records to people, as they are or as they come
    Tail(tail::TailArgs),
    /// Sum up a month, by client and destination
    Report(report::ReportArgs),
    /// Say which clients haven't called home, since when, and why
    Quiet(quiet::QuietArgs),
    /// Convert the records for another program
    Export(export::ExportArgs),
    /// Print the JSON Schema of a record
    Schema,
    /// Show by how much the clock jumped ahead, and confirm that the time has passed
    Clock(clock::ClockArgs),
    /// Make the first key that seals a trail, and print its public half
    Keygen(keygen::KeygenArgs),
}

/// The argument that names the trail.
#[derive(Clone, Debug, clap::Args)]
struct TrailArg {
    /// The trail: its directory, one of its files, or `-` for standard input [default: the
    /// configured directory]
    #[arg(value_name = "DIR|FILE|-")]
    trail: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(command: &AuditCommand) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify::run(args),
        AuditCommand::Tail(args) => tail::run(args),
        AuditCommand::Report(args) => report::run(args),
        AuditCommand::Quiet(args) => quiet::run(args),
        AuditCommand::Export(args) => export::run(args),
        AuditCommand::Schema => schema::run(),
        AuditCommand::Clock(args) => clock::run(args),
        AuditCommand::Keygen(args) => keygen::run(args),
    }
}

impl TrailArg {
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(trail) = &self.trail {
            return Ok(trail.clone());
        }
        let config = Config::load(&self.config.source())?;
        config
            .audit
            .directory
            .ok_or_else(|| anyhow::anyhow!("no [audit] directory is configured: name the trail"))
    }
}
