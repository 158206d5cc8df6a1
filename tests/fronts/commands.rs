//! What the commands tell about such listeners.

use crate::support::command::{ConfigFile, Serving, run, serve_file};
use crate::support::pki::{Pki, Use};

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

/// A certificate that expires unnoticed stops every client at once. So the command warns a month
/// ahead, where an operator looks.
#[test]
fn the_end_of_a_certificate_is_said_in_time() {
    for (r#use, says) in [
        (Use::Server, None),
        (Use::Expiring, Some("ends in 6 days")),
        (Use::Expired, Some("has ended")),
    ] {
        let pki = Pki::new();
        pki.issue("relay", r#use, &["relay.example"]);
        let file = serve_file("").replace(
            "bind = \"127.0.0.1:0\"\n[dns]",
            &format!("bind = \"127.0.0.1:0\"\n{}\n[dns]", pki.tls(None)),
        );
        let keys = ConfigFile::new(&file);
        let ran = run(&["check", "--offline", "--config", &keys.name()]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let note = format!("listener proxy: its certificate {}", says.unwrap_or(""));
        assert_eq!(ran.stdout.contains(&note), says.is_some(), "{}", ran.stdout);
    }
    let pki = Pki::new();
    pki.issue("relay", Use::Expiring, &["relay.example"]);
    let relay = Serving::start(&format!(
        "[[listener]]\nname = \"https\"\nbind = \"127.0.0.1:0\"\n{}",
        pki.tls(None)
    ));
    relay.wait_for("the certificate of the listener \"https\" ends in 6 days");
    let (_, metrics) = relay.get("/metrics", &[]);
    let name = "callhome_relay_listener_certificate_not_after_seconds{listener=\"https\"} ";
    let end: i64 = metrics
        .split_once(name)
        .and_then(|(_, rest)| rest.lines().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{metrics}"));
    let days = (end - jiff::Timestamp::now().as_second()) / 86_400;
    assert!((5..=7).contains(&days), "{days}");
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
