//! The sheet that says what the words of the others mean.

use super::sheet::Column::Text;
use super::sheet::{Sheet, SheetResult};

pub(super) fn write(sheet: &mut Sheet<'_>) -> SheetResult {
    sheet.title("What the words mean")?;
    sheet.blank();
    sheet.heads(&[Text("Word"), Text("Meaning")])?;
    for (word, meaning) in WORDS {
        sheet.row(|cells| {
            cells.text(word)?;
            cells.wide_text(meaning)
        })?;
    }
    Ok(())
}

const WORDS: &[(&str, &str)] = &[
    (
        "Upload",
        "A tunnel that probably carried an upload to the vendor's billing service. The relay doesn't decrypt: it judges by the destination and the bytes.",
    ),
    (
        "Unjudged",
        "An upload that an older version of the relay recorded. It didn't judge, so a tunnel counts that carried any byte to a destination.",
    ),
    (
        "No upload",
        "A tunnel to the billing service without an upload. distrusted: the client ended it after its first message, as it does when it doesn't trust the certificate. small: too few bytes. unanswered: no answer, or an error.",
    ),
    (
        "First, last upload",
        "When the tunnel was opened, or the last hourly record in which its bytes grew. All times and days are in UTC.",
    ),
    (
        "Days without upload",
        "Days on which a relay ran that lists the client, and the client uploaded nowhere. Days on which no relay ran don't count.",
    ),
    ("Most in a row", "The longest run of such days."),
    (
        "Listed",
        "Whether the relay's configuration names the client. A client that isn't listed is named by its address.",
    ),
    (
        "Denied, failed",
        "Requests that the policy refused, and requests that it allowed and that got no tunnel. The sheet Unserved has the reasons.",
    ),
    (
        "Open, lost",
        "Tunnels that are open where the trail ends, and tunnels whose end the relay didn't see. They may have carried more.",
    ),
    (
        "Chain",
        "whole: no record was changed, removed or moved. gaps: whole, but for records that the trail itself declares missing. broken: don't rely on the figures.",
    ),
    (
        "Seals",
        "Whether the signatures in the trail are valid. Only they prove the records against somebody who owned the relay's machine. They are checked with the option --key.",
    ),
    (
        "Hours run",
        "How long the relay ran in the month: from each start to its stop, or to its last record.",
    ),
    (
        "Total",
        "The sum of the rows that are shown. It changes with the filter.",
    ),
];
