//! `explain`: the decision and how it came about.

use serde_json::Value;

use super::SITE;
use crate::support::command::{ConfigFile, Ran, run};

#[test]
fn explain_says_by_which_client_destination_and_rule() {
    let file = ConfigFile::new(SITE);
    let ran = explain(&file, "10.20.0.11", "CH3.zerto.com.:443", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        row(&ran, "client"),
        "zvm-ams-1 (zvm), by its source 10.20.0.11/32"
    );
    assert_eq!(row(&ran, "target"), "ch3.zerto.com:443");
    assert!(row(&ran, "destination").starts_with("zerto-billing-9 (preset"));
    assert_eq!(row(&ran, "decision"), "allow");

    let ran = explain(&file, "10.20.0.11", "files.example.com:8443", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    assert_eq!(row(&ran, "destination"), "files (the site's own)");
}

#[test]
fn explain_says_why_not() {
    let file = ConfigFile::new(SITE);
    for (from, to, reason) in [
        ("10.20.0.11", "other.example:443", "destination_not_allowed"),
        ("10.20.0.11", "192.0.2.1:443", "destination_not_allowed"),
        ("10.20.0.11", "ch3.zerto.com:22", "port_not_allowed"),
        ("10.20.0.99", "ch3.zerto.com:443", "client_not_allowed"),
        // zca-ams-1 is listed and may not go there.
        (
            "10.20.0.12",
            "files.example.com:8443",
            "destination_not_allowed",
        ),
        ("10.20.0.11", "ch3.zerto.com", "malformed_target"),
        ("10.20.0.11", "ch3.zerto.com:0443", "malformed_target"),
    ] {
        let ran = explain(&file, from, to, &[]);
        assert_eq!(ran.code, Some(1), "{from} {to}: {}", ran.stdout);
        assert_eq!(row(&ran, "decision"), format!("deny  {reason}"));
    }
}

#[test]
fn explain_judges_an_address() {
    let file = ConfigFile::new(SITE);
    for (to, address, decision) in [
        ("ch3.zerto.com:443", "20.0.0.1", "allow"),
        ("ch3.zerto.com:443", "10.0.0.1", "deny  address_not_allowed"),
        (
            "ch3.zerto.com:443",
            "::ffff:127.0.0.1",
            "deny  address_not_allowed",
        ),
        (
            "ch3.zerto.com:443",
            "169.254.169.254",
            "deny  address_not_allowed",
        ),
        ("files.example.com:8443", "10.9.0.7", "allow"),
        (
            "files.example.com:8443",
            "10.8.0.7",
            "deny  address_not_allowed",
        ),
        (
            "files.example.com:8443",
            "20.0.0.1",
            "deny  address_not_allowed",
        ),
    ] {
        let ran = explain(&file, "10.20.0.11", to, &["--address", address]);
        assert_eq!(row(&ran, "decision"), decision, "{to} {address}");
        assert_eq!(ran.code, Some(i32::from(decision != "allow")));
    }
}

#[test]
fn explain_judges_a_server_name() {
    let file = ConfigFile::new(SITE);
    for (name, decision) in [
        ("ch3.zerto.com", "allow"),
        ("CH3.ZERTO.COM.", "allow"),
        ("other.example", "deny  sni_mismatch"),
        ("", "deny  sni_missing"),
    ] {
        let ran = explain(&file, "10.20.0.11", "ch3.zerto.com:443", &["--sni", name]);
        assert_eq!(row(&ran, "decision"), decision, "{name:?}");
        assert_eq!(ran.code, Some(i32::from(decision != "allow")));
    }
}

#[test]
fn explain_tells_machines_the_same() {
    let file = ConfigFile::new(SITE);
    let told = |to: &str| {
        let ran = explain(&file, "10.20.0.11", to, &["--json"]);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, told)
    };
    let (code, allowed) = told("ch3.zerto.com:443");
    assert_eq!(code, Some(0));
    assert_eq!(allowed["decision"], "allow");
    assert_eq!(allowed["enforced"], true);
    assert_eq!(allowed["reason"], Value::Null);
    let (code, denied) = told("ch3.zerto.com:22");
    assert_eq!(code, Some(1));
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["reason"], "port_not_allowed");
    assert!(
        denied["destination"]
            .as_str()
            .unwrap()
            .starts_with("zerto-billing-9")
    );
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&allowed), keys(&denied));
}

fn explain(file: &ConfigFile, from: &str, to: &str, more: &[&str]) -> Ran {
    let name = file.name();
    let args = ["explain", "--config", &name, "--from", from, "--to", to];
    run(&[args.as_slice(), more].concat())
}

/// Returns the value of a row of `explain`.
fn row<'a>(ran: &'a Ran, label: &str) -> &'a str {
    ran.stdout
        .lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {label} in {}{}", ran.stdout, ran.stderr))
        .trim()
}
