//! callhome-settings reads a TOML configuration file, finds every mistake in it, and shows each one
//! at its place.
//!
//! A program declares a mirror of its file: structs that derive serde's `Deserialize` and
//! schemars' `JsonSchema`, with fields of [`At`], [`Text`] and [`List`], which remember where in
//! the file a value was. [`Document::read`] fills the mirror and checks its shape only, because
//! serde stops at the first mistake. Then [`Findings`] reads the meaning of each text through its
//! [`Form`], and collects the mistakes of all keys into one [`Error`].
//!
//! A form of a program's own type is implemented in that program. This package knows the types of
//! std, ipnet and jiff, and a few of its own: [`Name`], [`Timeout`], [`Size`], [`Percent`].
//!
//! | module | |
//! |---|---|
//! | `document` `error` `problem` `nearest` | the file's text, and the report about it |
//! | `findings` `bound` | the collector of mistakes and warnings, and limits that must agree |
//! | `value` `table` `words` `schema` | what a mirror is made of, and its JSON Schema |
//! | `form` `address` `units` `name` `date_time` | how values are written as text |

#![warn(missing_docs)]

mod address;
mod bound;
mod date_time;
mod document;
mod error;
mod findings;
mod form;
mod name;
mod nearest;
mod problem;
mod schema;
mod table;
#[cfg(test)]
mod tests;
mod units;
mod value;
mod words;

pub use self::bound::Bound;
pub use self::date_time::DateTime;
pub use self::document::Document;
pub use self::error::Error;
pub use self::findings::Findings;
pub use self::form::{Form, Mistake};
pub use self::name::Name;
pub use self::problem::Problem;
pub use self::schema::schema;
pub use self::table::{table, tables};
pub use self::units::{Percent, Size, Timeout};
pub use self::value::{At, List, Raw, Text};
