//! The files in `systemd/`, as far as they can be judged without systemd.

use std::fs;
use std::process::Command;

use crate::support::command::run;
use crate::support::units::{read, said, shipped};

/// Returns the values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_shipped_configuration_is_fine() {
    let file = shipped("relay.toml").display().to_string();
    let ran = run(&["check", "--offline", "--config", &file]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    // The examples in the comments are valid, too.
    let text = read("relay.toml");
    let example = |line| str::strip_prefix(line, "#").filter(|rest| !rest.starts_with(' '));
    let lines: Vec<_> = text
        .lines()
        .map(|line| example(line).unwrap_or(line))
        .collect();
    let uncommented = lines.join("\n");
    assert!(uncommented.contains("\n[[client]]\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.toml");
    fs::write(&file, uncommented).unwrap();
    let ran = run(&["check", "--offline", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

/// A socket that doesn't fit the configuration would be a start error.
#[test]
fn the_socket_is_the_listeners() {
    let socket = read("callhome-relay-proxy.socket");
    let file: toml::Table = read("relay.toml").parse().unwrap();
    let listeners = file["listener"].as_array().unwrap();
    let [listener] = listeners.as_slice() else {
        panic!("{listeners:?}");
    };
    let name = listener["name"].as_str().unwrap();
    assert_eq!(values(&socket, "FileDescriptorName"), [name]);
    let port = listener["bind"].as_str().unwrap().strip_prefix("[::]:");
    assert_eq!(values(&socket, "ListenStream"), [port.unwrap()]);
    assert_eq!(values(&socket, "Service"), ["callhome-relay.service"]);
}

/// Four files name the state directory, its owner and the trail in it.
#[test]
fn the_files_agree_on_the_user_and_the_trail() {
    let service = read("callhome-relay.service");
    let [user] = values(&service, "User")[..] else {
        panic!("{service}");
    };
    let [state] = values(&service, "StateDirectory")[..] else {
        panic!("{service}");
    };
    let sysusers = read("callhome-relay.sysusers");
    assert!(sysusers.contains(&format!("\nu {user} - ")), "{sysusers}");
    let tmpfiles = read("callhome-relay.tmpfiles");
    let [mode] = values(&service, "StateDirectoryMode")[..] else {
        panic!("{service}");
    };
    let line = format!("\nd /var/lib/{state} {mode} {user} {user} -");
    assert!(tmpfiles.contains(&line), "{tmpfiles}");
    let file: toml::Table = read("relay.toml").parse().unwrap();
    assert_eq!(
        file["audit"]["directory"].as_str().unwrap(),
        format!("/var/lib/{state}/audit")
    );
}

/// The unit's sandbox must let the relay make its own.
#[test]
fn the_unit_leaves_the_relay_the_calls_for_its_own_sandbox() {
    let service = read("callhome-relay.service");
    let last = values(&service, "SystemCallFilter").pop().unwrap();
    for call in [
        "capset",
        "landlock_add_rule",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "prctl",
        "seccomp",
    ] {
        assert!(last.split(' ').any(|it| it == call), "{call}: {last}");
    }
}

/// A setting is added where systemd knows it, and left out where it doesn't.
#[test]
fn a_reload_is_waited_for_where_systemd_can() {
    let directory = tempfile::tempdir().unwrap();
    let systemctl = directory.path().join("systemctl");
    let path = format!(
        "{}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    for (version, waits) in [
        ("252 (252.39-1~deb12u2)", false),
        ("249", false),
        ("253~rc2", true),
        ("257 (257.13-1~deb13u1)", true),
        ("1000.1", true),
    ] {
        // Another process writes the script. Otherwise a fork of a parallel test could hold it
        // open, and then it couldn't be run.
        let script = "printf '#!/bin/sh\\necho \"systemd %s\"; echo +PAM 100\\n' \"$1\" > \"$0\" && chmod +x \"$0\"";
        let mut write = Command::new("sh");
        let written = said(write.args(["-c", script]).arg(&systemctl).arg(version));
        assert_eq!(written, (true, String::new()));
        let out = directory.path().join(version);
        let mut command = Command::new(shipped("callhome-relay-generator"));
        let generated = said(command.arg(&out).env("PATH", &path));
        assert_eq!(generated, (true, String::new()));
        let dropped = fs::read_to_string(out.join("callhome-relay.service.d/notify-reload.conf"));
        let expected = "[Service]\nType=notify-reload\nExecReload=\n".to_owned();
        assert_eq!(dropped.ok(), waits.then_some(expected), "{version}");
    }
}
