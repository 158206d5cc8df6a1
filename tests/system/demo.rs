//! `demo` on a machine without a network.

use std::time::{Duration, Instant};

use crate::foreign::tools;
use crate::namespace;
use crate::support::command::{BINARY, Ran, finish};
use crate::support::demo::shows_every_step;

#[test]
fn the_demo_needs_no_network_and_shows_what_happened() {
    tools::need(&["ip"]);
    let ran = without_network("ip link set lo up && exec \"$0\" \"$@\"");
    shows_every_step(&ran);
}

#[test]
fn the_demo_says_when_there_is_not_even_loopback() {
    let start = Instant::now();
    let ran = without_network("exec \"$0\" \"$@\"");
    assert_eq!(ran.code, Some(70), "{}", ran.stdout);
    assert!(ran.stderr.contains("loopback"), "{}", ran.stderr);
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Runs the demo by this script, where there is no network but what the script sets up.
fn without_network(script: &str) -> Ran {
    let mut command = namespace::shell(&["--net"], script);
    command.args([BINARY, "demo"]);
    finish(command)
}
