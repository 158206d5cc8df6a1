//! `demo`: what it shows has happened.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::{BINARY, Ran, binary, finish, run};

#[test]
fn the_demo_needs_no_network_and_shows_what_happened() {
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let ran = without_network(script, &["demo"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("Nothing leaves this machine"));
    let steps = [
        ("zvm-demo", "same SHA-256", "allow zerto-billing-9"),
        ("zca-demo", "same SHA-256", "allow zerto-billing-9"),
        (
            "unlisted",
            "403 client_not_allowed",
            "deny client_not_allowed",
        ),
        (
            "zvm-demo",
            "403 destination_not_allowed",
            "deny destination_not_allowed",
        ),
        ("zvm-demo", "403 port_not_allowed", "deny port_not_allowed"),
        (
            "zvm-demo",
            "TLS alert unrecognized_name",
            "deny sni_mismatch",
        ),
        ("zvm-demo", "closed without a byte", "deny not_tls"),
    ];
    let ok: Vec<_> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok "))
        .collect();
    assert_eq!(ok.len(), steps.len() + 2, "{}", ran.stdout);
    for ((machine, saw, recorded), line) in steps.into_iter().zip(&ok) {
        for part in [machine, saw, recorded] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    assert!(ok[7].contains("chain whole"), "{}", ok[7]);
    assert!(
        ok[8].contains("changed in a copy: broken at record"),
        "{}",
        ok[8]
    );
    assert!(ran.stdout.contains("callhome-relay serve"));
}

#[test]
fn the_demo_tells_machines_the_same_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = binary(&["demo", "--json"]);
    command.env("TMPDIR", directory.path());
    let ran = finish(command);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["as_expected"], true);
    assert!(
        told["seconds"].as_f64().unwrap() < 5.0,
        "{}",
        told["seconds"]
    );
    let upload = &told["steps"][0];
    assert_eq!(upload["saw"]["sent"], upload["saw"]["received"]);
    assert_eq!(upload["attempt"]["size"], 8 << 20);
    assert_eq!(upload["record"]["client"]["address"], "127.0.0.11");
    assert_eq!(upload["record"]["client"]["role"], "zvm");
    assert_eq!(told["trail"]["broken_at"], Value::Null);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_says_when_there_is_not_even_loopback() {
    if !can_unshare() {
        println!("skipped: no network namespace can be made here");
        return;
    }
    let start = Instant::now();
    let ran = without_network("exec \"$0\" \"$@\"", &["demo"]);
    assert_eq!(ran.code, Some(70), "{}", ran.stdout);
    assert!(ran.stderr.contains("loopback"), "{}", ran.stderr);
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Runs the script where there is no network but what it sets up; where that can't be had, with the network, and says so.
fn without_network(script: &str, args: &[&str]) -> Ran {
    if !can_unshare() {
        println!("with a network after all: no network namespace can be made here");
        return run(args);
    }
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", script, BINARY]);
    command.args(args);
    finish(command)
}

fn can_unshare() -> bool {
    Command::new("unshare")
        .args(["-rn", "ip", "link", "set", "lo", "up"])
        .output()
        .is_ok_and(|ran| ran.status.success())
}
