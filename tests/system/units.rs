//! The files in `systemd/`, as systemd judges them.

use std::fs;

use crate::foreign::tools;
use crate::support::command::BINARY;
use crate::support::units::{read, said, shipped};

/// The highest level that `systemd-analyze security` may report. "OK" goes up to 4.
const EXPOSURE: f64 = 1.5;

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tools::command("systemd-analyze");
    command.arg("verify");
    for name in ["callhome-relay.service", "callhome-relay-proxy.socket"] {
        // `systemd-analyze` wants the program to exist.
        let text = read(name).replace("/usr/bin/callhome-relay ", &format!("{BINARY} "));
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        command.arg(path);
    }
    assert_eq!(said(&mut command), (true, String::new()));
}

#[test]
fn the_service_is_exposed_as_little_as_promised() {
    let mut command = tools::command("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]);
    let (_, said) = said(command.arg(shipped("callhome-relay.service")));
    let level = said
        .rsplit_once("Overall exposure level for callhome-relay.service: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok())
        .unwrap_or_else(|| panic!("{said}"));
    assert!(level <= EXPOSURE, "{said}");
}
