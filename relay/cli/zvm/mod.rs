//! `zvm` helps the people who point Zerto's machines at the relay.

mod setup;

use clap::Subcommand;

use super::exit::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum ZvmCommand {
    /// Print the commands that point a ZVM at the relay, read the setting back and undo it
    Setup(setup::SetupArgs),
}

pub(super) fn run(command: &ZvmCommand) -> anyhow::Result<Exit> {
    match command {
        ZvmCommand::Setup(args) => setup::run(args),
    }
}
