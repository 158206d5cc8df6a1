//! `config` prints the default file, the effective configuration, or the file's schema.

use std::io::Write as _;

use clap::Subcommand;

use super::exit::Exit;
use super::{ConfigArg, out};
use crate::config::{self, Config};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the commented default file
    Default,
    /// Print the effective configuration, presets included
    Show(ConfigArg),
    /// Print the JSON Schema of the file
    Schema,
}

pub(super) fn run(command: &ConfigCommand) -> anyhow::Result<Exit> {
    let mut out = out::stdout();
    match command {
        ConfigCommand::Default => write!(out, "{}", config::default_file())?,
        ConfigCommand::Show(args) => write!(out, "{}", Config::load(&args.source())?.show())?,
        ConfigCommand::Schema => {
            writeln!(out, "{}", serde_json::to_string_pretty(&config::schema())?)?;
        }
    }
    Ok(Exit::Fine)
}
