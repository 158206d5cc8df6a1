//! Writes the table that the test prints.

use std::fmt::Write as _;

use super::reader::SourceFile;
use super::rules::{self, code_lines, files, median};
use super::workspace::Workspace;
use super::{LAYERS, LONG_FILES, PACKAGES};

pub(super) fn table(workspace: &Workspace) -> String {
    let mut text = String::from("\nPackages, without their tests\n");
    for rule in PACKAGES {
        let package = workspace.packages.iter().find(|it| it.name == rule.name);
        let size = package.map_or_else(
            || format!("{:<23}", "not in the workspace"),
            |it| size(it.files()),
        );
        let uses = match rule.uses {
            [] => "no other".to_owned(),
            uses => uses.join(", "),
        };
        _ = writeln!(text, "  {:<18} {size}   may use: {uses}", rule.name);
    }
    text.push_str("\nLayers of the relay: a module imports from lower ones only\n");
    let relay = rules::relay(workspace);
    for (layer, modules) in LAYERS {
        for (at, module) in modules.iter().enumerate() {
            let layer = if at == 0 {
                layer.to_string()
            } else {
                String::new()
            };
            let inside = relay
                .files()
                .filter(|file| file.module.top() == Some(module));
            _ = writeln!(text, "  {layer:>2} {module:<15} {}", size(inside));
        }
    }
    _ = writeln!(text, "\nCircles between siblings: {}", circles(workspace));
    text.push_str(&lengths(workspace));
    text
}

fn size<'a>(files: impl Iterator<Item = &'a SourceFile>) -> String {
    let (count, lines) = files.fold((0, 0), |(count, lines), file| {
        (count + 1, lines + code_lines(file))
    });
    format!("{count:>4} files {lines:>6} lines")
}

fn circles(workspace: &Workspace) -> String {
    match rules::no_circles(workspace).as_slice() {
        [] => "none".to_owned(),
        circles => format!("{}\n{}", circles.len(), circles.join("\n")),
    }
}

fn lengths(workspace: &Workspace) -> String {
    let all = median(files(workspace).map(|file| file.size.all));
    let code = median(files(workspace).map(code_lines));
    let mut text = format!(
        "\nLines a file: median {code} without tests, {all} with them. The longest without tests:\n"
    );
    let mut longest: Vec<&SourceFile> = files(workspace).collect();
    longest.sort_by_key(|file| std::cmp::Reverse(code_lines(file)));
    for file in longest.into_iter().take(LONG_FILES.len() + 3) {
        let name = file.file.display().to_string();
        let row = LONG_FILES.iter().find(|(listed, _)| *listed == name);
        let why = row.map_or_else(String::new, |(_, why)| format!(": {why}"));
        _ = writeln!(text, "  {:>4} {name}{why}", code_lines(file));
    }
    text
}

/// Reads the layers from the table in the text of `relay/lib.rs`.
pub(super) fn documented(text: &str) -> Vec<(u8, Vec<&str>)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! |"));
    rows.filter_map(|row| {
        let mut cells = row.split('|');
        let layer = cells.next()?.trim().parse().ok()?;
        Some((layer, cells.next()?.split('`').skip(1).step_by(2).collect()))
    })
    .collect()
}
