//! What the relay gives up at its start, and that it can do without.

mod inside;
mod kernel;
mod names;
mod running;
mod user;

use std::fs;

use crate::support::process::Process;

/// A field of every thread's /proc/PID/task/TID/status, once each.
fn status(process: &Process, field: &str) -> Vec<String> {
    let mut values = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", process.id())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
        let value = value.unwrap_or_else(|| panic!("no {field}")).to_owned();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// This very program, which runs one of its ignored tests.
fn own_test(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", name]);
    command
}

/// Waits for something to come true.
fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}: it never came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Starts a command that doesn't become a relay, and gives its code and what it said.
fn refused(command: std::process::Command) -> (Option<i32>, String) {
    let ran = crate::support::command::finish(command);
    (ran.code, ran.stderr)
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
