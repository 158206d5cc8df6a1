//! The reports and the warnings that a file gets.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{FULL, environment, parse, refused};
use crate::config::{Config, ConfigSource, default_file};

#[test]
fn suspicious_files_are_warned_about() {
    let replaced = "zerto_v9_ip_ranges = [\"192.0.2.0/24\"]\n[[destination]]\nname = \"zerto-billing-9\"\nhosts = [\"ch3.zerto.com\"]\n";
    for (text, words) in [
        (replaced, "drops zerto_v9_ip_ranges"),
        ("preset = \"none\"", "the allowlist is empty"),
        ("preset_groups = []", "the allowlist is empty"),
        (
            "preset = \"none\"\n[[destination]]\nname = \"a\"\nhosts = []",
            "the allowlist is empty",
        ),
        (
            "preset_groups = [\"licensing\"]\nzerto_v9_ip_ranges = [\"192.0.2.0/24\"]",
            "guards nothing",
        ),
        (
            "preset = \"none\"\npreset_groups = [\"billing\"]",
            "preset_groups has no effect",
        ),
        ("[clients]\nunlisted = \"any\"", "unlisted = \"any\""),
        (
            "[[client]]\nname = \"a\"\ncertificate_names = [\"a\"]",
            "no listener has a client_ca",
        ),
        (
            "[[listener]]\nname = \"tls\"\nbind = \"[::]:1\"\ntls = { certificate = \"a\", key = \"b\", client_ca = \"c\" }",
            "everyone will be refused on the listener tls",
        ),
        (
            "[[listener]]\nname = \"a\"\nbind = \"[::]:1\"\nproxy_protocol_from = [\"10.0.0.5\", \"::/0\"]",
            "proxy_protocol_from has ::/0",
        ),
        (
            "preset_groups = [\"billing\"]\n[[client]]\nname = \"old\"\nversion = \"8\"\nsources = [\"10.0.0.1\"]",
            "no destination counts as billing for old:",
        ),
        (
            "[policy]\nreport_only_until = 2026-12-01T08:00:00Z",
            "report_only_until has no effect",
        ),
    ] {
        let warnings = parse(text).warnings;
        assert!(
            warnings.iter().any(|it| it.contains(words)),
            "{text}: {warnings:?}"
        );
    }
    let guarded = format!("{replaced}ip_ranges = [\"192.0.2.0/25\"]");
    assert_eq!(parse(&guarded).warnings, Vec::<String>::new());
    assert_eq!(parse(&guarded).policy.destinations().len(), 2);
}

/// Each file of `testdata` has one mistake, and its exact report is beside it. With
/// `UPDATE_EXPECT=1` the test writes the reports anew.
#[test]
fn each_mistake_is_shown_at_its_place() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay/config/testdata");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 20);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let report = match Config::parse_in(&text, &name, &environment()) {
            Ok(_) => panic!("{name} is read without a mistake"),
            Err(error) => error.to_string() + "\n",
        };
        // The report must show the place of every mistake.
        assert!(report.contains(&format!("--> {name}:")), "{report}");
        let expected = file.with_extension("txt");
        if update {
            fs::write(&expected, &report).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != report {
            wrong.push(report);
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_reported_and_summed_up_in_a_line() {
    let text = "name = \"a\\nb\"\n[timeouts]\nidle = \"5\"\n[limits]\nrequest_head = \"1B\"\n";
    let error = Config::parse_in(text, "relay.toml", &environment()).unwrap_err();
    for line in ["relay.toml:1:8", "relay.toml:3:8", "relay.toml:5:16"] {
        assert!(error.to_string().contains(line), "{error}");
    }
    assert_eq!(
        error.summary(),
        r"relay.toml:1:8: `a\nb` is not a name (and 2 more)"
    );
    assert!(!error.to_string().contains('\u{1b}'));
    assert!(error.render(true).contains('\u{1b}'));
}

#[test]
fn the_place_is_right_after_a_byte_order_mark_and_in_crlf_files() {
    assert!(refused("\u{feff}name = \"a\"\r\nnmae = \"b\"\r\n").contains("relay.toml:2:1"));
    assert!(refused("\u{feff}nmae = \"b\"\r\n").contains("nmae"));
    assert_eq!(&*parse("\u{feff}name = \"a\"\r\n").name, "a");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.toml");
    let load = || Config::load(&ConfigSource::File(path.clone()));
    let error = load().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("can't read the configuration: No such file"),
        "{error}"
    );
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert!(error.summary().starts_with(path.to_str().unwrap()));

    fs::write(&path, b"name = \"a\"\n# caf\xe9\n").unwrap();
    let error = load().unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    assert!(error.to_string().contains("relay.toml:2:6"), "{error}");

    fs::write(&path, "name = \"a\"\n").unwrap();
    assert_eq!(load().unwrap().source, ConfigSource::File(path.clone()));
    assert_eq!(
        ConfigSource::find(Some(path.clone())),
        ConfigSource::File(path.clone())
    );
}

proptest! {
    /// A damaged file is read, or refused with a report. What is read is shown as the same again.
    #[test]
    fn no_file_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(String::new()), "[ -~\n]", "[0-9\"\\[\\]{}=.,#*/:-]{1,3}", "\\PC",
        ]), 0..6),
        full: bool,
    ) {
        let mut text: Vec<char> = if full { FULL } else { default_file() }.chars().collect();
        for (at, new) in edits {
            let at = at.index(text.len());
            text.splice(at..=at, new.chars());
        }
        let text: String = text.into_iter().collect();
        match Config::parse_in(&text, "relay.toml", &environment()) {
            Ok(config) => {
                let again = Config::parse_in(&config.show(), "shown", &environment());
                prop_assert_eq!(config.digest, again.map_or_else(|error| error.to_string(), |it| it.digest));
            }
            Err(error) => {
                prop_assert!(error.render(true).len() >= error.to_string().len());
                prop_assert!(!error.summary().contains('\n'));
            }
        }
    }
}
