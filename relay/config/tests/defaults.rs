//! The default file, the schema and the defaults, which must agree.

use std::ops::Range;

use super::{allows, environment, parse};
use crate::config::{Config, ConfigSource, Environment, default_file, schema};
use crate::policy::Unlisted;

#[test]
fn without_a_file_the_defaults_hold() {
    let config = parse("");
    assert_eq!(&*config.name, "relay-a");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "[::]:3128");
    assert_eq!(config.policy.unlisted(), Unlisted::Private);
    assert!(config.audit.stdout && config.audit.directory.is_none());
    assert_eq!(config.warnings, Vec::<String>::new());
    for target in ["ch3.zerto.com:443", "autologs.zerto.com:443"] {
        assert!(allows(&config, "10.0.0.1", target), "{target}");
        assert!(!allows(&config, "192.0.2.1", target), "{target}");
    }
    for target in ["zapps.zerto.com:443", "ch3.zerto.com:80", "example.com:443"] {
        assert!(!allows(&config, "10.0.0.1", target), "{target}");
    }
    let built_in = Config::built_in().unwrap();
    assert_eq!(built_in.source, ConfigSource::BuiltIn);
}

#[test]
fn the_default_file_says_the_defaults() {
    for state_directory in [None, Some("/var/lib/relay".into())] {
        let environment = Environment {
            state_directory,
            ..environment()
        };
        let written = Config::parse_in(default_file(), "default", &environment).unwrap();
        let built_in = Config::parse_in("", "none", &environment).unwrap();
        assert_eq!(written.show(), built_in.show());
        assert_eq!(written.digest, built_in.digest);
        assert_eq!(
            written.changes_needing_restart(&built_in),
            Vec::<&str>::new()
        );
        assert_eq!(written.warnings, built_in.warnings);
    }
}

/// Finds the examples of the default file. They are runs of lines that start with `#` and no space.
fn examples() -> Vec<Range<usize>> {
    let lines: Vec<&str> = default_file().lines().collect();
    let example = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let mut runs = Vec::new();
    let mut start = None;
    for (number, line) in lines.iter().chain([&""]).enumerate() {
        match (example(line), start) {
            (true, None) => start = Some(number),
            (false, Some(first)) => {
                runs.push(first..number);
                start = None;
            }
            _ => {}
        }
    }
    runs
}

#[test]
fn every_example_of_the_default_file_can_be_uncommented() {
    let examples = examples();
    assert!(examples.len() >= 10);
    for example in examples {
        let text: Vec<&str> = default_file()
            .lines()
            .enumerate()
            // The one key that the file has with its default and again in an example.
            .filter(|(number, line)| {
                !(example.contains(&(number + 4)) && *line == "mode = \"enforce\"")
            })
            .map(|(number, line)| {
                let uncommented = line.strip_prefix('#').filter(|_| example.contains(&number));
                uncommented.unwrap_or(line)
            })
            .collect();
        let text = text.join("\n");
        if let Err(error) = Config::parse_in(&text, "default", &environment()) {
            panic!("lines {example:?}:\n{error}");
        }
    }
}

/// A key of the schema must be in the default file too. Otherwise only the source would tell of it.
#[test]
fn the_default_file_and_the_schema_have_the_same_keys() {
    fn keys(schema: &serde_json::Value, into: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    if let (true, Some(properties)) = (name == "properties", value.as_object()) {
                        into.extend(properties.keys().cloned());
                    }
                    keys(value, into);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|it| keys(it, into)),
            _ => {}
        }
    }
    let mut known = Vec::new();
    keys(&schema(), &mut known);
    assert!(known.len() > 50, "{known:?}");
    for key in known {
        let written = default_file().lines().any(|line| {
            let line = line.trim_start_matches(['#', '[']);
            line.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with([' ', ']']))
                || line.contains(&format!("{{ {key} = "))
                || line.contains(&format!(", {key} = "))
        });
        assert!(written, "{key} is not in the default file");
    }
}

#[test]
fn the_schema_describes_the_file() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let timeouts = &schema["properties"]["timeouts"];
    assert_eq!(timeouts["additionalProperties"], false);
    let idle = &timeouts["properties"]["idle"];
    assert!(idle["description"].as_str().unwrap().contains("10m"));
    assert!(idle["pattern"].is_string(), "{idle}");
    let mode = schema["properties"]["listener"].to_string();
    assert!(
        mode.contains(r#""proxy""#) && mode.contains(r#""sni""#),
        "{mode}"
    );
    // The schema must not show the names of our Rust types.
    assert!(schema.get("$defs").is_none(), "{schema:#}");
}
