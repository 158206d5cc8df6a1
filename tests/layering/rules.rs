//! Holds the rules. Each gives an entry for everything that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::circles::tangles;
use super::reader::{Crate, Import, SourceFile};
use super::workspace::{Package, Workspace, root};
use super::{
    CLOCKS, EFFECTS, LAYERS, LONG_FILES, LONGEST, MEDIAN, PACKAGES, PURE, PackageRule, RELAY,
    RUNTIMES, SOCKETS, WIDEST,
};

/// Lists packages that have no row in the table, and code that the test can't follow.
pub(super) fn unknown(workspace: &Workspace) -> Vec<String> {
    let packages = workspace.packages.iter().filter_map(|package| {
        let name = &package.name;
        let text = format!("the package {name} isn't in PACKAGES of tests/layering/mod.rs");
        rule(name).is_none().then_some(text)
    });
    let files = workspace.unreached.iter().map(|file| {
        let file = file.display();
        format!("{file}: no `mod` leads to this file, so that it is never compiled")
    });
    let unread = crates(workspace).flat_map(|one| one.unread.clone());
    packages.chain(files).chain(unread).collect()
}

/// Lists what packages use beyond what their rows in the table allow.
pub(super) fn packages(workspace: &Workspace) -> Vec<String> {
    let members: Vec<&str> = workspace
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut broken = Vec::new();
    for package in &workspace.packages {
        let Some(rule) = rule(&package.name) else {
            continue;
        };
        for dependency in &package.dependencies {
            if is_forbidden(package, rule, &members, dependency) {
                broken.push(format!("{} depends on {dependency}", package.name));
            }
        }
        for outside in package.crates.iter().flat_map(|one| &one.outside) {
            if is_forbidden(package, rule, &members, &outside.path) {
                broken.push(format!(
                    "{}: {} uses {}",
                    outside.place, package.name, outside.path
                ));
            }
        }
    }
    broken
}

/// Tells whether a path, or the name of a dependency, is beyond what the package may use.
fn is_forbidden(package: &Package, rule: &PackageRule, members: &[&str], path: &str) -> bool {
    let first = path.split("::").next().unwrap_or(path).replace('-', "_");
    let is_member = |name: &&&str| name.replace('-', "_") == first;
    let member = members.iter().find(is_member);
    let other = member.is_some_and(|name| package.name != *name && !rule.uses.contains(name));
    let path = path.replace('-', "_");
    other || (rule.without_network && is_any(&path, &[RUNTIMES, SOCKETS]))
}

/// Lists imports of the relay that don't point down, and where `LAYERS` is wrong.
pub(super) fn layers(package: &Package) -> Vec<String> {
    let layers = layer_of_each();
    let modules = top_modules(package);
    let mut broken = Vec::new();
    for name in modules.difference(&layers.keys().copied().collect()) {
        broken.push(format!(
            "the module {name} isn't in LAYERS of tests/layering/mod.rs"
        ));
    }
    for (name, layer) in &layers {
        if !modules.contains(name) {
            broken.push(format!(
                "LAYERS has {name} in layer {layer}: no such module"
            ));
        }
    }
    for import in first_of_each(package) {
        let (Some(from), Some(to)) = (import.from.top(), import.to.top()) else {
            continue;
        };
        let (Some(layer), Some(target)) = (layers.get(from), layers.get(to)) else {
            continue;
        };
        if from != to && target >= layer {
            broken.push(format!(
                "{}: {from} (layer {layer}) imports {} (layer {target})",
                import.place, import.to
            ));
        }
    }
    broken.extend(beside_cli(package));
    broken
}

/// Lists what `main.rs` uses of the library beside `cli`.
fn beside_cli(package: &Package) -> impl Iterator<Item = String> {
    let library = format!("{}::", package.name.replace('-', "_"));
    let outside = package.crates.iter().flat_map(|one| &one.outside);
    outside.filter_map(move |outside| {
        let inside = outside.path.strip_prefix(&library)?;
        let text = format!("{}: {inside}, and only cli may be used here", outside.place);
        (!is_any(inside, &[&["cli"]])).then_some(text)
    })
}

/// Gives the first import in a file from each other module. The rest would repeat it.
fn first_of_each(package: &Package) -> impl Iterator<Item = &Import> {
    let mut first = BTreeMap::new();
    for import in package.crates.iter().flat_map(|one| &one.imports) {
        let pair = (&import.place.file, &import.from, &import.to);
        first.entry(pair).or_insert(import);
    }
    first.into_values()
}

fn layer_of_each() -> BTreeMap<&'static str, u8> {
    let rows = LAYERS.iter();
    rows.flat_map(|(layer, names)| names.iter().map(|&name| (name, *layer)))
        .collect()
}

