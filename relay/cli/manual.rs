//! `man` and `completions` print what a package installs beside the binary. Both use the
//! definitions by which the binary parses its arguments.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::out;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell that is to complete
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, and replace those in it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(
    args: &CompletionsArgs,
    mut command: clap::Command,
) -> anyhow::Result<Exit> {
    let name = command.get_name().to_owned();
    // `generate` panics when its writer fails, so it writes to memory, which can't fail.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    out::stdout().write_all(&text)?;
    Ok(Exit::Fine)
}

pub(super) fn man(args: &ManArgs, command: clap::Command) -> anyhow::Result<Exit> {
    let command = command.disable_help_subcommand(true);
    let Some(directory) = &args.dir else {
        let mut text = Vec::new();
        Man::new(command).render(&mut text)?;
        out::stdout().write_all(&text)?;
        return Ok(Exit::Fine);
    };
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .with_context(|| directory.display().to_string())?;
    Ok(Exit::Fine)
}
