//! The JSON Schema of a mirror.

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};

/// Makes the JSON Schema of a mirror, for editors.
///
/// The descriptions are the mirror's doc comments. Their line breaks are those of the source, which
/// an editor would show, so each paragraph becomes one line here.
pub fn schema<T: JsonSchema>() -> Schema {
    let mut schema = schemars::schema_for!(T);
    RecursiveTransform(unwrap_description).transform(&mut schema);
    schema
}

fn unwrap_description(schema: &mut Schema) {
    let Some(description) = schema.get("description").and_then(|it| it.as_str()) else {
        return;
    };
    let paragraphs: Vec<_> = description
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    schema.insert("description".to_owned(), paragraphs.join("\n\n").into());
}