fn top_modules(package: &Package) -> BTreeSet<&str> {
    package
        .files()
        .filter_map(|file| file.module.top())
        .collect()
}

/// Lists what pure modules of the relay use and must not.
pub(super) fn purity(package: &Package) -> Vec<String> {
    let layers = layer_of_each();
    let pure = |name: &str| layers.get(name).is_some_and(|layer| *layer <= PURE);
    let mut broken = BTreeSet::new();
    for outside in package.crates.iter().flat_map(|one| &one.outside) {
        let path = &outside.path;
        let Some(module) = outside.from.top().filter(|name| pure(name)) else {
            continue;
        };
        if is_any(path, &[RUNTIMES, SOCKETS, EFFECTS]) || reads_clock(path) {
            broken.insert((&outside.place, format!("{path} in {module}, which is pure")));
        }
    }
    let lines = broken
        .iter()
        .map(|(place, text)| format!("{place}: {text}"));
    lines.collect()
}

/// Tells whether a path is a listed one, or below a listed one.
fn is_any(path: &str, lists: &[&[&str]]) -> bool {
    lists.iter().copied().flatten().any(|listed| {
        path.strip_prefix(listed)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

fn reads_clock(path: &str) -> bool {
    CLOCKS.iter().any(|clock| {
        path.strip_suffix(clock)
            .is_some_and(|before| before.is_empty() || before.ends_with("::"))
    })
}

/// Lists siblings that import each other in a circle.
pub(super) fn no_circles(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &workspace.packages {
        for tangle in package.crates.iter().flat_map(|one| tangles(&one.imports)) {
            let circles: Vec<String> = tangle.circles.iter().map(ToString::to_string).collect();
            broken.push(format!(
                "{}, {}: {}\n    {}",
                package.name,
                tangle.parent,
                tangle.names.join(", "),
                circles.join("\n    ")
            ));
        }
    }
    broken
}

/// Lists names that a package gives to more than one type.
pub(super) fn one_name(package: &Package) -> Vec<String> {
    let mut types: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in package.crates.iter().flat_map(|one| &one.types) {
        let text = format!("{}: {} {}::{}", one.place, one.kind, one.module, one.name);
        types.entry(&one.name).or_default().push(text);
    }
    types
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| {
            let count = places.len();
            format!(
                "{}: {count} types are called {name}\n    {}",
                package.name,
                places.join("\n    ")
            )
        })
        .collect()
}

/// Lists files that are too long, and rows of `LONG_FILES` that no file needs.
pub(super) fn lengths(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    let mut long = BTreeSet::new();
    for file in files(workspace).filter(|file| code_lines(file) > LONGEST) {
        let name = file.file.display().to_string();
        if !LONG_FILES.iter().any(|(listed, _)| *listed == name) {
            let lines = code_lines(file);
            broken.push(format!(
                "{name}: {lines} lines without tests, and {LONGEST} may be"
            ));
        }
        long.insert(name);
    }
    for (name, _) in LONG_FILES {
        if !long.contains(*name) {
            broken.push(format!("LONG_FILES has {name}, which is no longer long"));
        }
    }
    let median = median(files(workspace).map(code_lines));
    if median >= MEDIAN {
        broken.push(format!(
            "the median is {median} lines a file, and must be below {MEDIAN}"
        ));
    }
    broken
}

pub(super) fn median(lengths: impl Iterator<Item = usize>) -> usize {
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

pub(super) fn code_lines(file: &SourceFile) -> usize {
    file.size.all - file.size.tests
}

/// Finds comment lines that are wider than the code may be. The formatter leaves comments alone.
pub(super) fn wide_comments(workspace: &Workspace) -> Vec<String> {
    let mut wide = Vec::new();
    for file in files(workspace) {
        let text = fs::read_to_string(root().join(&file.file)).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            let is_table = line.starts_with("//! |");
            if line.trim_start().starts_with("//") && !is_table && columns > WIDEST {
                wide.push(format!(
                    "{}:{number}: {columns} columns",
                    file.file.display()
                ));
            }
        }
    }
    wide
}

/// Lists the files of every package. Those of tests are left out.
pub(super) fn files(workspace: &Workspace) -> impl Iterator<Item = &SourceFile> {
    workspace.packages.iter().flat_map(Package::files)
}

fn crates(workspace: &Workspace) -> impl Iterator<Item = &Crate> {
    workspace
        .packages
        .iter()
        .flat_map(|package| &package.crates)
}

fn rule(package: &str) -> Option<&'static PackageRule> {
    PACKAGES.iter().find(|rule| rule.name == package)
}

pub(super) fn relay(workspace: &Workspace) -> &Package {
    let mut packages = workspace.packages.iter();
    packages.find(|package| package.name == RELAY).unwrap()
}
