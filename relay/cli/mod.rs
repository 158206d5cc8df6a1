//! The command line: a file a command, results on standard output, logs on standard error.

mod audit;
mod certs;
mod check;
mod config;
mod demo;
mod exit;
mod explain;
mod health;
mod manual;
mod out;
mod serve;
mod zvm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::ConfigSource;
use exit::Exit;

/// An allowlisting CONNECT relay for Zerto call home: the one box in the DMZ that your ZVMs may reach.
#[derive(Debug, Parser)]
#[command(name = "callhome-relay", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay; without a configuration file, with the built-in defaults
    Serve(ConfigArg),
    /// Walk every destination hop by hop from where the relay stands, and say what is wrong and what to do next
    Check(check::Args),
    /// Show a relay at work, without a network: a stand-in server, three machines, what gets through and what doesn't
    Demo(demo::Args),
    /// Say what policy decides for a client and a target, and by which rule
    Explain(explain::Args),
    /// Print the default file, the effective configuration, or its JSON Schema
    #[command(subcommand)]
    Config(config::Command),
    /// Prove the audit trail, follow it, sum it up, convert it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Ask the running relay's admin listener how it is
    Health(health::Args),
    /// Make a CA, the relay's certificate, and certificates for its clients
    Certs(certs::Args),
    /// Set up Zerto's machines
    #[command(subcommand)]
    Zvm(zvm::Command),
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(manual::ManArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file [default: /etc/callhome-relay/relay.toml, if it is there]
    #[arg(long, env = "CALLHOME_RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command line and gives the exit code.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and belong on standard output.
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Fine
            };
            let _ = error.print();
            return code.into();
        }
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Health(args) => health::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Zvm(command) => zvm::run(&command),
        Command::Completions(args) => manual::completions(&args, Cli::command()),
        Command::Man(args) => manual::man(&args, Cli::command()),
    };
    exit::code(result)
}

impl ConfigArg {
    /// The file that was named; else the usual one, if it exists; else the built-in defaults.
    fn source(&self) -> ConfigSource {
        ConfigSource::find(self.config.clone())
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 a check failed or a request was denied, 2 usage, 69 a port can't be had, 70 internal, 78 bad configuration";
