//! A kernel without Landlock, or a container whose runtime forbids it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

use super::own_test;
use crate::support::command::finish;
use crate::support::process::{Process, relay, write_config};
use crate::support::wait;

/// Prepares the relay where this system call doesn't exist.
fn without_landlock(directory: &Path) -> Command {
    let mut command = own_test("sandbox::kernel::becomes_a_relay");
    command.env("DIRECTORY", directory);
    command
}

#[test]
#[ignore = "the others run this in a process of its own"]
fn becomes_a_relay() {
    const LANDLOCK_CREATE_RULESET: i64 = 444;
    let filter = SeccompFilter::new(
        [(LANDLOCK_CREATE_RULESET, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(38),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
    let file = Path::new(&std::env::var_os("DIRECTORY").unwrap()).join("relay.toml");
    let error = relay().args(["serve", "--config"]).arg(file).exec();
    panic!("{error}");
}

#[test]
fn auto_takes_the_rest_and_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), "[sandbox]\nmode = \"auto\"", "");
    let process = Process::spawn(without_landlock(directory.path()));
    // One of the two filters is the test's.
    assert_eq!(process.status("Seccomp_filters"), ["2"]);
    assert_eq!(process.status("NoNewPrivs"), ["1"]);
    let measures = super::running::measures(directory.path());
    let measures = measures.as_array().unwrap();
    assert!(measures.contains(&"seccomp".into()), "{measures:?}");
    let landlock = |it: &Value| it.as_str().unwrap().contains("landlock");
    assert!(!measures.iter().any(landlock), "{measures:?}");
    wait::until("the warning", || {
        process
            .said()
            .contains("WARN [sandbox] landlock can't be had here: ")
    });
}

#[test]
fn require_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), "[sandbox]\nmode = \"require\"", "");
    let ran = finish(without_landlock(directory.path()));
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("[sandbox] landlock can't be had here: the kernel has no Landlock"),
        "{}",
        ran.stderr
    );
}
