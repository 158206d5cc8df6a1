//! What the relay gives up at its start, and that it works without it.

mod inside;
mod kernel;
mod running;

use std::process::Command;

/// Prepares this test program to run one of its ignored tests.
fn own_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", name]);
    command
}
