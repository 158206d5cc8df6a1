//! Files that are made from the code and kept beside it. `UPDATE_EXPECT=1` writes them anew.

use std::fs;
use std::path::Path;

use super::reference;
use crate::support::command::run;
use crate::support::pages;

#[test]
fn manual_pages() {
    let made = tempfile::tempdir().unwrap();
    let ran = run(&["man", "--dir", &made.path().display().to_string()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let kept = pages::root().join("docs/man");
    for name in names(made.path()) {
        let text = fs::read_to_string(made.path().join(&name)).unwrap();
        is_kept(&kept.join(&name), &text);
    }
    assert_eq!(names(&kept), names(made.path()), "a page without a command");
    let first = fs::read_to_string(kept.join("callhome-relay.1")).unwrap();
    assert_eq!(run(&["man"]).stdout, first);
}

#[test]
fn completions() {
    for (shell, file) in [
        ("bash", "callhome-relay.bash"),
        ("zsh", "_callhome-relay"),
        ("fish", "callhome-relay.fish"),
    ] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        is_kept(
            &pages::root().join("docs/completions").join(file),
            &ran.stdout,
        );
    }
}

#[test]
fn the_configuration_reference() {
    let schema = run(&["config", "schema"]);
    let schema = serde_json::from_str(&schema.stdout).unwrap();
    is_kept(
        &pages::root().join("docs/configuration.md"),
        &reference::page(&schema),
    );
}

fn is_kept(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(file, text).unwrap();
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not as the code has it: UPDATE_EXPECT=1 writes it anew",
        file.display()
    );
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
