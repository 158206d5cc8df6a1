//! The whole way of a small file: from its text to values, or to a report.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    At, Bound, DateTime, Document, Error, Findings, Form, List, Name, Problem, Text, Timeout,
    schema, table, tables,
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mirror {
    name: Option<Text<Name>>,
    color: Option<At<ColorWord>>,
    until: Option<At<DateTime>>,
    #[serde(default, deserialize_with = "table")]
    limits: LimitsTable,
    #[serde(default, deserialize_with = "tables")]
    machine: Vec<MachineTable>,
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    /// One line of the source,
    /// and another.
    ///
    /// A paragraph.
    all: Option<At<NonZeroU32>>,
    each: Option<At<NonZeroU32>>,
    shortest: Option<Text<Duration>>,
    wait: Option<Text<Timeout>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MachineTable {
    name: Text<Name>,
    sources: Option<List<IpNet>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Color {
    Red,
    DarkBlue,
}

crate::words! {
    /// What it is painted in.
    pub(crate) ColorWord as Color { Red = "red", DarkBlue = "dark-blue" }
}

/// Reads a text and checks it as a program would.
fn check(text: &str) -> Result<Mirror, Error> {
    let document = Document::new("site.toml", text);
    let mirror: Mirror = document.read()?;
    let mut findings = Findings::default();
    mirror.name.as_ref().map(|name| findings.read(name));
    mirror.until.as_ref().map(|until| findings.timestamp(until));
    findings.unique("machine", mirror.machine.iter().map(|it| &it.name));
    for machine in &mirror.machine {
        findings.read_some("sources", machine.sources.as_ref(), "remove the key");
    }
    let limits = &mirror.limits;
    findings.read_or(limits.wait.as_ref(), Timeout(Duration::from_secs(5)));
    let shortest = findings.read_or(limits.shortest.as_ref(), Duration::from_secs(1));
    let longest = Bound::duration("longest", None, Duration::from_mins(1));
    Bound::duration("shortest", limits.shortest.as_ref(), shortest)
        .at_most(&longest, &mut findings);
    let count = |written: &Option<At<NonZeroU32>>| written.as_ref().map_or(10, |it| it.value.get());
    Bound::count("each", limits.each.as_ref(), count(&limits.each)).at_most(
        &Bound::count("all", limits.all.as_ref(), count(&limits.all)),
        &mut findings,
    );
    match findings.problem_count() {
        0 => Ok(mirror),
        _ => Err(findings.into_error(document)),
    }
}

fn refused(text: &str) -> String {
    match check(text) {
        Ok(mirror) => panic!("{text} is read as {mirror:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_without_mistakes_is_read_and_written_again() {
    let text = "name = \"a\"\ncolor = \"dark-blue\"\nuntil = 2026-12-01T08:00:00Z\n\n[limits]\n\
                all = 5\neach = 5\nshortest = \"60s\"\nwait = \"5s\"\n\n[[machine]]\nname = \"m\"\n\
                sources = [\"10.0.0.1\"]\n";
    let mirror = check(text).unwrap();
    assert_eq!(toml::to_string(&mirror).unwrap(), text);
    let color = mirror.color.unwrap();
    assert_eq!(&text[color.span.clone()], "\"dark-blue\"");
    assert_eq!(Color::from(color.value), Color::DarkBlue);
    assert_eq!(ColorWord::from(Color::Red), ColorWord::Red);
    let until = DateTime::of("2026-12-01T08:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(
        format!("{until:?}"),
        format!("{:?}", mirror.until.unwrap().value)
    );
    assert_eq!(Text::of(&Duration::from_mins(1)).value.text, "1m");
    assert!(check("").is_ok());
}

#[test]
fn a_mistake_is_shown_with_what_to_write() {
    for (text, parts) in [
        (
            "nmae = \"a\"",
            [
                "unknown key `nmae`",
                "did you mean `name`? Known here: name, color",
            ],
        ),
        (
            "zzz = 1",
            ["unknown key `zzz`", "help: known here: name, color"],
        ),
        (
            "color = \"dark-bleu\"",
            ["unknown value `dark-bleu`", "did you mean `dark-blue`?"],
        ),
        (
            "name = 5",
            [
                "the wrong kind of value",
                "write a name in quotes, such as \"dmz-1\"",
            ],
        ),
        (
            "name = \"a b\"",
            ["`a b` is not a name", "a character that no name has"],
        ),
        (
            "name = \"a\"\nname = \"b\"",
            ["site.toml:2:1", "remove one of the two"],
        ),
        ("name = \"a", ["invalid basic string", "expected `\"`"]),
        (
            "[[machine]]\n",
            ["the key `name` is missing here", "add `name` to this table"],
        ),
        (
            "[[limits]]\n",
            ["the wrong kind of value", "its name in single brackets"],
        ),
        (
            "[machine]\n",
            ["the wrong kind of value", "their name in double brackets"],
        ),
        (
            "machine = [[\"m\"]]",
            ["the wrong kind of value", "its name in single brackets"],
        ),
        (
            "[limits]\nall = 0",
            [
                "the wrong kind of value",
                "a whole number from 1 to 4294967295",
            ],
        ),
        (
            "until = 2026-12-01",
            [
                "a date, a time and an offset are needed",
                "2026-12-01T08:00:00Z",
            ],
        ),
        (
            "[[machine]]\nname = \"m\"\nsources = []",
            ["`sources` is empty", "remove the key"],
        ),
        (
            "[[machine]]\nname = \"m\"\n[[machine]]\nname = \"m\"",
            ["two machines are named `m`", "the first"],
        ),
        (
            "[limits]\nall = 4\neach = 5",
            ["`each` (5) can't be above `all` (4)", "the other"],
        ),
        (
            "[limits]\nall = 4",
            [
                "`each` (10, the default) can't be above `all` (4)",
                "site.toml:2:7",
            ],
        ),
        (
            "[limits]\nshortest = \"90s\"",
            [
                "`shortest` (90s) can't be above `longest` (1m, the default)",
                "raise `longest`",
            ],
        ),
    ] {
        let report = refused(text);
        for part in parts {
            assert!(report.contains(part), "{part} isn't in\n{report}");
        }
    }
}

#[test]
fn all_mistakes_are_reported_in_their_order_and_summed_up_in_a_line() {
    let text = "name = \"a\\nb\"\n[limits]\nwait = \"0s\"\nshortest = \"soon\"\n";
    let error = check(text).unwrap_err();
    let report = error.to_string();
    let places: Vec<_> = ["site.toml:1:8", "site.toml:3:8", "site.toml:4:12"]
        .map(|place| report.find(place).unwrap())
        .into();
    assert!(places.is_sorted(), "{report}");
    let summary = r"site.toml:1:8: `a\nb` is not a name (and 2 more)";
    assert_eq!(error.summary(), summary);
    assert!(!report.contains('\u{1b}') && error.render(true).contains('\u{1b}'));
    assert_eq!(format!("{error:?}"), report);
}

#[test]
fn a_mistake_without_a_place_comes_first_and_names_the_file() {
    let document = Document::new("site.toml", "name = \"a\"\n");
    let mut findings = Findings::default();
    findings.problem(Problem::new(7..10, "second"));
    findings.problem(Problem::new(None, "first"));
    findings.warn("a warning is no problem");
    assert_eq!(findings.problem_count(), 2);
    let error = findings.into_error(document);
    assert_eq!(error.summary(), "site.toml:1:1: first (and 1 more)");
    assert!(error.to_string().contains("--> site.toml\n"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.toml");
    let error = Document::load(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("can't read the configuration: No such file")
    );
    assert!(error.summary().starts_with(path.to_str().unwrap()));
    assert!(std::error::Error::source(&error).is_some());

    fs::write(&path, b"name = \"a\"\n# caf\xe9\n").unwrap();
    let error = Document::load(&path).unwrap_err();
    assert!(
        error
            .summary()
            .ends_with("site.toml:2:6: the file is not UTF-8")
    );

    fs::write(&path, "name = \"a\"\n").unwrap();
    let document = Document::load(&path).unwrap();
    assert_eq!(document.name(), path.to_str().unwrap());
    let mirror: Mirror = document.read().unwrap();
    assert_eq!(mirror.name.unwrap().value.text, "a");
}

#[test]
fn the_schema_has_a_form_as_text_and_names_no_type() {
    let schema = format!("{:?}", schema::<LimitsTable>());
    assert!(schema.contains("^0*[1-9][0-9]*(ms|s|m|h|d)$"), "{schema}");
    assert!(!schema.contains("$defs"), "{schema}");
    let description = r"One line of the source, and another.\n\nA paragraph.";
    assert!(schema.contains(description), "{schema}");
    assert_eq!(Timeout::read("5s").unwrap().write(), "5s");
}
