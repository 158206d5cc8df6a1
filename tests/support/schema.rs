//! Every record that a relay of these tests writes matches the schema of `audit schema`.

use std::path::Path;
use std::sync::LazyLock;

use callhome_trail::{Line, Reader, schema};
use serde_json::Value;

/// Compares the records of a directory with the schema that readers are given.
pub(crate) fn validate(trail: &Path) {
    static SCHEMA: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
    let Ok(mut reader) = Reader::open(trail) else {
        return;
    };
    loop {
        let raw = match reader.next_line() {
            Ok(Some(raw)) => raw,
            Ok(None) => return,
            Err(_) => {
                reader.skip_file();
                continue;
            }
        };
        // A line that a test cut or spoilt on purpose is no record.
        let Ok(line) = Line::parse(raw.bytes) else {
            continue;
        };
        let record: Value = serde_json::from_slice(line.bytes).unwrap();
        if let Err(error) = SCHEMA.validate(&record) {
            panic!("{record:#}\nis not of the schema: {error}");
        }
    }
}
