//! Whatever the pages name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use callhome_relay::proxy_error::Reason;

use crate::support::pages;

#[test]
fn links_lead_somewhere() {
    for page in pages::all() {
        let file = pages::root().join(&page.name);
        let links = page.text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split_once(')').map(|it| it.0)) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let path = link.split('#').next().unwrap();
            let target = file.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link}", page.name);
        }
    }
}

/// The page has one row for each reason, with its status, and no other rows.
#[test]
fn troubleshooting_has_every_reason() {
    let page = pages::page("docs/troubleshooting.md");
    let told: BTreeSet<String> = page
        .text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').take(3).collect())
        .collect();
    let known = Reason::ALL
        .iter()
        .map(|reason| format!(" `{}`  {} ", reason.token(), reason.status()))
        .collect();
    assert_eq!(told, known);
}

/// Each row of the threat model, and each proof behind the trail's table of attackers, names its
/// tests.
#[test]
fn tests_that_pages_name_exist() {
    let threats = table("docs/threat-model.md", "| attack");
    assert!(threats.len() > 30);
    let proofs = table("docs/audit.md", "| | tests |");
    assert!(proofs.len() >= 10);
    let sources = sources();
    for row in threats.iter().chain(&proofs) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let mut names = tests.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no test: {row}");
        for name in names {
            let defined = format!("fn {name}(");
            let is_test =
                |text: &String| {
                    text.split_once(&defined).is_some_and(|(before, _)| {
                        before.lines().rev().take(8).any(|line| {
                            line.trim_start().starts_with("#[") && line.contains("test")
                        })
                    })
                };
            assert!(sources.iter().any(is_test), "{name}, of {row}");
        }
    }
}

/// Returns the rows of the page's tables whose header begins like this.
fn table(page: &str, header: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in pages::page(page).text.lines() {
        if line.starts_with(header) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|-") && !line.starts_with("| -") {
            rows.push(line.to_owned());
        }
    }
    rows
}

/// Returns the text of all Rust files of the project.
fn sources() -> Vec<String> {
    fn walk(directory: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|it| it == "rs") {
                into.push(fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut sources = Vec::new();
    walk(&pages::root().join("relay"), &mut sources);
    walk(&pages::root().join("tests"), &mut sources);
    sources
}
