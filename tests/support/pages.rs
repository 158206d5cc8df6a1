//! The documentation's pages, and the blocks of code in them.

use std::fs;
use std::path::{Path, PathBuf};

/// Pages whose commands need an engine or a service manager, with the scripts that run them.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("docs/container.md", ".ci/container"),
    ("docs/systemd.md", "tests/systemd/lifecycle.sh"),
];

/// Returns the project's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation.
pub(crate) struct Page {
    /// Its path in the project.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The text between two fences.
pub(crate) struct Block {
    /// The page and the line of its first fence.
    pub(crate) place: String,
    /// The text behind the first fence: a language, and for a file that is to be written its path.
    pub(crate) info: String,
    pub(crate) text: String,
}

/// Returns all pages.
pub(crate) fn all() -> Vec<Page> {
    let mut names: Vec<PathBuf> = [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "certs/README.md",
    ]
    .map(PathBuf::from)
    .into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "md") {
            names.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| Page {
            text: fs::read_to_string(root().join(&name)).unwrap(),
            name: name.display().to_string(),
        })
        .collect()
}

pub(crate) fn page(name: &str) -> Page {
    all()
        .into_iter()
        .find(|page| page.name == name)
        .unwrap_or_else(|| panic!("{name}"))
}

impl Page {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(self.text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.text.extend([line, "\n"]),
                (None, Some(info)) => {
                    open = Some(Block {
                        place: format!("{}:{number}", self.name),
                        info: info.to_owned(),
                        text: String::new(),
                    });
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block without an end", self.name);
        blocks
    }

    /// Returns the page without its blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut inside = false;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let fence = line.starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }
}

impl Block {
    /// Returns the commands of a shell block, without comments. A line that goes on is one with the
    /// next.
    pub(crate) fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        joined
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }
}
