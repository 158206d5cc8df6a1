//! The rules on packages that break them.

use super::super::circles::{Circle, tangles};
use super::super::workspace::{Package, Workspace};
use super::super::{RELAY, rules};
use super::{B, C, Files, read};

#[test]
fn circles_of_two_and_three_files() {
    let lib = ("lib.rs", "mod a; mod b; mod c; mod d;");
    let d = ("d.rs", "use super::a;");
    let files = [
        lib,
        ("a.rs", "use super::b;"),
        ("b.rs", "fn f() { select! { _ = crate::c::run() => {} } }"),
        ("c.rs", "use crate::{a::A};"),
        d,
    ];
    assert_eq!(rings(&files), ["a -> b -> c -> a"]);
    let imports = read(&files).imports;
    let tangles = tangles(&imports);
    let places = tangles[0].circles[0].imports.iter();
    let places: Vec<String> = places.map(|import| import.place.to_string()).collect();
    assert_eq!(places, ["a.rs:1", "b.rs:1", "c.rs:1"]);
}

/// Parent and child may import each other, and what is deep in a folder counts for the folder.
#[test]
fn circles_between_folders() {
    let lib = ("lib.rs", "mod a; mod b;");
    let deep = ("a/deep.rs", "use super::A; use crate::b;");
    let a = ("a/mod.rs", "mod deep; use deep::Deep;");
    assert!(rings(&[lib, a, deep, ("b.rs", "")]).is_empty());
    assert_eq!(
        rings(&[lib, a, deep, ("b.rs", "use crate::a;")]),
        ["a -> b -> a"]
    );
}

#[test]
fn circles_behind_the_parent() {
    for parent in [
        "mod a; mod b; pub use a::A; pub use b::B;",
        "mod a; mod b; use self::{a::A, b::B as B};",
        "mod a; mod b; use a::*; use b::*;",
        "mod a; mod b; type A = a::A; pub type B = self::b::B;",
        "mod a; mod b; pub use Again as B; use b::B as Again; use a::A;",
    ] {
        let a = ("a.rs", "pub struct A; use super::B;");
        let b = ("b.rs", "pub struct B; fn f() { super::A; }");
        assert_eq!(
            rings(&[("lib.rs", parent), a, b]),
            ["a -> b -> a"],
            "{parent}"
        );
    }
}

