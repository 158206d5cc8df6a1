//! The admin listener of a running relay.

use std::fs;

use super::serve::DENIED;
use crate::support::command::{ConfigFile, Serving, run, serve_file};

#[test]
fn metrics_count_what_happened() {
    let relay = Serving::start("");
    assert_eq!(relay.connect("other.example:443").0, DENIED);
    let (status, text) = relay.get("/metrics", &[]);
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let refused = text
        .lines()
        .find(|line| line.contains("reason=\"destination_not_allowed\""))
        .unwrap_or_else(|| panic!("no refusal in {text}"));
    assert!(refused.starts_with("callhome_relay_"), "{refused}");
    assert!(refused.ends_with(" 1"), "{refused}");
    assert_eq!(relay.get("/other", &[]).0, 404);
}

#[test]
fn another_host_is_misdirected() {
    let relay = Serving::start("hosts = [\"relay.dmz.example\"]\n");
    let port = relay.admin.port();
    for (host, expected) in [
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        (format!("localhost.evil.example:{port}"), 421),
        ("relay.dmz.example".to_owned(), 200),
        (format!("RELAY.dmz.example:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
    ] {
        let field = format!("Host: {host}");
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(relay.get(path, &[&field]).0, expected, "{host} {path}");
        }
    }
}

#[test]
fn a_token_protects_the_metrics_and_not_the_health() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "0123456789abcdef\n").unwrap();
    let relay = Serving::start(&format!("token_file = \"{}\"\n", secret.path().display()));
    assert_eq!(relay.get("/livez", &[]).0, 200);
    assert_eq!(relay.get("/readyz", &[]).0, 200);
    for (field, expected) in [
        ("X: y", 401),
        ("Authorization: Bearer 0123456789abcdeg", 401),
        ("Authorization: Bearer 0123456789abcde", 401),
        ("Authorization: Basic 0123456789abcdef", 401),
        ("Authorization: Bearer 0123456789abcdef", 200),
    ] {
        assert_eq!(relay.get("/metrics", &[field]).0, expected, "{field}");
    }
}

#[test]
fn a_short_token_is_78() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret\n").unwrap();
    let path = secret.path().display();
    let file = ConfigFile::new(&serve_file(&format!("token_file = \"{path}\"\n")));
    let ran = run(&["serve", "--config", &file.name()]);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    assert!(ran.stderr.contains("fewer than 16"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret\n"), "{}", ran.stderr);
}
