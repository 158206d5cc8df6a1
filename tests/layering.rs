//! Imports point down only, and the pure layers stay pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layer of each top-level module; the table in `relay/lib.rs` says what they are.
const LAYERS: &[(&str, u8)] = &[
    ("authority", 0),
    ("proxy_error", 0),
    ("policy", 1),
    ("http", 1),
    ("tls", 1),
    ("pac", 1),
    ("proxy_protocol", 1),
    ("telemetry", 2),
    ("os", 2),
    ("dns", 3),
    ("dial", 3),
    ("tunnel", 3),
    ("audit", 4),
    ("server", 5),
    ("admin", 5),
    ("probe", 6),
    ("config", 7),
    ("app", 8),
    ("cli", 9),
];

/// What a pure module has no business with.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "TcpStream",
    "UdpSocket",
];

#[test]
fn imports_point_down() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(module) = module_of(&file) else {
            continue;
        };
        let layer = *layers
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{module} has no layer in the table"));
        seen += 1;
        for (number, line) in code(&file).iter().enumerate() {
            for imported in imported_modules(line) {
                let Some(&target) = layers.get(imported.as_str()) else {
                    continue;
                };
                if imported != module && target >= layer {
                    wrong.push(format!(
                        "{}:{}: {module} ({layer}) imports {imported} ({target})",
                        file.display(),
                        number + 1
                    ));
                }
            }
            if layer <= 1 {
                for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!(
                        "{}:{}: {word} in a pure module",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(seen >= 2, "the walk found no sources");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_walk_finds_grouped_and_nested_imports() {
    assert_eq!(
        imported_modules("use crate::{dns, policy::Client};"),
        ["dns", "policy"]
    );
    assert_eq!(
        imported_modules("    let x = crate::server::Session::new();"),
        ["server"]
    );
}

fn imported_modules(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .flat_map(|(at, word)| {
            let rest = &line[at + word.len()..];
            let group = match rest.strip_prefix('{') {
                Some(inside) => inside.split('}').next().unwrap_or(inside),
                None => rest,
            };
            group
                .split(',')
                .take(if rest.starts_with('{') { usize::MAX } else { 1 })
                .filter_map(|item| {
                    let name = item
                        .trim()
                        .split(|c: char| !c.is_alphanumeric() && c != '_')
                        .next()?;
                    (!name.is_empty()).then(|| name.to_owned())
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The lines above the in-file tests, comments emptied.
fn code(file: &Path) -> Vec<String> {
    fs::read_to_string(file)
        .unwrap()
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .map(|line| {
            if line.trim_start().starts_with("//") {
                String::new()
            } else {
                line.to_owned()
            }
        })
        .collect()
}

fn module_of(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root()).ok()?;
    let first = relative.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(module, "lib" | "main")).then(|| module.to_owned())
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("relay")
}
