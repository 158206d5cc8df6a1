//! Finds paths inside of macros and attributes. Their tokens follow no grammar that is known here,
//! so that a path is told by its `::`.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::UseTree;

use super::names::{Written, leaves};

/// Finds the paths among the tokens of a macro: `crate::a`, `::a::b`, `a::b` and lone types.
///
/// A lone name in lower case isn't taken for a path, because it may be a variable or a field.
pub(super) fn paths(tokens: TokenStream) -> Vec<Written> {
    let mut found = Vec::new();
    search(tokens, false, &mut found);
    found
}

/// Finds the paths in string literals too, because `#[serde(with = "a::b")]` has one.
pub(super) fn paths_and_strings(tokens: TokenStream) -> Vec<Written> {
    let mut found = Vec::new();
    search(tokens, true, &mut found);
    found
}

fn search(tokens: TokenStream, strings: bool, found: &mut Vec<Written>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        let (before, rest) = tokens.split_at(next);
        let mut length = 1;
        match token {
            TokenTree::Group(group) => search(group.stream(), strings, found),
            TokenTree::Ident(ident) => {
                let start = Written::default().with(ident);
                length += path(start, &rest[1..], is_path(before, ident), found);
            }
            TokenTree::Punct(_) if is_separator(rest) => {
                length = 2;
                if let Some(TokenTree::Ident(ident)) = rest.get(2) {
                    let start = Written {
                        global: true,
                        ..Written::default()
                    };
                    let start = start.with(ident);
                    length = 3 + path(start, &rest[3..], !ends_a_type(before), found);
                }
            }
            TokenTree::Literal(literal) if strings => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                let path = text.and_then(|text| syn::parse_str::<syn::Path>(&text.value()));
                found.extend(
                    path.iter()
                        .filter(|path| path.segments.len() > 1)
                        .map(|path| Written {
                            line: literal.span().start().line,
                            ..Written::of(path)
                        }),
                );
            }
            _ => {}
        }
        next += length;
    }
}

/// Reads on from the first name of a path, and gives the number of tokens that this takes.
/// The path is added to those found if it `counts`.
fn path(
    mut path: Written,
    mut rest: &[TokenTree],
    counts: bool,
    found: &mut Vec<Written>,
) -> usize {
    let line = path.line;
    let all = rest.len();
    while is_separator(rest) {
        match rest.get(2) {
            Some(TokenTree::Ident(ident)) => path = path.with(ident),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                if counts {
                    grouped(&path, group, found);
                }
                return all - rest.len() + 3;
            }
            _ => break,
        }
        rest = &rest[3..];
    }
    path.line = line;
    if counts && (path.global || path.segments.len() > 1 || is_type(&path.segments[0])) {
        found.push(path);
    }
    all - rest.len()
}

/// Adds the leaves of a group, which only the `use` of a macro can have.
fn grouped(before: &Written, group: &Group, found: &mut Vec<Written>) {
    let tree = syn::parse2::<UseTree>(TokenTree::Group(group.clone()).into());
    let mut imports = Vec::new();
    if let Ok(tree) = tree {
        leaves(&tree, before, true, &mut imports);
    }
    found.extend(imports.into_iter().map(|import| import.path));
}

/// Tells whether a name may begin a path after these tokens. After a dot it is a field or method,
/// after a quote a lifetime, and after a dollar what the macro is called with.
fn is_path(before: &[TokenTree], ident: &Ident) -> bool {
    match before {
        [.., one, other] if is_punct(one, '.') && is_punct(other, '.') => true,
        [.., last] if is_punct(last, '.') || is_punct(last, '\'') => false,
        [.., last] if is_punct(last, '$') => ident == "crate",
        _ => true,
    }
}

/// Tells whether a `::` after these tokens goes on from a type, as in `<T>::new`. The `>` of an
/// arrow ends no type.
fn ends_a_type(before: &[TokenTree]) -> bool {
    match before {
        [.., one, last] if is_punct(last, '>') => !is_punct(one, '-') && !is_punct(one, '='),
        _ => false,
    }
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [one, other, ..] if is_punct(one, ':') && is_punct(other, ':'))
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_type(name: &str) -> bool {
    name.starts_with(|first: char| first.is_uppercase())
}
