//! The commands, as a shell sees them: exit codes, outputs, signals.

mod admin;
mod config;
mod demo;
mod explain;
mod serve;
mod zvm;

use crate::support::command::{run, run_unread};

#[test]
fn help_and_version_go_to_standard_output() {
    for (args, expected) in [
        (["--help"].as_slice(), "Exit codes: 0 fine"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["explain", "--help"], "--from <ADDR>"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, Some(0), "{args:?}");
        assert!(ran.stdout.contains(expected), "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn wrong_usage_is_2_on_standard_error() {
    for (args, expected) in [
        ([].as_slice(), "Usage:"),
        (&["srve"], "'serve'"),
        (&["serve", "--no-such-option"], "--no-such-option"),
        (&["explain", "--from", "10.0.0.1"], "--to"),
        (
            &["explain", "--from", "10.0.0.0/8", "--to", "a.example:443"],
            "10.0.0.0/8",
        ),
        (&["health", "--admin", "localhost"], "--admin"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let explain = ["explain", "--from", "10.0.0.1", "--to", "ch3.zerto.com:443"];
    for args in [
        ["config", "default"].as_slice(),
        &["config", "show"],
        &["config", "schema"],
        &explain,
        &["demo"],
        &["demo", "--json"],
        &["zvm", "setup", "--relay", "relay.dmz.example:3128"],
        &["--help"],
    ] {
        let ran = run_unread(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr, "", "{args:?}");
    }
}

/// A site with an inventory and a destination of its own.
const SITE: &str = r#"
[[client]]
name = "zvm-ams-1"
role = "zvm"
sources = ["10.20.0.11"]

[[client]]
name = "zca-ams-1"
role = "zca"
sources = ["10.20.0.12"]
destinations = ["zerto-*"]

[[destination]]
name = "files"
hosts = ["*.example.com"]
ports = [8443]
ip_ranges = ["10.9.0.0/16"]
"#;
