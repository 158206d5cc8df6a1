//! `zvm setup` prints the exact commands for one relay, to be pasted, or as a script.
//!
//! It fills the relay's address into one of two files beside this one. The address is an
//! [`Authority`], which has letters, digits, hyphens, dots, colons and brackets only. So it holds
//! nothing that a shell or PowerShell would run.

use std::io::Write as _;

use clap::ValueEnum;

use crate::authority::Authority;
use crate::cli::exit::Exit;
use crate::cli::out;
use crate::config::Config;
use crate::policy::{HostPattern, Purpose};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SetupArgs {
    /// The relay's name or address, and its port, as the ZVM reaches it
    #[arg(long, value_name = "HOST:PORT")]
    relay: Authority,
    /// What to print: commands with explanations, or a PowerShell script that takes `-WhatIf`
    #[arg(long, value_enum, default_value_t = ScriptFormat::Text)]
    format: ScriptFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScriptFormat {
    Text,
    Powershell,
}

pub(super) fn run(args: &SetupArgs) -> anyhow::Result<Exit> {
    let template = match args.format {
        ScriptFormat::Text => include_str!("setup.txt"),
        ScriptFormat::Powershell => include_str!("setup.ps1"),
    };
    let (first, others) = billing_hosts()?;
    let text = template
        .replace("@RELAY@", &args.relay.to_string())
        .replace("@HOST@", &first)
        .replace("@OTHERS@", &others.join(", "));
    out::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Fine)
}

/// Gives the billing hosts of the vendor's list in this binary: the host for the newest Zerto, and
/// the others with their versions.
fn billing_hosts() -> anyhow::Result<(String, Vec<String>)> {
    let config = Config::built_in()?;
    let mut hosts = config
        .policy
        .destinations()
        .iter()
        .filter(|destination| destination.purpose == Purpose::Billing)
        .flat_map(|destination| {
            let exact = destination.hosts.iter().filter_map(|host| match host {
                HostPattern::Exact(name) => Some(name),
                HostPattern::Below(_) => None,
            });
            exact.map(|name| (name.to_string(), destination.versions))
        });
    let (first, _) = hosts
        .next()
        .ok_or_else(|| anyhow::anyhow!("the list in this binary has no billing host"))?;
    let others = hosts.map(|(name, versions)| match versions {
        Some(versions) => format!("{name} for Zerto {versions}"),
        None => name,
    });
    Ok((first, others.collect()))
}
