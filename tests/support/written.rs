//! Trails that a relay has written, read back.

use std::path::Path;

use callhome_trail::verify::{Evidence, Verification, verify};
use callhome_trail::{Line, Reader};
use serde_json::Value;

use super::schema;

/// Verifies a trail, and compares each of its records with the schema.
pub(crate) fn whole(audit: &Path) -> Verification {
    schema::validate(audit);
    verify(audit, &Evidence::default(), |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns every record, those of closed segments first.
pub(crate) fn records(audit: &Path) -> Vec<Value> {
    let mut reader = Reader::open(audit).unwrap();
    let mut records = Vec::new();
    while let Some(raw) = reader.next_line().unwrap() {
        let line = Line::parse(raw.bytes).unwrap();
        records.push(serde_json::from_slice(line.bytes).unwrap());
    }
    records
}
