//! `audit keygen`: makes the first key before the relay runs, so that its public half is kept
//! elsewhere from the start.

use std::io::Write as _;

use anyhow::Context as _;

use super::TrailArg;
use crate::audit;
use crate::cli::exit::Exit;
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeygenArgs {
    #[command(flatten)]
    trail: TrailArg,
}

pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<Exit> {
    let directory = args.trail.path()?;
    let key = audit::generate(&directory)
        .with_context(|| format!("a key for {}", directory.display()))?;
    writeln!(out::stdout(), "{}", key.as_str())?;
    Ok(Exit::Fine)
}
