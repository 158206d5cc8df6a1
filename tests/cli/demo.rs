//! `demo`: what it shows has really happened.

use std::fs;

use serde_json::Value;

use crate::support::command::{binary, finish, run};
use crate::support::demo::shows_every_step;

#[test]
fn the_demo_shows_what_happened() {
    shows_every_step(&run(&["demo"]));
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
