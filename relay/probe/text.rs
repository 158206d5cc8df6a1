//! Puts texts together that several hops have in the same form.

use std::error::Error;

/// Gives an error with its causes, separated by colons.
pub(super) fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors repeat their source in their own text.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// Lists the first items, and counts the others. Otherwise an answer with thousands of addresses
/// would fill the screen.
pub(super) fn list<T: Copy>(items: &[T], show: impl Fn(T) -> String) -> String {
    let shown: Vec<_> = items
        .iter()
        .take(MAX_LISTED)
        .map(|&item| show(item))
        .collect();
    let more = items.len().saturating_sub(MAX_LISTED);
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

const MAX_LISTED: usize = 8;
