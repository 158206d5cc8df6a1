//! Date-times, which TOML has as a kind of value of its own.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A TOML date-time. It may lack its date, its time or its offset, and then it is no moment.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct DateTime(toml::value::Datetime);

impl DateTime {
    /// Writes a moment in UTC. Returns nothing for one that TOML can't write.
    pub fn of(timestamp: Timestamp) -> Option<Self> {
        timestamp.to_string().parse().ok().map(Self)
    }

    pub(crate) fn timestamp(&self) -> Result<Timestamp, jiff::Error> {
        self.0.to_string().parse()
    }

    pub(crate) fn has_offset(&self) -> bool {
        self.0.offset.is_some()
    }
}

impl JsonSchema for DateTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DateTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
