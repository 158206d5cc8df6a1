//! Where the paths in the code lead.

use std::collections::BTreeSet;

use super::{B, C, Files, LIB, read};

/// What the module `from` imports, without the modules around it.
fn imports(files: Files<'_>, from: &str) -> Vec<String> {
    let imports = read(files).imports.into_iter();
    let of_module = imports.filter(|import| import.from.to_string() == from);
    let others = of_module.filter(|import| !import.from.is_in(&import.to));
    let names: BTreeSet<String> = others.map(|import| import.to.to_string()).collect();
    names.into_iter().collect()
}

/// What the module `a` imports when this is its code.
fn imports_of(code: &str) -> Vec<String> {
    imports(&[LIB, ("a.rs", code), B, C], "a")
}

#[test]
fn imports_in_nested_groups() {
    assert_eq!(
        imports_of("use crate::{b::{self, d::{D}}, c::C};"),
        ["b", "b::d", "c"]
    );
    assert_eq!(imports_of("use super::{b::B, c};"), ["b", "c"]);
}

#[test]
fn renamed_imports() {
    assert_eq!(
        imports_of("use crate::b as x; fn f() { x::d::D; }"),
        ["b", "b::d"]
    );
    assert_eq!(imports_of("use crate::c::C as _;"), ["c"]);
    assert_eq!(imports_of("use crate as it; type T = it::c::C;"), ["c"]);
}

#[test]
fn glob_imports() {
    assert_eq!(imports_of("use crate::b::*;"), ["b"]);
    assert_eq!(imports_of("use crate::b::*; type T = d::D;"), ["b", "b::d"]);
    let parent = ("lib.rs", "mod a; mod b; mod c; use b::B;");
    let child = ("a.rs", "use super::*; type T = B;");
    assert_eq!(imports(&[parent, child, B, C], "a"), ["b"]);
}

#[test]
fn paths_without_a_use() {
    for code in [
        "fn f() { crate::b::run(); }",
        "fn f(b: &super::b::B) {}",
        "fn f() { if let super::b::B = x {} }",
        "fn f<T: super::b::B>() {}",
        "impl super::b::B for T {}",
        "#[derive(crate::b::B)] struct S;",
        "#[serde(with = \"crate::b\")] struct S;",
        "struct S { #[serde(default = \"super::b::run\")] s: u8 }",
        "fn f() { <crate::b::B>::new(); }",
        "fn f() { use super::b; b::run(); }",
    ] {
        assert_eq!(imports_of(code), ["b"], "{code}");
    }
}

#[test]
fn paths_in_macros() {
    for code in [
        "fn f() { tokio::select! { _ = x => {}, y = crate::b::run() => z(y), } }",
        "use crate::b; async fn f() { select! { biased; () = b::run() => {} } }",
        "fn f() { format!(\"{}\", super::b::B); }",
        "fn f() -> bool { matches!(x, Some(super::b::B)) }",
        "use super::b; words! { Word as b::B { One = \"one\" } }",
        "macro_rules! m { () => { $crate::b::run() }; }",
        "fn f() { vec![Vec::<crate::b::B>::new()]; }",
        "fn f() { m!(|x| -> crate::b::B { x }); }",
        "m! { use super::{b::{B}}; }",
        "fn f() { m!(..super::b::run()); }",
    ] {
        assert_eq!(imports_of(code), ["b"], "{code}");
    }
    for code in [
        "m!($b::x, y.b::<T>(), 'b);",
        "use std::fmt; m!(<T>::b, b, fmt::Debug);",
        "m!(\"crate::b::B\");",
    ] {
        assert!(imports_of(code).is_empty(), "{code}");
    }
}

#[test]
fn names_that_only_look_like_modules() {
    for code in [
        "fn f(b: u8) -> u8 { b }",
        "mod b { pub fn run() {} } fn f() { b::run(); }",
        "fn f() { struct B; B; }",
        "use other::b; fn f() { b::run(); }",
        "use ::b::B;",
        "/// [`crate::b`] \n struct S;",
    ] {
        let found = imports_of(code);
        assert!(!found.contains(&"b".to_owned()), "{code}: {found:?}");
    }
}

#[test]
fn a_function_with_the_name_of_a_module() {
    let lib = ("lib.rs", "mod a; mod read; use c::read; mod c;");
    let read = ("read.rs", "");
    let c = ("c.rs", "pub fn read() {}");
    assert_eq!(
        imports(&[lib, read, c, ("a.rs", "fn f() { super::read(); }")], "a"),
        ["c"]
    );
}

#[test]
fn supers_and_selfs() {
    let lib = ("lib.rs", "mod a; mod b;");
    let a = ("a/mod.rs", "mod x; mod y;");
    let b = ("b.rs", "pub fn run() {}");
    let y = ("a/y.rs", "pub fn y() {}");
    for (code, found) in [
        ("use super::super::b;", vec!["b"]),
        ("use super::super::a::y;", vec!["a::y"]),
        ("fn f() { super::super::b::run() }", vec!["b"]),
        ("m!(super::super::b::run, super::y::y);", vec!["a::y", "b"]),
        (
            "mod z { use super::super::y; use self::super::super::super::b; }",
            vec![],
        ),
    ] {
        let files = [lib, a, b, y, ("a/x.rs", code)];
        assert_eq!(imports(&files, "a::x"), found, "{code}");
    }
    let nested = (
        "a/x.rs",
        "mod z { use super::super::y; use self::super::super::super::b; }",
    );
    assert_eq!(imports(&[lib, a, b, y, nested], "a::x::z"), ["a::y", "b"]);
}

#[test]
fn test_code_in_the_middle_of_a_file() {
    let code = "
        #[cfg(test)]
        use crate::c::C;
        #[cfg(test)]
        mod tests { use crate::c; fn f() { crate::c::x(); } }
        #[cfg(all(test, unix))]
        impl S { fn f() { crate::c::x(); } }
        impl S {
            #[cfg(test)]
            fn g() { crate::c::x(); }
            fn h() {
                #[cfg(test)]
                let x = crate::c::x();
                #[cfg(test)]
                x.then(super::c::x);
                #[cfg(test)]
                m!(super::c::x);
            }
        }
        struct S { #[cfg(test)] x: crate::c::C }
        fn f() { crate::b::run(); }
        #[cfg(not(test))]
        fn f() { crate::b::d::run(); }
    ";
    assert_eq!(imports_of(code), ["b", "b::d"]);
}

#[test]
fn imports_that_lead_to_themselves() {
    let lib = (
        "lib.rs",
        "use tempfile::tempfile; mod a; use self::x as y; use self::y as x;",
    );
    let a = ("a.rs", "use super::*; fn f() { tempfile(); y::z(); }");
    let found = outside(&[lib, a]);
    assert!(
        found.contains(&"tempfile::tempfile".to_owned()),
        "{found:?}"
    );
}

fn outside(files: Files<'_>) -> Vec<String> {
    read(files).outside.into_iter().map(|it| it.path).collect()
}
