//! Lists the types that a module defines. Those that come out of a macro are among them.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Item, ItemMacro};

use super::tree::{Module, ModulePath, Place, attributes, is_test};

/// Says where a type of this name is defined.
#[derive(Debug)]
pub(super) struct TypeName {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) module: ModulePath,
    pub(super) place: Place,
}

/// These macros define types by the names they are called with. The word behind each name follows.
const MAKERS: &[(&str, &str)] = &[("words", "as")];

const KINDS: [&str; 4] = ["enum", "struct", "trait", "union"];

/// Lists the types of a module. Those of tests and those within functions are left out.
///
/// It fails at a macro that is not in `MAKERS` and defines types by the names it is called with.
pub(super) fn defined(module: &Module) -> Result<Vec<TypeName>, String> {
    let mut types = Vec::new();
    for item in &module.items {
        if is_test(attributes(item)) {
            continue;
        }
        let (kind, ident) = match item {
            Item::Enum(item) => ("enum", &item.ident),
            Item::Struct(item) => ("struct", &item.ident),
            Item::Trait(item) => ("trait", &item.ident),
            Item::TraitAlias(item) => ("trait", &item.ident),
            Item::Type(item) => ("type", &item.ident),
            Item::Union(item) => ("union", &item.ident),
            Item::Macro(item) => {
                types.extend(of_macro(module, item)?);
                continue;
            }
            _ => continue,
        };
        types.push(named(module, kind, ident));
    }
    Ok(types)
}

fn named(module: &Module, kind: &'static str, ident: &Ident) -> TypeName {
    TypeName {
        name: ident.to_string(),
        kind,
        module: module.path.clone(),
        place: Place {
            file: module.file.clone(),
            line: ident.span().start().line,
        },
    }
}

fn of_macro(module: &Module, item: &ItemMacro) -> Result<Vec<TypeName>, String> {
    let tokens = item.mac.tokens.clone();
    let Some(ident) = &item.ident else {
        let behind = behind_names(item);
        return Ok(behind.map_or_else(Vec::new, |word| of_call(module, tokens, word)));
    };
    let mut types = Vec::new();
    let by_name = of_rules(module, tokens, &mut types);
    if by_name && !MAKERS.iter().any(|(maker, _)| ident == maker) {
        return Err(format!(
            "{}: the macro {ident} defines types by the names it is called with: add it to MAKERS \
             in tests/layering/types.rs",
            named(module, "macro", ident).place
        ));
    }
    Ok(types)
}

/// Gives the word behind each name, when the macro that is called is in `MAKERS`.
fn behind_names(item: &ItemMacro) -> Option<&'static str> {
    let called = &item.mac.path.segments.last()?.ident;
    let maker = MAKERS.iter().find(|(maker, _)| called == maker)?;
    Some(maker.1)
}

fn of_call(module: &Module, tokens: TokenStream, behind: &str) -> Vec<TypeName> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let names = tokens.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(name), TokenTree::Ident(word)] if word == behind => Some(name),
        _ => None,
    });
    names.map(|name| named(module, "enum", name)).collect()
}

/// Adds the types that the rules of a macro define. Tells whether they define one by a name that
/// the macro is called with.
fn of_rules(module: &Module, rules: TokenStream, types: &mut Vec<TypeName>) -> bool {
    let tokens: Vec<TokenTree> = rules.into_iter().collect();
    let mut by_name = false;
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Group(group), _) => by_name |= of_rules(module, group.stream(), types),
            (TokenTree::Ident(word), Some(TokenTree::Ident(name))) => {
                if let Some(kind) = KINDS.into_iter().find(|kind| word == kind) {
                    types.push(named(module, kind, name));
                }
            }
            (TokenTree::Ident(word), Some(TokenTree::Punct(sign))) => {
                by_name |= KINDS.iter().any(|kind| word == kind) && sign.as_char() == '$';
            }
            _ => {}
        }
    }
    by_name
}
