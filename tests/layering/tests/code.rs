//! What else is read: files, and the types that they define.

use super::super::tree::{ModulePath, Size};
use super::read;

#[test]
fn files_of_tests() {
    let lib = ("lib.rs", "mod a;");
    let a = (
        "a.rs",
        "use std::fs;\n/// What holds.\n#[cfg(test)]\nmod tests;\nfn f() {}\n",
    );
    let tests = ("a/tests.rs", "use crate::a;\nmod more;");
    let more = ("a/tests/more.rs", "struct S;");
    let found = read(&[lib, a, tests, more]);
    let files = found.files.iter();
    let files = files.map(|file| (file.file.to_str().unwrap(), file.in_tests));
    let files: Vec<_> = files.collect();
    assert_eq!(
        files,
        [
            ("a/tests/more.rs", true),
            ("a/tests.rs", true),
            ("a.rs", false),
            ("lib.rs", false)
        ]
    );
    assert_eq!(found.files[2].size, Size { all: 5, tests: 3 });
    assert!(
        found
            .imports
            .iter()
            .all(|import| import.from == ModulePath::default())
    );
    assert!(found.types.is_empty());
}

#[test]
fn files_elsewhere() {
    let lib = (
        "lib.rs",
        "#[path = \"x/one.rs\"] mod a; mod inline { mod b; }",
    );
    let a = ("x/one.rs", "#[path = \"../y/two.rs\"] mod c; mod d;");
    let files = [
        lib,
        a,
        ("inline/b/mod.rs", ""),
        ("y/two.rs", ""),
        ("x/d.rs", ""),
    ];
    let found = read(&files).files.into_iter();
    let mut found: Vec<String> = found.map(|file| file.file.display().to_string()).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "inline/b/mod.rs",
            "lib.rs",
            "x/d.rs",
            "x/one.rs",
            "y/two.rs"
        ]
    );
}

#[test]
fn types_of_macros_and_of_functions() {
    let code = "
        struct A; enum B {} trait C {} type D = A; union E { x: u8 }
        macro_rules! m { ($x:ident) => { pub enum F { $x } impl T for F { type Not = u8; } } }
        words! { G as other::G { One = \"one\" } H as other::H { Two = \"two\" } }
        mod inside { struct I; }
        fn f() { struct Not; }
        impl T for A { type Not = u8; }
        #[cfg(test)] struct Not;
        #[cfg(test)] mod tests { struct Not; }
    ";
    let types = read(&[("lib.rs", code)]).types.into_iter();
    let mut found: Vec<String> = types.map(|it| it.name).collect();
    found.sort();
    assert_eq!(found, ["A", "B", "C", "D", "E", "F", "G", "H", "I"]);
    let unread = read(&[(
        "lib.rs",
        "macro_rules! types { ($x:ident) => { struct $x; } }",
    )])
    .unread;
    assert!(
        unread[0].contains("the macro types defines types"),
        "{unread:?}"
    );
}
