//! The reader on small sources, and the rules on small packages.

mod code;
mod paths;
mod rules;

use std::path::Path;

use super::reader::{Crate, read_crate};

/// The sources of a crate: the name of each file, and its text.
type Files<'a> = &'a [(&'a str, &'a str)];

fn read(files: Files<'_>) -> Crate {
    read_crate(Path::new("lib.rs"), false, &|wanted| {
        let mut files = files.iter();
        let file = files.find(|(name, _)| Path::new(name) == wanted);
        file.map(|(_, text)| (*text).to_owned())
    })
}

const LIB: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");
const B: (&str, &str) = (
    "b.rs",
    "pub mod d { pub struct D; } pub struct B; pub fn run() {}",
);
const C: (&str, &str) = ("c.rs", "pub struct C;");
