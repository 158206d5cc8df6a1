//! Every command of the pages is in a block, and every page is run by a test or a script.

use std::fs;

use crate::support::pages::{self, ELSEWHERE};

#[test]
fn commands_are_where_they_are_run() {
    let known = ["sh", "toml", "text", "systemd", ""];
    let mut commands = 0;
    for page in pages::all() {
        for block in page.blocks() {
            let language = block.info.split(' ').next().unwrap();
            assert!(known.contains(&language), "{}: {language}", block.place);
            commands += block.commands().len() * usize::from(language == "sh");
        }
        for (number, line) in page.prose() {
            assert!(
                !line.starts_with("    ") || line.trim_start().starts_with(['|', '*']),
                "{}:{number}: code without a fence: {line}",
                page.name
            );
        }
    }
    assert!(commands > 30, "{commands}");
    for (name, script) in ELSEWHERE {
        let script = fs::read_to_string(pages::root().join(script)).unwrap();
        assert!(script.contains(name), "{name} isn't read there");
    }
}
