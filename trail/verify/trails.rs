//! Says that a file has two trails, as a log server's has after a new trail or from two relays.

use std::path::Path;

use super::Verifier;
use crate::chain::Line;
use crate::reader::RawLine;
use crate::segments;

impl Verifier {
    /// What is wrong with a record of another trail. A copy may have two trails that are both
    /// whole, so the text says how to prove each.
    pub(super) fn another_trail(&self, line: &Line<'_>, raw: &RawLine<'_>) -> String {
        let (first, second) = (self.trail.as_deref().unwrap_or_default(), &line.trail);
        let what = format!("it is of the trail {second}, and those before it of the trail {first}");
        if !self.is_copy {
            return what;
        }
        let command = select(&raw.place.file);
        format!(
            "{what}: there are two trails here. Prove each by itself: {command} | callhome-relay audit verify -"
        )
    }
}

/// A command for a shell that selects the records of one trail.
fn select(file: &Path) -> String {
    let text = file.to_string_lossy();
    // Any other name would have to be quoted.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let name = if text.chars().all(is_plain) {
        &*text
    } else {
        "FILE"
    };
    if segments::is_compressed(file) {
        format!("zstdcat {name} | grep -F TRAIL")
    } else {
        format!("grep -F TRAIL {name}")
    }
}
