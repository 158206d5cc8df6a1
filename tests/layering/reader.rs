//! Reads what the modules of a crate import, which types they define, and how long its files are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Meta, QSelf, Stmt, Type};

use super::names::{Scope, Written};
use super::resolve::{Found, Last, Names};
use super::tokens;
use super::tree::{self, Module, ModulePath, Place, Read, Size};
use super::types::{self, TypeName};

/// Holds what the rules need to know of a crate. Of its tests, only the files are here.
#[derive(Debug, Default)]
pub(super) struct Crate {
    pub(super) files: Vec<SourceFile>,
    pub(super) imports: Vec<Import>,
    pub(super) outside: Vec<Outside>,
    pub(super) types: Vec<TypeName>,
    /// Each line names code that can't be read, with the reason.
    pub(super) unread: Vec<String>,
}

#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) file: PathBuf,
    pub(super) module: ModulePath,
    pub(super) size: Size,
    pub(super) in_tests: bool,
}

/// Records a path in the code of `from` that leads to another module of the crate.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) from: ModulePath,
    pub(super) to: ModulePath,
    pub(super) place: Place,
}

/// Records a path in the code of `from` that leads out of the crate.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) from: ModulePath,
    pub(super) path: String,
    pub(super) place: Place,
}

/// Reads the crate whose root is the file `root`.
pub(super) fn read_crate(root: &Path, in_tests: bool, read: Read<'_>) -> Crate {
    let modules = tree::modules(root, in_tests, read);
    let mut whole = Crate::default();
    for module in &modules {
        whole.files.extend(module.size.map(|size| SourceFile {
            file: module.file.clone(),
            module: module.path.clone(),
            size,
            in_tests: module.in_tests,
        }));
    }
    let watched: Vec<&Module> = modules.iter().filter(|module| !module.in_tests).collect();
    let scopes = watched
        .iter()
        .map(|module| (module.path.clone(), Scope::of(&module.items)));
    let names = Names(scopes.collect::<BTreeMap<_, _>>());
    for module in watched {
        match types::defined(module) {
            Ok(types) => whole.types.extend(types),
            Err(trouble) => whole.unread.push(trouble),
        }
        let mut reader = Reader {
            names: &names,
            module,
            blocks: Vec::new(),
            in_test_code: false,
            found: &mut whole,
        };
        reader.imports(&names.0[&module.path]);
        module.items.iter().for_each(|item| reader.visit_item(item));
    }
    whole
}

/// Walks through the code of one module and records its paths.
struct Reader<'a> {
    names: &'a Names,
    module: &'a Module,
    /// The walk is inside of the blocks that these are of.
    blocks: Vec<Rc<Scope>>,
    /// The walk is inside of a piece of code that only test builds have.
    in_test_code: bool,
    found: &'a mut Crate,
}

impl Reader<'_> {
    /// Records the imports of the innermost scope.
    fn imports(&mut self, scope: &Scope) {
        for import in &scope.imports {
            let found = self.names.imported(&self.module.path, &self.blocks, import);
            self.record(found, import.path.line);
        }
    }

    /// Records what a path of the code leads to.
    fn path(&mut self, path: &Written, last: Last) {
        let at = &self.module.path;
        let mut found = self.names.resolve(at, &self.blocks, path, last);
        // A lone name that nothing here declares is a variable, or is one of the prelude.
        found.retain(|found| !matches!(found, Found::Outside(names) if names.len() == 1));
        self.record(found, path.line);
    }

    fn record(&mut self, found: Vec<Found>, line: usize) {
        if self.in_test_code {
            return;
        }
        let from = &self.module.path;
        let place = Place {
            file: self.module.file.clone(),
            line,
        };
        for found in found {
            match found {
                Found::Module(to) | Found::In(to) if to != *from => {
                    self.found.imports.push(Import {
                        from: from.clone(),
                        to,
                        place: place.clone(),
                    });
                }
                Found::Module(_) | Found::In(_) => {}
                Found::Outside(path) => self.found.outside.push(Outside {
                    from: from.clone(),
                    path: path.join("::"),
                    place: place.clone(),
                }),
            }
        }
    }

    fn tokens(&mut self, paths: Vec<Written>) {
        for path in paths {
            self.path(&path, Last::Anything);
        }
    }

    /// Reads `<Type>::name` as `Type::name`.
    fn of_type(&mut self, of: &QSelf, path: &syn::Path) {
        if let Type::Path(head) = &*of.ty
            && head.qself.is_none()
        {
            let mut whole = Written::of(&head.path);
            whole.segments.extend(Written::of(path).segments);
            self.path(&whole, Last::Item);
        }
        self.visit_type(&of.ty);
        visit::visit_path(self, path);
    }
}

/// Visits a piece of code that may have attributes. The walk meets those first, so that a
/// `#[cfg(test)]` among them holds until the end of the piece.
macro_rules! pieces {
    ($($name:ident: $piece:ty),+ $(,)?) => {$(
        fn $name(&mut self, piece: &'ast $piece) {
            let before = self.in_test_code;
            visit::$name(self, piece);
            self.in_test_code = before;
        }
    )+};
}

impl<'ast> Visit<'ast> for Reader<'_> {
    pieces! {
        visit_arm: syn::Arm,
        visit_expr: syn::Expr,
        visit_field: syn::Field,
        visit_field_pat: syn::FieldPat,
        visit_field_value: syn::FieldValue,
        visit_fn_arg: syn::FnArg,
        visit_generic_param: syn::GenericParam,
        visit_impl_item: syn::ImplItem,
        visit_item: syn::Item,
        visit_local: syn::Local,
        visit_stmt_macro: syn::StmtMacro,
        visit_trait_item: syn::TraitItem,
        visit_variant: syn::Variant,
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if tree::is_test(std::slice::from_ref(attribute)) {
            self.in_test_code = true;
        } else if let Meta::List(list) = &attribute.meta {
            self.visit_path(&list.path);
            self.tokens(tokens::paths_and_strings(list.tokens.clone()));
        } else {
            visit::visit_attribute(self, attribute);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let items = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => Some(item),
            _ => None,
        });
        let scope = Rc::new(Scope::of(items));
        self.blocks.push(Rc::clone(&scope));
        self.imports(&scope);
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    /// `imports` has read each `use` from its scope already.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `Instant` and `SystemTime` read the clock in this method, whose call names neither.
        if call.method == "elapsed" {
            let found = vec![Found::Outside(vec![".elapsed".to_owned()])];
            self.record(found, call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        match &path.qself {
            Some(of) if of.position == 0 => self.of_type(of, &path.path),
            _ => visit::visit_expr_path(self, path),
        }
    }

    fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
        match &path.qself {
            Some(of) if of.position == 0 => self.of_type(of, &path.path),
            _ => visit::visit_type_path(self, path),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&Written::of(path), Last::Item);
        visit::visit_path(self, path);
    }

    /// syn gives tokens for the inside of a macro, and for syntax that it doesn't know.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.tokens(tokens::paths(tokens.clone()));
    }
}
