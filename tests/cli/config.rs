//! `config`, and what it answers to a file with mistakes.

use serde_json::Value;

use super::SITE;
use crate::support::command::{ConfigFile, Ran, binary, finish, run};

#[test]
fn the_default_file_means_the_defaults() {
    let default = run(&["config", "default"]);
    assert_eq!((default.code, default.stderr.as_str()), (Some(0), ""));
    let file = ConfigFile::new(&default.stdout);
    let shown = run(&["config", "show", "--config", &file.name()]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let built_in = run(&["config", "show"]);
    assert_eq!(shown.stdout, built_in.stdout);
    assert!(shown.stdout.contains("ch3.zerto.com"), "{}", shown.stdout);
}

#[test]
fn what_is_shown_is_a_file_that_means_the_same() {
    let file = ConfigFile::new(&format!("{SITE}[timeouts]\nidle = \"90s\"\n"));
    let shown = run(&["config", "show", "--config", &file.name()]);
    assert!(shown.stdout.contains("zvm-ams-1"), "{}", shown.stdout);
    let again = ConfigFile::new(&shown.stdout);
    let mut command = binary(&["config", "show"]);
    command.env("CALLHOME_RELAY_CONFIG", again.path());
    let again = finish(command);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    // Only the preset's provenance is lost, because it is in comments.
    let keys = |ran: &Ran| {
        let lines = ran.stdout.lines();
        let keys = lines.filter(|line| !line.starts_with('#'));
        keys.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(keys(&again), keys(&shown));
}

#[test]
fn the_schema_has_every_key_of_the_default_file() {
    let schema = run(&["config", "schema"]);
    assert_eq!(schema.code, Some(0));
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    for key in [
        "name",
        "preset",
        "preset_groups",
        "zerto_v9_ip_ranges",
        "listener",
        "client",
        "clients",
        "destination",
        "policy",
        "dns",
        "timeouts",
        "limits",
        "audit",
        "admin",
        "log",
    ] {
        assert!(keys.iter().any(|known| *known == key), "{key} in {keys:?}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_mistake_is_told_with_its_place_its_text_and_the_nearest_key() {
    let file =
        ConfigFile::new("preset = \"zerto\"\n\n[timeouts]\nconnect = \"5s\"\n  idel = \"5m\"\n");
    let place = format!("{}:5:3", file.name());
    let name = file.name();
    let explain = ["--from", "10.0.0.1", "--to", "a.example:443"];
    for args in [
        ["serve"].as_slice(),
        &["config", "show"],
        &[&["explain"], explain.as_slice()].concat(),
    ] {
        let ran = run(&[args, &["--config", &name]].concat());
        assert_eq!(ran.code, Some(78), "{args:?}");
        assert_eq!(ran.stdout, "");
        for part in [&place, "idel = \"5m\"", "unknown key `idel`", "`idle`"] {
            assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
        }
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let file = ConfigFile::new("[timeouts]\nidle = \"soon\"\n[dns]\nservers = []\n");
    let ran = run(&["config", "show", "--config", &file.name()]);
    assert_eq!(ran.code, Some(78));
    for part in ["relay.toml:2:8", "`soon`", "relay.toml:4:11", "servers"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
}

#[test]
fn a_file_that_cant_be_read_is_78() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    for path in [missing.as_path(), directory.path()] {
        let path = path.display().to_string();
        let ran = run(&["serve", "--config", &path]);
        assert_eq!(ran.code, Some(78), "{}", ran.stderr);
        assert!(ran.stderr.contains(&path), "{}", ran.stderr);
        assert!(ran.stderr.contains("can't read"), "{}", ran.stderr);
    }
}
