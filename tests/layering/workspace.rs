//! Reads the packages of the workspace, as `cargo metadata` lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use super::reader::{Crate, SourceFile, read_crate};

pub(super) static WORKSPACE: LazyLock<Workspace> = LazyLock::new(read);

pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
    /// No `mod` leads to these files, though they lie beside others of a package.
    pub(super) unreached: Vec<PathBuf>,
}

pub(super) struct Package {
    pub(super) name: String,
    /// These packages are needed to build it. Those for tests only are left out.
    pub(super) dependencies: Vec<String>,
    /// The library, the binaries and the tests are a crate each.
    pub(super) crates: Vec<Crate>,
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read() -> Workspace {
    let metadata = metadata();
    let packages = list(&metadata["packages"]).map(package).collect::<Vec<_>>();
    let mut on_disk = BTreeSet::new();
    for target in list(&metadata["packages"]).flat_map(|package| list(&package["targets"])) {
        let folder = source(target).parent().map(Path::to_owned);
        sources(&folder.unwrap_or_default(), &mut on_disk);
    }
    for file in packages
        .iter()
        .flat_map(|package| &package.crates)
        .flat_map(|one| &one.files)
    {
        on_disk.remove(&file.file);
    }
    Workspace {
        packages,
        unreached: on_disk.into_iter().collect(),
    }
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{trouble}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn package(package: &Value) -> Package {
    let dependencies = list(&package["dependencies"])
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]).to_owned());
    let crates = list(&package["targets"]).map(|target| {
        let in_tests =
            list(&target["kind"]).any(|kind| ["test", "example", "bench"].contains(&text(kind)));
        read_crate(&source(target), in_tests, &|file| {
            fs::read_to_string(root().join(file)).ok()
        })
    });
    Package {
        name: text(&package["name"]).to_owned(),
        dependencies: dependencies.collect(),
        crates: crates.collect(),
    }
}

/// Gives the root file of a target, relative to the root of the workspace.
fn source(target: &Value) -> PathBuf {
    let file = Path::new(text(&target["src_path"]));
    file.strip_prefix(root()).unwrap_or(file).to_owned()
}

/// Adds the source files of a folder and of those below it.
fn sources(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.path().is_dir() && !hidden && path != Path::new("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.insert(path);
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Package {
    /// Lists the files of the package. Those of tests are left out.
    pub(super) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.crates
            .iter()
            .flat_map(|one| &one.files)
            .filter(|file| !file.in_tests)
    }
}
