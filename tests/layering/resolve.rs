//! Follows a path in the code to the module that it names.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::{mem, ptr};

use super::names::{Leaf, Scope, Written};
use super::tree::ModulePath;

/// Says what a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// The path names a module of this crate.
    Module(ModulePath),
    /// The path names an item of this module, or goes through an import of it.
    In(ModulePath),
    /// The path leads to another crate, or nothing in this one declares it.
    Outside(Vec<String>),
}

/// Holds what every module of a crate declares.
pub(super) struct Names(pub(super) BTreeMap<ModulePath, Scope>);

impl Names {
    /// Finds what a path in the code of the module `at` leads to. The blocks around the path come
    /// with the outermost first.
    pub(super) fn resolve(
        &self,
        at: &ModulePath,
        blocks: &[Rc<Scope>],
        path: &Written,
        last: Last,
    ) -> Vec<Found> {
        self.search(last).from(at, blocks, path)
    }

    /// Finds what an import leads to. It is one of the module `at`, or of the innermost block.
    pub(super) fn imported(
        &self,
        at: &ModulePath,
        blocks: &[Rc<Scope>],
        import: &Leaf,
    ) -> Vec<Found> {
        let search = &mut self.search(Last::Anything);
        let found = search.within(import, |search| search.from(at, blocks, &import.path));
        found.unwrap_or_default()
    }

    fn search(&self, last: Last) -> Search<'_> {
        Search {
            names: self,
            last,
            following: Vec::new(),
        }
    }
}

/// Says what the last name of a path may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// An import may end at a module. So may a path in a macro, which may be an import.
    Anything,
    /// A path in an expression, a type or a pattern never ends at a module.
    Item,
}

struct Search<'a> {
    names: &'a Names,
    last: Last,
    /// The search is inside of these imports. It enters none of them again, because otherwise
    /// `use tempfile::tempfile` would lead to itself.
    following: Vec<&'a Leaf>,
}

impl<'a> Search<'a> {
    /// Searches from the first name of a path, as the code of the module `at` means it.
    fn from(&mut self, at: &ModulePath, blocks: &'a [Rc<Scope>], path: &Written) -> Vec<Found> {
        let outside = || vec![Found::Outside(path.segments.clone())];
        match path.segments.first().map(String::as_str) {
            _ if path.global => outside(),
            None | Some("Self") => Vec::new(),
            Some("crate") => self.walk(at, &ModulePath::default(), &path.segments[1..]),
            Some("self" | "super") => self.walk(at, at, &path.segments),
            Some(_) => self
                .in_blocks(at, blocks, &path.segments)
                .or_else(|| self.find(at, at, &path.segments))
                .unwrap_or_else(outside),
        }
    }

    /// Looks for the first name of a path among those that the blocks around it declare.
    fn in_blocks(
        &mut self,
        at: &ModulePath,
        blocks: &'a [Rc<Scope>],
        path: &[String],
    ) -> Option<Vec<Found>> {
        let (block, outer) = blocks.split_last()?;
        let (first, rest) = path.split_first()?;
        let mut found = Vec::new();
        for import in block.named(first) {
            found.extend(self.follow(at, outer, import, rest).unwrap_or_default());
        }
        if found.is_empty() && block.declares(first) {
            return Some(found);
        }
        if found.is_empty() {
            for import in block.globs() {
                found.extend(self.through_glob(at, at, import, path));
            }
            // The names of another crate aren't known, so that its glob must hide no name here.
            found.retain(|found| !matches!(found, Found::Outside(_)));
        }
        if found.is_empty() {
            return self.in_blocks(at, outer, path);
        }
        Some(found)
    }

    /// Goes on from `module` along a path, which names something there.
    fn walk(&mut self, at: &ModulePath, module: &ModulePath, path: &[String]) -> Vec<Found> {
        match path.first().map(String::as_str) {
            None => vec![Found::Module(module.clone())],
            Some("self") => self.walk(at, module, &path[1..]),
            Some("super") => self.walk(at, &module.parent(), &path[1..]),
            // A name that isn't found comes from a macro, and belongs to the module all the same.
            Some(_) => self
                .find(at, module, path)
                .unwrap_or_else(|| vec![Found::In(module.clone())]),
        }
    }

    /// Looks for the first name of a path among those of `module`, as the module `at` sees them.
    fn find(
        &mut self,
        at: &ModulePath,
        module: &ModulePath,
        path: &[String],
    ) -> Option<Vec<Found>> {
        let scope = self.names.0.get(module)?;
        let (first, rest) = path.split_first()?;
        let is_last = rest.is_empty();
        let mut found = Vec::new();
        if scope.modules.contains(first) && (!is_last || self.last == Last::Anything) {
            found.extend(self.walk(at, &module.child(first), rest));
            if !is_last {
                return Some(found);
            }
        }
        if scope.types.contains(first) || (is_last && scope.values.contains(first)) {
            found.push(Found::In(module.clone()));
        }
        let visible = |import: &&Leaf| !import.private || at.is_in(module);
        for import in scope.named(first).filter(visible) {
            if let Some(further) = self.follow(module, &[], import, rest) {
                found.push(Found::In(module.clone()));
                found.extend(further);
            }
        }
        if found.is_empty() {
            for import in scope.globs().filter(visible) {
                found.extend(self.through_glob(at, module, import, path));
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Follows an import of the module `at` to what it names, and the rest of the path from there.
    fn follow(
        &mut self,
        at: &ModulePath,
        blocks: &'a [Rc<Scope>],
        import: &'a Leaf,
        rest: &[String],
    ) -> Option<Vec<Found>> {
        let mut path = import.path.clone();
        path.segments.extend_from_slice(rest);
        self.within(import, |search| search.from(at, blocks, &path))
    }

    /// Finds what a path leads to when its first name comes from a glob import.
    fn through_glob(
        &mut self,
        at: &ModulePath,
        module: &ModulePath,
        import: &'a Leaf,
        path: &[String],
    ) -> Vec<Found> {
        let last = mem::replace(&mut self.last, Last::Anything);
        let sources = self.within(import, |search| search.from(module, &[], &import.path));
        self.last = last;
        let mut found = Vec::new();
        for source in sources.unwrap_or_default() {
            match source {
                Found::Module(source) if source != *module => {
                    let there = self.within(import, |search| search.find(at, &source, path));
                    found.extend(there.flatten().unwrap_or_default());
                }
                Found::Outside(mut source) => {
                    source.extend_from_slice(path);
                    found.push(Found::Outside(source));
                }
                Found::Module(_) | Found::In(_) => {}
            }
        }
        found
    }

    /// Searches inside of an import, unless the search is there already.
    fn within<T>(&mut self, import: &'a Leaf, search: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.following.iter().any(|it| ptr::eq(*it, import)) {
            return None;
        }
        self.following.push(import);
        let found = search(self);
        self.following.pop();
        Some(found)
    }
}
