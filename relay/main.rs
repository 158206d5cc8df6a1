//! The `callhome-relay` command. Everything is in the library; this gives its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    callhome_relay::cli::run()
}
