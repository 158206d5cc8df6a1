//! `audit schema`: prints the JSON Schema of a record, for programs.

use std::io::Write as _;

use crate::cli::exit::Exit;
use crate::cli::out;

pub(super) fn run() -> anyhow::Result<Exit> {
    let schema = serde_json::to_string_pretty(&callhome_trail::schema())?;
    writeln!(out::stdout(), "{schema}")?;
    Ok(Exit::Fine)
}
