//! Reads the names that a module or a block declares, and the paths of its imports.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::{Item, ItemType, Type, UseTree, Visibility};

use super::tree::{attributes, is_test};

/// Holds a path as the code has it. The groups of a `use` are taken apart before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) segments: Vec<String>,
    /// The path begins with `::`, so that its first name is a crate.
    pub(super) global: bool,
    pub(super) line: usize,
}

/// Imports one name, or all names of a module. A `use` has one leaf or many.
pub(super) struct Leaf {
    /// `as _` and a glob have no name.
    name: Option<String>,
    glob: bool,
    /// Only the module itself and those inside of it see the import.
    pub(super) private: bool,
    pub(super) path: Written,
}

/// Holds the names that a module or a block declares. Those of tests are left out.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) modules: BTreeSet<String>,
    pub(super) types: BTreeSet<String>,
    /// Functions, constants and macros are only ever the last name of a path.
    pub(super) values: BTreeSet<String>,
    pub(super) imports: Vec<Leaf>,
}

impl Scope {
    pub(super) fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut scope = Self::default();
        for item in items {
            if !is_test(attributes(item)) {
                scope.declare(item);
            }
        }
        scope
    }

    fn declare(&mut self, item: &Item) {
        let (names, ident) = match item {
            Item::Mod(item) => (&mut self.modules, &item.ident),
            Item::Enum(item) => (&mut self.types, &item.ident),
            Item::Struct(item) => (&mut self.types, &item.ident),
            Item::Trait(item) => (&mut self.types, &item.ident),
            Item::TraitAlias(item) => (&mut self.types, &item.ident),
            Item::Type(item) => {
                self.imports.extend(alias(item));
                (&mut self.types, &item.ident)
            }
            Item::Union(item) => (&mut self.types, &item.ident),
            Item::Const(item) => (&mut self.values, &item.ident),
            Item::Fn(item) => (&mut self.values, &item.sig.ident),
            Item::Static(item) => (&mut self.values, &item.ident),
            Item::Macro(item) => match &item.ident {
                Some(ident) => (&mut self.values, ident),
                None => return,
            },
            Item::Use(item) => {
                let start = Written {
                    global: item.leading_colon.is_some(),
                    ..Written::default()
                };
                let private = is_private(&item.vis);
                leaves(&item.tree, &start, private, &mut self.imports);
                return;
            }
            _ => return,
        };
        names.insert(ident.unraw().to_string());
    }

    pub(super) fn declares(&self, name: &str) -> bool {
        let kinds = [&self.modules, &self.types, &self.values];
        kinds.iter().any(|names| names.contains(name))
    }

    /// Gives the imports of a name. There are two where a function and a module share it.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Leaf> {
        let imports = self.imports.iter();
        imports.filter(move |import| import.name.as_deref() == Some(name))
    }

    pub(super) fn globs(&self) -> impl Iterator<Item = &Leaf> {
        self.imports.iter().filter(|import| import.glob)
    }
}

/// Reads `type Name = path;` as the import that it amounts to.
fn alias(item: &ItemType) -> Option<Leaf> {
    let Type::Path(target) = &*item.ty else {
        return None;
    };
    target.qself.is_none().then(|| Leaf {
        name: Some(item.ident.unraw().to_string()),
        glob: false,
        private: is_private(&item.vis),
        path: Written::of(&target.path),
    })
}

fn is_private(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Inherited)
}

/// Takes the tree of a `use` apart into its leaves.
pub(super) fn leaves(tree: &UseTree, before: &Written, private: bool, found: &mut Vec<Leaf>) {
    let (name, path, glob) = match tree {
        UseTree::Path(path) => {
            return leaves(&path.tree, &before.with(&path.ident), private, found);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, before, private, found);
            }
            return;
        }
        UseTree::Name(leaf) if leaf.ident == "self" => {
            let path = before.at(leaf.ident.span());
            (before.segments.last().cloned(), path, false)
        }
        UseTree::Name(leaf) => {
            let name = leaf.ident.unraw().to_string();
            (Some(name), before.with(&leaf.ident), false)
        }
        UseTree::Rename(leaf) => {
            let name = leaf.rename.unraw().to_string();
            let path = if leaf.ident == "self" {
                before.at(leaf.ident.span())
            } else {
                before.with(&leaf.ident)
            };
            ((name != "_").then_some(name), path, false)
        }
        UseTree::Glob(leaf) => (None, before.at(leaf.star_token.span), true),
    };
    found.push(Leaf {
        name,
        glob,
        private,
        path,
    });
}

impl Written {
    pub(super) fn of(path: &syn::Path) -> Self {
        let start = Self {
            global: path.leading_colon.is_some(),
            ..Self::default()
        };
        let mut whole = path
            .segments
            .iter()
            .fold(start, |before, segment| before.with(&segment.ident));
        whole.line = path.segments[0].ident.span().start().line;
        whole
    }

    /// Adds a name to the path.
    pub(super) fn with(&self, ident: &Ident) -> Self {
        let mut longer = self.at(ident.span());
        longer.segments.push(ident.unraw().to_string());
        longer
    }

    fn at(&self, span: Span) -> Self {
        Self {
            line: span.start().line,
            ..self.clone()
        }
    }
}
