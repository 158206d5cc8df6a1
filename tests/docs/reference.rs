//! Makes the configuration reference from the code's JSON Schema.

use serde_json::{Map, Value};

/// Returns the whole page.
pub(super) fn page(schema: &Value) -> String {
    let mut page = String::from(HEAD);
    let (tables, keys): (Vec<_>, Vec<_>) = properties(schema)
        .iter()
        .partition(|(_, value)| is_table(value));
    page += "\n## At the top\n\n";
    page += &rows(&keys, schema, "");
    for (name, value) in tables {
        let (title, table) = match value.get("items") {
            Some(items) => (format!("[[{name}]]"), items),
            None => (format!("[{name}]"), value),
        };
        page.extend(["\n## `", &title, "`\n\n", &text(value), "\n\n"]);
        let keys: Vec<_> = properties(table).iter().collect();
        page += &rows(&keys, table, "");
    }
    page
}

/// Returns the table of one section, which includes the keys of tables inside it.
fn rows(keys: &[(&String, &Value)], table: &Value, prefix: &str) -> String {
    let mut rows = String::new();
    if prefix.is_empty() {
        rows += "| key | takes | default | |\n|---|---|---|---|\n";
    }
    for (key, value) in keys {
        let name = format!("{prefix}{key}");
        let (what, default) = split(&text(value));
        let required = table["required"]
            .as_array()
            .is_some_and(|it| it.iter().any(|it| it == *key));
        let default = if required {
            "must be set".to_owned()
        } else {
            default
        };
        let cells = [&*format!("`{name}`"), &takes(value), &default, &what].join(" | ");
        rows.extend(["| ", &cells, " |\n"]);
        if is_object(value) {
            let inner: Vec<_> = properties(value).iter().collect();
            let inner_rows = self::rows(&inner, value, &format!("{name}."));
            rows += &inner_rows;
        }
    }
    rows
}

/// Describes what a value looks like.
fn takes(value: &Value) -> String {
    let is = |kind: &str| match &value["type"] {
        Value::Array(kinds) => kinds.iter().any(|it| it == kind),
        one => one == kind,
    };
    if let Some(words) = value["enum"].as_array() {
        let words = words.iter().filter(|it| !it.is_null());
        return words
            .map(|it| format!("`{it}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if is("array") {
        return format!("a list: {}", takes(&value["items"]));
    }
    if is("boolean") {
        return "`true`, `false`".into();
    }
    if is("integer") {
        return match (value["minimum"].as_i64(), value["maximum"].as_i64()) {
            (Some(least), Some(most)) => format!("a number, {least} to {most}"),
            (Some(least), None) => format!("a number, {least} or more"),
            _ => "a number".into(),
        };
    }
    if is("object") {
        return "a table".into();
    }
    if value["format"] == "date-time" {
        return "a date-time".into();
    }
    match value["examples"][0].as_str() {
        Some(example) => format!("like `\"{example}\"`"),
        None => "text".into(),
    }
}

/// Describes what a key is for, and what holds when it isn't set.
fn split(text: &str) -> (String, String) {
    let (what, default) = match text.rsplit_once("Default: ") {
        Some((what, default)) => (what.trim(), default.trim_end_matches('.')),
        None => (text, ""),
    };
    let literal = default.starts_with(['"', '[']) || default.parse::<u64>().is_ok();
    let default = if literal && !default.contains('`') {
        format!("`{default}`")
    } else {
        default.to_owned()
    };
    (what.to_owned(), default)
}

fn text(value: &Value) -> String {
    let text = value["description"].as_str().unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}

fn properties(value: &Value) -> &Map<String, Value> {
    value["properties"].as_object().expect("a table")
}

fn is_object(value: &Value) -> bool {
    value["properties"].is_object()
}

fn is_table(value: &Value) -> bool {
    is_object(value) || is_object(&value["items"])
}

const HEAD: &str = "\
# Configuration reference

Generated from the code. `callhome-relay config default` prints the same keys as a commented file, `config schema` as a JSON Schema for
editors, and `config show` what a file amounts to. `check` tells what is wrong with one, with its line and what to write instead.

Durations are written in `ms`, `s`, `m`, `h` or `d`; sizes in `B`, `KiB`, `MiB` or `GiB`; rates as a count per `s`, `m` or `h`. Networks
are addresses (`\"10.20.0.11\"`) or prefixes (`\"10.20.0.0/16\"`). A key left out means no restriction of its kind. SIGHUP reads the file
again; what needs a restart is named when it has changed.
";
