//! What the command writes, who can read it, and what it leaves alone.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::UnixTime;

use super::{clients_of, shake};
use crate::support::certs::{CLIENT, CLIENT_STEM, Made, RELAY, mode};
use crate::support::command::binary;
use crate::support::tls::digest;

#[test]
fn a_set_is_made_and_the_keys_are_their_owners() {
    let pki = Made::new();
    let ran = pki.make(&[
        "--name",
        "Relay.DMZ.example.",
        "--name",
        "192.0.2.10",
        "--name",
        "2001:db8::1",
        "--client",
        CLIENT,
        "--client",
        "zvm-ams-1.",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let modes: Vec<_> = pki.modes().into_iter().collect();
    let expected = [
        ("ca.key", 0o600),
        ("ca.pem", 0o644),
        ("client-zvm-ams-1.key", 0o600),
        ("client-zvm-ams-1.pem", 0o644),
        ("relay.key", 0o600),
        ("relay.pem", 0o644),
    ];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
    assert_eq!(mode(&pki.dir()), 0o700);
    for name in expected.map(|(name, _)| name) {
        let path = pki.path(name);
        assert!(ran.stdout.contains(&path), "{path} in {}", ran.stdout);
    }
    let fingerprint = fingerprint(&pki.certificate("ca.pem"));
    assert!(ran.stdout.contains(&fingerprint), "{}", ran.stdout);
    assert!(!ran.stdout.contains("PRIVATE") && ran.stderr.is_empty());
}

#[test]
fn the_ca_that_is_there_issues_what_is_made_later() {
    let pki = Made::new();
    assert_eq!(pki.make(&["--client", CLIENT]).code, Some(0));
    let before = pki.contents();
    assert_eq!(before.len(), 4);
    let ran = pki.make(&["--name", RELAY, "--client", "zvm-fra-1", "--days", "30"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let after = pki.contents();
    assert_eq!(after.len(), 8, "{:?}", after.keys());
    for (name, content) in &before {
        assert_eq!(&after[name], content, "{name}");
    }
    let tls = &rustls::version::TLS13;
    for client in [CLIENT_STEM, "client-zvm-fra-1"] {
        shake(&pki, &pki, client, &pki, "relay", RELAY, tls).unwrap();
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_made_beside_it() {
    let pki = Made::full();
    let before = pki.contents();
    for args in [
        &["--name", RELAY][..],
        &["--client", CLIENT],
        &["--client", "a-new-one", "--client", CLIENT],
        &["--client", "a-new-one", "--name", "new.example"],
    ] {
        let ran = pki.make(args);
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("is there already"), "{}", ran.stderr);
        assert_eq!(pki.contents(), before, "{args:?}");
    }
    // A dangling link counts as a file. The file that it names must not appear.
    let aim = pki.beside("aim");
    std::os::unix::fs::symlink(&aim, pki.dir().join("client-b.key")).unwrap();
    assert_eq!(pki.make(&["--client", "b"]).code, Some(1));
    assert!(!aim.exists());
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let pki = Made::new();
    // With its prefix and ending this name is longer than a file's name may be.
    let long = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(60),
    ]
    .join(".");
    let ran = pki.make(&["--name", RELAY, "--client", &long]);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(ran.stderr.contains(&long), "{}", ran.stderr);
    assert_eq!(pki.contents(), BTreeMap::new());
}

#[test]
fn of_many_at_once_one_makes_the_ca() {
    let pki = Made::new();
    let dir = pki.dir().display().to_string();
    let children: Vec<_> = (0..8)
        .map(|n| {
            let client = format!("c{n}");
            binary(&["certs", "--dir", &dir, "--client", &client])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let made = children
        .into_iter()
        .map(|mut child| child.wait().unwrap().success())
        .filter(|made| *made)
        .count();
    assert!(made >= 1);
    // Each run that succeeded has a certificate of the CA that stayed.
    let contents = pki.contents();
    assert_eq!(contents.len(), 2 + 2 * made, "{:?}", contents.keys());
    for name in contents
        .keys()
        .filter(|name| name.starts_with("client-"))
        .filter_map(|name| name.strip_suffix(".pem"))
    {
        let certificate = pki.certificate(&format!("{name}.pem"));
        let verified = clients_of(&pki).verify_client_cert(&certificate, &[], UnixTime::now());
        assert!(verified.is_ok(), "{name}: {:?}", verified.err());
    }
}

#[test]
fn a_ca_that_cannot_issue_is_refused() {
    let good = Made::full();
    let (pem, key) = (good.read("ca.pem"), good.read("ca.key"));
    let short = short_lived_ca();
    for (pem, key, says) in [
        (Some(pem.as_str()), None, "ca.key isn't"),
        (None, Some(key.as_str()), "ca.pem isn't"),
        (Some("nothing"), Some(&key), "no certificate in PEM"),
        (Some(&pem), Some("nothing"), "no private key in PEM"),
        (
            Some(&good.read("relay.pem")),
            Some(&good.read("relay.key")),
            "not the certificate of a CA",
        ),
        (Some(&pem), Some(&good.read("relay.key")), "another key"),
        (Some(&short.0), Some(&short.1), "the CA ends on 2030-01-02"),
    ] {
        let pki = Made::new();
        fs::create_dir_all(pki.dir()).unwrap();
        for (name, content) in [("ca.pem", pem), ("ca.key", key)] {
            if let Some(content) = content {
                fs::write(pki.dir().join(name), content).unwrap();
            }
        }
        let before = pki.contents();
        let ran = pki.make(&["--client", CLIENT, "--days", "3650"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{says}");
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        assert_eq!(pki.contents(), before);
    }
}

#[test]
fn wrong_usage_makes_no_directory() {
    for args in [
        &[][..],
        &["--name", ""],
        &["--name", "*.example.com"],
        &["--name", "relay.example:3128"],
        &["--name", "[::1]"],
        &["--name", "a\nb"],
        &["--client", "../../etc/passwd"],
        &["--client", "a/b"],
        &["--client", "10.0.0.1"],
        &["--client", "a_b"],
        &["--client", "a", "--days", "0"],
        &["--client", "a", "--days", "3651"],
        &["--client", "a", "--days", "-1"],
    ] {
        let pki = Made::new();
        let ran = pki.make(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert_eq!(ran.stdout, "");
        assert!(!pki.dir().exists(), "{args:?}");
    }
}

/// Writes a fingerprint as OpenSSL does, because an administrator compares it with that.
fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest(certificate).to_uppercase();
    let bytes: Vec<&str> = (0..digest.len())
        .step_by(2)
        .map(|at| &digest[at..at + 2])
        .collect();
    bytes.join(":")
}

fn short_lived_ca() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2030, 1, 2);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