#[test]
fn clocks_and_effects_under_any_name() {
    for code in [
        "fn f() { jiff::Timestamp::now(); }",
        "use jiff::Timestamp; #[cfg(test)] mod tests {} fn f() { Timestamp::now(); }",
        "use jiff::Timestamp as When; fn f() { m!(When::now()); }",
        "use jiff::*; fn f() { Timestamp::now(); }",
        "use {jiff as time}; const F: fn() -> T = time::Timestamp::now;",
        "use jiff::Timestamp; fn f() { <Timestamp>::now(); }",
        "use jiff::Timestamp; mod z { fn f() { super::Timestamp::now(); } }",
        "use jiff::Timestamp; mod z { use super::*; fn f() { Timestamp::now(); } }",
        "fn f() { use jiff::Timestamp; Timestamp::now(); }",
        "type When = jiff::Timestamp; fn f() { When::now(); }",
        "use jiff::Timestamp; fn f() { type When = Timestamp; When::now(); }",
        "fn f(then: Instant) { then.elapsed(); }",
        "use std::{fs::{self, File}};",
        "use std::net; fn f() { net::TcpStream::connect(); }",
        "fn f() { tokio::select! {} }",
        "#[tokio::main] async fn f() {}",
        "fn f() { ::std::env::var(x); }",
    ] {
        let lib = ("lib.rs", "mod policy;");
        let broken = rules::purity(&package(&[lib, ("policy.rs", code)]));
        assert!(!broken.is_empty(), "{code}");
        assert!(broken[0].starts_with("policy.rs:1: "), "{broken:?}");
    }
    let pure = "
        use std::net::{IpAddr, SocketAddr};
        use std::time::Instant;
        use jiff::Timestamp;
        fn f(now: Timestamp, then: Instant, env: u8) -> u8 { now.duration_since(then); env }
        #[cfg(test)]
        fn g() { Timestamp::now(); }
    ";
    let broken = rules::purity(&package(&[("lib.rs", "mod policy;"), ("policy.rs", pure)]));
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn one_name_for_two_types() {
    let lib = ("lib.rs", "mod a; mod b; mod c;");
    let a = ("a.rs", "pub enum B {}");
    let found = rules::one_name(&package(&[lib, a, B, C]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("2 types are called B"), "{found:?}");
    assert!(found[0].contains("a.rs:1: enum a::B"), "{found:?}");
}

#[test]
fn layers_from_below() {
    let lib = (
        "lib.rs",
        "mod policy; mod cli; mod dns; mod tls; mod other;",
    );
    let policy = ("policy/mod.rs", "#[cfg(test)] mod tests {} mod x;");
    let x = ("policy/x.rs", "\nuse crate::cli::{self}; use crate::tls;");
    let cli = ("cli.rs", "use crate::dns::X; #[cfg(test)] use crate::cli;");
    let dns = ("dns.rs", "pub use crate::policy::X;");
    let files = [lib, policy, x, cli, dns, ("tls.rs", ""), ("other.rs", "")];
    let found = rules::layers(&package(&files));
    let has = |text: &str| assert!(found.iter().any(|line| line.contains(text)), "{found:#?}");
    has("policy/x.rs:2: policy (layer 1) imports cli");
    has("policy/x.rs:2: policy (layer 1) imports tls (layer 1)");
    has("the module other isn't in LAYERS");
    has("no such module");
    assert!(
        !found
            .iter()
            .any(|line| line.starts_with("cli.rs") || line.starts_with("dns.rs"))
    );
}

#[test]
fn the_binary_uses_cli_only() {
    for (code, count) in [
        ("fn main() -> ExitCode { callhome_relay::cli::run() }", 0),
        ("use callhome_relay::{cli, client};", 1),
        (
            "use callhome_relay as relay; fn main() { relay::app::run() }",
            1,
        ),
    ] {
        let found = rules::layers(&package(&[("lib.rs", code)]));
        let beside = found.iter().filter(|line| line.contains("only cli"));
        assert_eq!(beside.count(), count, "{code}: {found:?}");
    }
}

#[test]
fn packages_beyond_their_rows() {
    let lib = (
        "lib.rs",
        "use callhome_relay::X; use std::net::{IpAddr, TcpStream};",
    );
    let trail = Package {
        name: "callhome-trail".to_owned(),
        dependencies: vec!["tokio".to_owned(), "serde".to_owned()],
        ..package(&[lib])
    };
    let console = Package {
        name: "callhome-console".to_owned(),
        ..package(&[("lib.rs", "")])
    };
    let workspace = Workspace {
        packages: vec![
            package(&[("lib.rs", "use callhome_trail::X;")]),
            trail,
            console,
        ],
        unreached: vec!["relay/lost.rs".into()],
    };
    assert_eq!(
        rules::packages(&workspace),
        [
            "callhome-trail depends on tokio",
            "lib.rs:1: callhome-trail uses callhome_relay::X",
            "lib.rs:1: callhome-trail uses std::net::TcpStream",
        ]
    );
    let unknown = rules::unknown(&workspace);
    assert!(
        unknown[0].contains("callhome-console isn't in PACKAGES"),
        "{unknown:?}"
    );
    assert!(
        unknown[1].contains("relay/lost.rs: no `mod` leads"),
        "{unknown:?}"
    );
}

fn rings(files: Files<'_>) -> Vec<String> {
    let tangles = tangles(&read(files).imports);
    let circles = tangles.iter().flat_map(|tangle| &tangle.circles);
    circles.map(Circle::ring).collect()
}

/// The relay, with one crate.
fn package(files: Files<'_>) -> Package {
    Package {
        name: RELAY.to_owned(),
        dependencies: Vec::new(),
        crates: vec![read(files)],
    }
}
