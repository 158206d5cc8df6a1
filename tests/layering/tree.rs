//! Finds the modules of one crate, from its root file along every `mod`.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use syn::ext::IdentExt as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, Token};

/// Names a module by the names from the crate's root to it. The root itself has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModulePath(pub(super) Vec<String>);

/// Holds the code of a file, or of an inline `mod`.
pub(super) struct Module {
    pub(super) path: ModulePath,
    pub(super) file: PathBuf,
    /// Inline modules among these are empty, because each is a `Module` of its own.
    pub(super) items: Vec<Item>,
    pub(super) in_tests: bool,
    /// Only a file has a size. An inline module has none.
    pub(super) size: Option<Size>,
}

/// Counts the lines of a file, and those of its `#[cfg(test)]` items apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) all: usize,
    pub(super) tests: usize,
}

/// Points at a line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// Gives the text of a source file, or nothing where there is no such file.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Walks the crate whose root is the file `root`.
pub(super) fn modules(root: &Path, in_tests: bool, read: Read<'_>) -> Vec<Module> {
    let mut walk = Walk {
        read,
        modules: Vec::new(),
    };
    walk.file(ModulePath::default(), root, &folder_of(root), in_tests);
    walk.modules
}

/// Tells whether the attributes leave an item to test builds.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args()
                .is_ok_and(|condition| needs_test(&condition))
    })
}

/// Tells whether a condition is `test`, or an `all` with `test` in it.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(word) => word.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(needs_test)),
        _ => false,
    }
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

struct Walk<'a> {
    read: Read<'a>,
    modules: Vec<Module>,
}

impl Walk<'_> {
    /// Reads a module from its file. `folder` holds the files of its children.
    fn file(&mut self, path: ModulePath, file: &Path, folder: &Path, in_tests: bool) {
        let shown = file.display();
        let text = (self.read)(file).unwrap_or_else(|| panic!("{shown}: no such file"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| {
            panic!("{shown}:{}: {error}", error.span().start().line);
        });
        let size = Size {
            all: text.lines().count(),
            tests: lines_of_tests(&parsed.items),
        };
        let in_tests = in_tests || is_test(&parsed.attrs);
        self.module(path, file, folder, parsed.items, in_tests, Some(size));
    }

    fn module(
        &mut self,
        path: ModulePath,
        file: &Path,
        folder: &Path,
        mut items: Vec<Item>,
        in_tests: bool,
        size: Option<Size>,
    ) {
        for item in &mut items {
            let Item::Mod(child) = item else { continue };
            let name = child.ident.unraw().to_string();
            let in_tests = in_tests || is_test(&child.attrs);
            let below = folder.join(&name);
            let child_path = path.child(&name);
            if let Some((_, inside)) = child.content.take() {
                self.module(child_path, file, &below, inside, in_tests, None);
            } else {
                let (file, below) = self.file_of(child, file, folder);
                self.file(child_path, &file, &below, in_tests);
            }
        }
        self.modules.push(Module {
            path,
            file: file.to_owned(),
            items,
            in_tests,
            size,
        });
    }

    /// Finds the file that `mod child;` names, and the folder of the files below it.
    fn file_of(&self, child: &ItemMod, parent: &Path, folder: &Path) -> (PathBuf, PathBuf) {
        if let Some(place) = path_attribute(&child.attrs) {
            let file = without_dots(&folder_of(parent).join(place));
            let below = folder_of(&file);
            return (file, below);
        }
        let name = child.ident.unraw().to_string();
        let below = folder.join(&name);
        let in_folder = below.join("mod.rs");
        if (self.read)(&in_folder).is_some() {
            (in_folder, below)
        } else {
            (folder.join(format!("{name}.rs")), below)
        }
    }
}

fn lines_of_tests(items: &[Item]) -> usize {
    items
        .iter()
        .map(|item| match item {
            item if is_test(attributes(item)) => {
                let span = item.span();
                span.end().line + 1 - span.start().line
            }
            Item::Mod(ItemMod {
                content: Some((_, inside)),
                ..
            }) => lines_of_tests(inside),
            _ => 0,
        })
        .sum()
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(place),
                    ..
                }) => Some(place.value()),
                _ => None,
            },
            _ => None,
        })
}

/// Takes each `..` out of a path, so that every file has one name only.
fn without_dots(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            short.pop();
        } else {
            short.push(part);
        }
    }
    short
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

impl ModulePath {
    pub(super) fn child(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    /// Gives the module around this one. The root gives itself.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Gives the name of the top-level module that this one is, or is in.
    pub(super) fn top(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("the root")
        } else {
            f.write_str(&self.0.join("::"))
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
