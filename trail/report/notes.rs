//! What the report says in words, in its table as in its workbook.

use super::csv::reasons;
use super::{Report, Row, SealVerdict, Trail};

impl Row {
    /// What a reader should know about the figures of this row.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.calls_home == Some(false) {
            notes.push("isn't expected to call home".to_owned());
        }
        if !self.not_uploads.is_empty() {
            notes.push(format!("no upload: {}", reasons(&self.not_uploads)));
        }
        for (count, what) in [
            (self.unjudged, "unjudged"),
            (self.open, "open"),
            (self.lost, "lost"),
            (self.not_enforced, "let through by report-only"),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        notes
    }
}

impl Trail {
    /// How far the seals are valid.
    pub fn seals_in_words(&self) -> String {
        match (self.seals, self.sealed_to) {
            (SealVerdict::NotChecked, _) => "not checked".to_owned(),
            (SealVerdict::Broken, _) => "not proved, because the trail is broken".to_owned(),
            (SealVerdict::Valid, Some(seq)) if self.all.to == Some(seq) => {
                "valid up to the last record".to_owned()
            }
            (SealVerdict::Valid, Some(seq)) => format!("valid up to record {seq}"),
            (SealVerdict::Valid, None) => "valid, and all older than the records".to_owned(),
        }
    }
}

impl Report {
    /// How many of the uploads an older relay didn't judge.
    pub fn unjudged(&self) -> u64 {
        self.rows.iter().map(|row| row.unjudged).sum()
    }
}
