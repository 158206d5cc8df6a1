//! What the relay gives up at its start, and that it can do without.

mod inside;
mod kernel;
mod running;

use std::process::Command;

/// This very program, which runs one of its ignored tests.
fn own_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", name]);
    command
}
