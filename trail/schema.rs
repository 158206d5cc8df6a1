//! The JSON Schema of a record, for programs that read a trail. It is derived from the types that
//! records are written from.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::chain::VERSION;
use crate::data::Data;
use crate::record::Record;

/// The schema (JSON Schema, draft 2020-12) of the records whose `v` is 1.
///
/// Within a version, members and events may be added, and none changes its meaning. So a reader
/// must pass over members and events that it doesn't know, although this schema refuses them.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut kinds = vec![session(&mut generator)];
    kinds.extend(relay(&mut generator));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of callhome-relay's audit trail, version 1",
        "description": "One JSON object a line. `hash` is the SHA-256 of the line's bytes before `,\"hash\":`; `prev` is the hash of the record before.",
        "oneOf": kinds,
    })
}

/// The schema of the records of sessions, whose members are the record's own.
fn session(generator: &mut SchemaGenerator) -> Value {
    let mut record = Record::json_schema(generator).to_value();
    let own = record
        .get_mut("properties")
        .map(Value::take)
        .unwrap_or_default();
    let events = json!({"enum": SESSION_EVENTS});
    kind(
        "session",
        events,
        own.as_object().cloned().unwrap_or_default(),
    )
}

/// The schemas of the relay's own records. Each event has its own `data`.
fn relay(generator: &mut SchemaGenerator) -> Vec<Value> {
    let variants = Data::json_schema(generator).to_value();
    let variants = variants["anyOf"].as_array().cloned().unwrap_or_default();
    variants
        .into_iter()
        .map(|mut data| {
            let event = data["title"].take();
            if let Some(data) = data.as_object_mut() {
                data.remove("title");
            }
            let title = event.as_str().unwrap_or_default().to_owned();
            let own = Map::from_iter([("data".to_owned(), data)]);
            kind(&title, json!({"const": event}), own)
        })
        .collect()
}

/// Makes the schema of an object that must have the members of every record and its `own`.
fn kind(title: &str, event: Value, own: Map<String, Value>) -> Value {
    let hash = || json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    let mut properties = Map::from_iter([
        ("v".to_owned(), json!({"const": VERSION})),
        (
            "trail".to_owned(),
            json!({"type": "string", "description": "Names the chain; random"}),
        ),
        ("seq".to_owned(), json!({"type": "integer", "minimum": 1})),
        (
            "time".to_owned(),
            json!({
                "type": "string",
                "format": "date-time",
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$",
            }),
        ),
        ("relay".to_owned(), json!({"type": "string"})),
        ("event".to_owned(), event),
    ]);
    properties.extend(own);
    properties.insert("prev".to_owned(), hash());
    let required: Vec<_> = properties
        .keys()
        .cloned()
        .chain(["hash".to_owned()])
        .collect();
    if title == "checkpoint" {
        properties.insert(
            "signature".to_owned(),
            json!({
                "type": "string",
                "pattern": "^[0-9a-f]{128}$",
                "description": "Ed25519, by `key`, over the line's bytes before `,\"signature\":`",
            }),
        );
    }
    properties.insert("hash".to_owned(), hash());
    let mut kind = json!({
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
    });
    close(&mut kind);
    kind
}

/// Forbids members that the schema doesn't name, in every object of it, and asks for none that
/// came later.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if let Some(Value::Array(required)) = members.get_mut("required") {
                required.retain(|it| !it.as_str().is_some_and(|it| ADDED.contains(&it)));
            }
            if members.get("properties").is_some_and(Value::is_object) {
                members.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

/// Members that came after the first release. Records from before lack them.
const ADDED: &[&str] = &["upload", "billing", "claimed", "hello_bytes"];

const SESSION_EVENTS: &[&str] = &[
    "tunnel_opened",
    "tunnel_progress",
    "tunnel_closed",
    "tunnel_lost",
    "request_denied",
    "request_failed",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::words::Event;

    fn events() -> Vec<String> {
        let schema = schema();
        let kinds = schema["oneOf"].as_array().unwrap();
        let mut events = Vec::new();
        for kind in kinds {
            let event = &kind["properties"]["event"];
            let many = event["enum"].as_array().into_iter().flatten();
            let all = many.chain(event.get("const"));
            events.extend(all.map(|event| event.as_str().unwrap().to_owned()));
        }
        events
    }

    #[test]
    fn every_event_has_one_kind() {
        let known = schemars::schema_for!(Event).to_value();
        let mut all = BTreeSet::new();
        // schemars lists variants with a comment one by one, and the others in one enumeration.
        for variant in known["oneOf"].as_array().unwrap() {
            let many = variant["enum"].as_array().into_iter().flatten();
            all.extend(
                many.chain(variant.get("const"))
                    .map(|event| event.as_str().unwrap().to_owned()),
            );
        }
        let events = events();
        assert_eq!(events.len(), all.len(), "{events:?}");
        assert_eq!(events.into_iter().collect::<BTreeSet<_>>(), all);
    }

    #[test]
    fn it_holds_a_record_to_its_members() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let record = json!({
            "v": 1, "trail": "t", "seq": 1, "time": "2026-11-24T14:03:07.5Z", "relay": "dmz-1",
            "event": "clock_stepped", "data": {"seconds": 3.5}, "prev": "0".repeat(64), "hash": "a".repeat(64),
        });
        assert!(validator.is_valid(&record));
        for (change, value) in [
            ("/v", json!(2)),
            ("/seq", json!(0)),
            ("/time", json!("yesterday")),
            ("/event", json!("checkpoint")),
            ("/event", json!("tunnel_closed")),
            ("/data/seconds", json!("3.5")),
            ("/data", json!({})),
            ("/data", json!({"seconds": 1, "more": 1})),
            ("/hash", json!("")),
        ] {
            let mut wrong = record.clone();
            *wrong.pointer_mut(change).unwrap() = value;
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
        for member in ["v", "prev", "relay", "data"] {
            let mut wrong = record.clone();
            wrong.as_object_mut().unwrap().remove(member);
            assert!(!validator.is_valid(&wrong), "without {member}");
        }
        let mut wrong = record;
        wrong["more"] = json!(1);
        assert!(!validator.is_valid(&wrong));
        let client = &schema()["oneOf"][0]["properties"]["client"];
        assert_eq!(client["additionalProperties"], false, "{client:#}");
    }
}
