//! Names for sheets: at most 31 characters, none that a reference needs, and unique regardless of
//! case.

use std::collections::HashSet;

/// The names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Takes a name for a sheet that is like `wanted`.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(|c| if is_plain(c) { c } else { '_' })
            .collect();
        let base = if plain.is_empty() { "_" } else { &plain };
        let mut name: String = base.chars().take(LONGEST).collect();
        let mut number = 1;
        // Spreadsheets reserve the name "History" for themselves.
        while name.eq_ignore_ascii_case("history") || !self.0.insert(name.to_lowercase()) {
            number += 1;
            let suffix = format!("~{number}");
            name = base.chars().take(LONGEST - suffix.len()).collect();
            name.push_str(&suffix);
        }
        name
    }
}

/// Whether a character can be in a name of a sheet without quotes. Names of clients have only these
/// and colons.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

const LONGEST: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_their_own() {
        let mut names = Names::default();
        let long = "a".repeat(40);
        for (wanted, taken) in [
            ("Summary", "Summary"),
            ("summary", "summary~2"),
            ("zvm-ams-1", "zvm-ams-1"),
            ("ZVM-AMS-1", "ZVM-AMS-1~2"),
            ("2001:db8::1", "2001_db8__1"),
            ("a[b]*?/\\'\u{202e}", "a_b_______"),
            ("", "_"),
            ("History", "History~2"),
            (&long, &long[..31]),
        ] {
            assert_eq!(names.take(wanted), taken);
        }
        assert_eq!(names.take(&long), format!("{}~2", &long[..29]));
    }
}
