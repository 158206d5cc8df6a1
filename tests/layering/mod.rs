//! Checks that imports point down, that siblings don't import each other in a circle, and that pure
//! modules stay pure. `cargo test layering -- --nocapture` prints the table.
//!
//! The test reads the code as syntax. `workspace` finds the packages, `tree` their modules,
//! `reader` the paths in each module, and `resolve` the modules that those paths lead to.

mod circles;
mod names;
mod reader;
mod resolve;
mod rules;
mod table;
mod tests;
mod tokens;
mod tree;
mod types;
mod workspace;

use std::fs;

use workspace::WORKSPACE;

/// Says what the code of a package may use. Its tests may use more.
struct PackageRule {
    name: &'static str,
    /// It may use these packages of the workspace.
    uses: &'static [&'static str],
    /// It may use neither a runtime nor sockets.
    without_network: bool,
}

const RELAY: &str = "callhome-relay";

const PACKAGES: &[PackageRule] = &[
    PackageRule {
        name: RELAY,
        uses: &["callhome-trail", "callhome-settings"],
        without_network: false,
    },
    PackageRule {
        name: "callhome-trail",
        uses: &[],
        without_network: true,
    },
    PackageRule {
        name: "callhome-settings",
        uses: &[],
        without_network: false,
    },
];

/// A module of the relay imports from lower layers only. `relay/lib.rs` has the same table, and
/// says what each layer is for.
const LAYERS: &[(u8, &[&str])] = &[
    (9, &["cli"]),
    (8, &["app"]),
    (7, &["config"]),
    (6, &["probe"]),
    (5, &["server", "admin"]),
    (4, &["audit"]),
    (3, &["dns", "dial", "tunnel"]),
    (2, &["telemetry", "os"]),
    (1, &["policy", "http", "tls", "pac", "proxy_protocol"]),
    (0, &["authority", "proxy_error"]),
];

/// Modules up to this layer are pure: they use no runtime, sockets, effects or clock.
const PURE: u8 = 1;

const RUNTIMES: &[&str] = &[
    "axum",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "mio",
    "tokio",
    "tokio_rustls",
    "tokio_util",
];

const SOCKETS: &[&str] = &[
    "rustix::net",
    "socket2",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::unix::net",
];

const EFFECTS: &[&str] = &[
    "libc",
    "rustix",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

/// These read a clock. `.elapsed` is a method, whose call doesn't name `Instant`.
const CLOCKS: &[&str] = &[
    ".elapsed",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// A file has no more lines than this. Its tests don't count.
const LONGEST: usize = 400;

/// A comment line has no more columns than this; `.rustfmt.toml` has the same for code. A row of a
/// table can't be wrapped, so it may be wider.
const WIDEST: usize = 100;

/// Half of the files have fewer lines than this.
const MEDIAN: usize = 200;

/// These files may be longer, each for the reason beside it: one table, or one state machine.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn every_package_and_file_is_known() {
    assert_none(&rules::unknown(&WORKSPACE));
}

#[test]
fn packages_use_what_their_row_allows() {
    assert_none(&rules::packages(&WORKSPACE));
}

#[test]
fn imports_point_down() {
    assert_none(&rules::layers(rules::relay(&WORKSPACE)));
}

#[test]
fn pure_modules_stay_pure() {
    assert_none(&rules::purity(rules::relay(&WORKSPACE)));
}

#[test]
fn siblings_import_each_other_in_no_circle() {
    assert_none(&rules::no_circles(&WORKSPACE));
}

#[test]
fn one_name_is_one_type() {
    let packages = WORKSPACE.packages.iter();
    assert_none(&packages.flat_map(rules::one_name).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    assert_none(&rules::lengths(&WORKSPACE));
}

#[test]
fn comments_stay_narrow() {
    assert_none(&rules::wide_comments(&WORKSPACE));
}

#[test]
fn the_table_is_the_one_in_lib_rs() {
    print!("{}", table::table(&WORKSPACE));
    let text = fs::read_to_string(workspace::root().join("relay/lib.rs")).unwrap();
    let layers = LAYERS
        .iter()
        .map(|&(layer, modules)| (layer, modules.to_vec()));
    assert_eq!(table::documented(&text), layers.collect::<Vec<_>>());
}

#[track_caller]
fn assert_none(broken: &[String]) {
    assert!(
        broken.is_empty(),
        "{} found\n{}",
        broken.len(),
        broken.join("\n")
    );
}
