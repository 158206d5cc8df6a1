//! `zvm`: for the people at the other end, who point Zerto's machines at the relay.

mod setup;

use clap::Subcommand;

use super::exit::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the commands that point a ZVM at the relay, read the setting back and undo it
    Setup(setup::Args),
}

pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Setup(args) => setup::run(args),
    }
}
