//! Parses the command line, and has a file for each command. Results go to standard output, logs to
//! standard error.
//!
//! Every command uses `out` and `exit`. These two import no command, so that the imports have no
//! circle.

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

/// An allowlisting CONNECT relay for Zerto call home: the one box in the DMZ that your ZVMs may
/// reach.
#[derive(Debug, Parser)]
#[command(name = "callhome-relay", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay, with the built-in defaults if there is no configuration file
    Serve(ConfigArg),
    /// Check the configuration, then the way from here to each destination, hop by hop: for a
    /// failure it names the likely cause and the next step
    Check(check::CheckArgs),
    /// Show a relay at work without a network: a stand-in server, three machines, uploads that are
    /// allowed and refused
    Demo(demo::DemoArgs),
    /// Explain what policy decides for a client and a target, and by which rule
    Explain(explain::ExplainArgs),
    /// Print the default file, the effective configuration, or its JSON Schema
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Verify the audit trail, follow it, report on it, convert it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Ask the running relay's admin listener whether the relay is ready
    Health(health::HealthArgs),
    /// Make a CA, the relay's certificate, and certificates for its clients
    Certs(certs::CertsArgs),
    /// Point Zerto's machines at the relay
    #[command(subcommand)]
    Zvm(zvm::ZvmCommand),
    /// Print the completions for a shell
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write a page for each command
    Man(manual::ManArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file [default: /etc/callhome-relay/relay.toml, if it exists]
    #[arg(long, env = "CALLHOME_RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command line, and gives the exit code.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap returns help and version as errors too, and prints them on standard output.
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
    /// Gives the file that was named. Otherwise it gives the usual file if that exists, or else the
    /// built-in defaults.
    fn source(&self) -> ConfigSource {
        ConfigSource::find(self.config.clone())
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 a check failed or a request was denied, 2 wrong usage, 69 a port can't be bound, 70 internal error, 78 bad configuration";
