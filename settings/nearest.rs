//! The known word that a misspelt one is nearest to.

/// Suggests the nearest of the known words, and lists all of them.
pub(crate) fn suggestion(written: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|word| (strsim::jaro_winkler(written, word), word))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((similarity, word)) if similarity > NEAR => {
            format!("did you mean `{word}`? Known here: {}", known.join(", "))
        }
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// The Jaro-Winkler similarity above which a word is suggested: `bnd` is near enough to `bind`, but
/// `sni` isn't.
const NEAR: f64 = 0.75;
