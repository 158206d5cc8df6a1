//! The files in `systemd/`, which are shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(shipped(name)).unwrap()
}

/// Returns whether a command succeeded, and all that it printed.
pub(crate) fn said(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
