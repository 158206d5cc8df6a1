//! `certs`: OpenSSL accepts what it makes, each certificate for its own use alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::foreign::tools;
use crate::support::certs::{CLIENT, Made, RELAY};
use crate::support::command::{BINARY, finish, finish_within};

#[test]
fn openssl_takes_each_for_its_own_use() {
    let pki = Made::full();
    let other = Made::full();
    let verify = |ca: &Made, purpose: &str, more: &[&str], file: &str| {
        let ca = ca.path("ca.pem");
        let args = [
            "verify",
            "-x509_strict",
            "-CAfile",
            &ca,
            "-purpose",
            purpose,
        ];
        let ran = finish(openssl(&[&args, more, &[&pki.path(file)]].concat()));
        ran.code == Some(0) && ran.stdout.trim().ends_with(": OK")
    };
    let client = "client-zvm-ams-1.pem";
    assert!(verify(
        &pki,
        "sslserver",
        &["-verify_hostname", RELAY],
        "relay.pem"
    ));
    assert!(verify(
        &pki,
        "sslserver",
        &["-verify_ip", "192.0.2.10"],
        "relay.pem"
    ));
    assert!(verify(
        &pki,
        "sslserver",
        &["-verify_ip", "2001:db8::1"],
        "relay.pem"
    ));
    assert!(verify(
        &pki,
        "sslclient",
        &["-verify_hostname", CLIENT],
        client
    ));
    assert!(!verify(
        &pki,
        "sslserver",
        &["-verify_hostname", "other.example"],
        "relay.pem"
    ));
    assert!(!verify(&pki, "sslclient", &[], "relay.pem"));
    assert!(!verify(&pki, "sslserver", &[], client));
    assert!(!verify(&other, "sslserver", &[], "relay.pem"));
    assert!(!verify(&other, "sslclient", &[], client));
}

#[test]
fn openssl_shows_the_fingerprint_that_the_command_told() {
    let pki = Made::new();
    let ran = pki.make(&["--name", RELAY]);
    let ca = pki.path("ca.pem");
    let shown = finish(openssl(&[
        "x509",
        "-noout",
        "-fingerprint",
        "-sha256",
        "-in",
        &ca,
    ]));
    let (_, fingerprint) = shown.stdout.trim().split_once('=').unwrap();
    assert!(ran.stdout.contains(fingerprint), "{}", ran.stdout);
}

/// `certs/make` drives the command and has OpenSSL judge the result.
#[test]
fn the_script_makes_and_judges() {
    tools::need(&["openssl"]);
    let pki = Made::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    let dir = pki.dir().display().to_string();
    let make = |args: &[&str]| {
        let mut command = Command::new(&script);
        command.args(args).env("CALLHOME_RELAY", BINARY);
        finish_within(command, Duration::from_secs(30))
    };
    let ran = make(&[&dir, RELAY, CLIENT, "zvm-fra-1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        ran.stdout.matches(".pem: OK\n").count(),
        3,
        "{}",
        ran.stdout
    );
    assert_eq!(
        make(&[&dir, RELAY]).code,
        Some(1),
        "the relay has one already"
    );
    let usage = make(&[]);
    assert_eq!(usage.code, Some(2));
    assert!(usage.stderr.contains("certs/make DIR RELAY-NAME"));
}

fn openssl(args: &[&str]) -> Command {
    let mut command = tools::command("openssl");
    command.args(args);
    command
}
