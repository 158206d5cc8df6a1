//! What the commands say of such listeners.

use crate::support::command::{ConfigFile, run, serve_file};
use crate::support::pki::Pki;

#[test]
fn certificates_that_cannot_be_used_are_a_bad_configuration() {
    let pki = Pki::with_relay();
    std::fs::write(pki.path("empty"), "").unwrap();
    for (certificate, key, says) in [
        ("missing.pem", "relay.key", "missing.pem: No such file"),
        ("relay.pem", "missing.key", "missing.key: No such file"),
        ("empty", "relay.key", "empty: there is no certificate in it"),
        (
            "relay.pem",
            "relay.pem",
            "relay.pem: there is no private key in it",
        ),
    ] {
        let (certificate, key) = (pki.name(certificate), pki.name(key));
        let listener = format!(
            "[[listener]]\nname = \"https\"\nbind = \"127.0.0.1:0\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n"
        );
        let file = ConfigFile::new(&serve_file(&listener));
        for command in [&["serve"][..], &["check", "--offline"]] {
            let name = file.name();
            let ran = run(&[command, &["--config", &name]].concat());
            assert_eq!(ran.code, Some(78), "{command:?}: {}", ran.stderr);
            assert!(
                ran.stderr.contains("the listener \"https\""),
                "{}",
                ran.stderr
            );
            assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        }
    }
}

#[test]
fn explain_takes_a_certificate() {
    let file = ConfigFile::new(
        "[[client]]\nname = \"zvm\"\ncertificate_names = [\"zvm-1\"]\nsources = [\"10.0.0.1\"]\n",
    );
    for (from, certificate, code, says) in [
        (
            "10.0.0.1",
            Some("zvm-1"),
            0,
            "by its certificate name zvm-1",
        ),
        ("10.0.0.2", Some("zvm-1"), 1, "which has no source 10.0.0.2"),
        (
            "10.0.0.1",
            Some("zvm-2"),
            1,
            "no client has the certificate name zvm-2",
        ),
        ("10.0.0.1", None, 1, "is known by its certificate"),
    ] {
        let name = file.name();
        let mut args = vec![
            "explain",
            "--config",
            &name,
            "--from",
            from,
            "--to",
            "ch3.zerto.com:443",
        ];
        args.extend(certificate.iter().flat_map(|name| ["--certificate", name]));
        let ran = run(&args);
        assert_eq!(ran.code, Some(code), "{} {}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(says), "{says}: {}", ran.stdout);
    }
}
