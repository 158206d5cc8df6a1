//! The tools of `tests/tools.txt`: where each is, and how a test fails that can't find its tool.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Prepares a command that runs this tool. Fails the test if the tool isn't installed.
pub(crate) fn command(name: &str) -> Command {
    Command::new(Tool::named(name).found())
}

/// Fails the test unless each of these tools is installed. Use it for tools that a script or
/// another tool runs.
pub(crate) fn need(names: &[&str]) {
    for name in names {
        Tool::named(name).found();
    }
}

/// Fails the test and says why in one line, which is written once even if many tests fail for the
/// same reason.
pub(crate) fn cannot_run(why: &str) -> ! {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap().insert(why.to_owned()) {
        // `eprintln!` would hold the line back until the report on this test.
        let _ = writeln!(io::stderr(), "{why}");
    }
    // A panic would print its place and a backtrace for each test. Resuming one prints nothing.
    resume_unwind(Box::new(()))
}

/// Returns the path for child processes. Debian keeps some tools where only root's shell looks.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// A line of the list.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// This file shows that the tool is installed. Without it the tool is a program on the path.
    file: Option<&'static str>,
}

impl Tool {
    fn named(name: &str) -> Self {
        LIST.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some(Self {
                    name: words.next()?,
                    package: words.next()?,
                    file: words.next(),
                })
            })
            .find(|tool| tool.name == name)
            .unwrap_or_else(|| panic!("{name} isn't in tests/tools.txt"))
    }

    fn found(&self) -> PathBuf {
        let found = match self.file {
            Some(pattern) => matching(pattern),
            None => on_path(self.name),
        };
        found.unwrap_or_else(|| {
            let Self { name, package, .. } = self;
            cannot_run(&format!(
                "missing: {name}, of the Debian package {package}; tests/run installs it"
            ))
        })
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    path()
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|file| file.is_file())
}

/// Returns the file with this path, in which one directory may be `*`.
fn matching(pattern: &str) -> Option<PathBuf> {
    let Some((directory, rest)) = pattern.split_once("/*/") else {
        return Some(PathBuf::from(pattern)).filter(|file| file.exists());
    };
    let entries = std::fs::read_dir(directory).ok()?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path().join(rest))
        .find(|file| file.exists())
}

const LIST: &str = include_str!("../tools.txt");
