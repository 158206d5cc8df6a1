//! What the mirror of the file is made of: values that remember where they stand.
//!
//! Serde stops at the first mistake, so it only sees to the shape of the file. What a text means is read afterwards, through
//! [`Form`], and every mistake is reported at its place.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A value and the bytes of the file it was read from.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A value written as text.
pub(super) type Text<F> = At<Raw<F>>;

/// A list of them.
pub(super) type List<F> = At<Vec<Text<F>>>;

/// Text that should be an `F`, not looked at yet.
pub(super) struct Raw<F> {
    pub(super) text: String,
    form: PhantomData<fn() -> F>,
}

/// How a kind of value is written.
pub(super) trait Form: Sized {
    /// With its article: "a duration".
    const NOUN: &'static str;
    const EXAMPLE: &'static str;
    /// For the JSON Schema, where a pattern says more than "a string".
    const PATTERN: Option<&'static str> = None;

    fn read(text: &str) -> Result<Self, Mistake>;

    /// The canonical spelling, which reads as the same value.
    fn write(&self) -> String;
}

/// Why a text is no such value: what is wrong with it, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) label: Option<Cow<'static, str>>,
    pub(super) help: Cow<'static, str>,
}

impl<T> At<T> {
    /// A value that stands in no file.
    pub(super) fn nowhere(value: T) -> Self {
        Self { value, span: 0..0 }
    }
}

impl<F: Form> At<Raw<F>> {
    pub(super) fn of(value: &F) -> Self {
        Self::nowhere(Raw::new(value.write()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            span: spanned.span(),
            value: spanned.into_inner(),
        })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<F> Raw<F> {
    pub(super) fn new(text: String) -> Self {
        Self {
            text,
            form: PhantomData,
        }
    }
}

impl<F> Clone for Raw<F> {
    fn clone(&self) -> Self {
        Self::new(self.text.clone())
    }
}

impl<F> fmt::Debug for Raw<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<'de, F: Form> Deserialize<'de> for Raw<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<F>(PhantomData<fn() -> F>);

        impl<F: Form> Visitor<'_> for TextVisitor<F> {
            type Value = Raw<F>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} in quotes, such as {:?}", F::NOUN, F::EXAMPLE)
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw<F>, E> {
                Ok(Raw::new(text.to_owned()))
            }
        }

        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

impl<F> Serialize for Raw<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<F: Form> JsonSchema for Raw<F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        F::NOUN.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "examples": [F::EXAMPLE] });
        if let Some(pattern) = F::PATTERN {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        schema
    }
}

impl Mistake {
    pub(super) fn new(
        label: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            label: Some(label.into()),
            help: help.into(),
        }
    }

    /// Where the rule says it all.
    pub(super) fn against(rule: impl fmt::Display) -> Self {
        Self {
            label: None,
            help: rule.to_string().into(),
        }
    }
}

/// Reads a table, for `deserialize_with`. Serde would also fill a struct from a list, value by value, so that `[[audit]]` or
/// `audit = ["trail"]` meant something.
pub(super) fn table<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct TableVisitor<T>(PhantomData<fn() -> T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, its name in single brackets")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(TableVisitor(PhantomData))
}

/// Reads a list of tables, for `deserialize_with`.
pub(super) fn tables<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Table<T>(T);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            table(deserializer).map(Self)
        }
    }

    struct TablesVisitor<T>(PhantomData<fn() -> T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for TablesVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any number of tables, their name in double brackets")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut tables = Vec::new();
            while let Some(Table(table)) = list.next_element()? {
                tables.push(table);
            }
            Ok(tables)
        }
    }

    deserializer.deserialize_seq(TablesVisitor(PhantomData))
}

/// Declares the words a key may hold, and the type of another module that they stand for.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident as $target:path { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize, ::serde::Serialize, ::schemars::JsonSchema,
        )]
        #[schemars(inline)]
        pub(super) enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl From<$name> for $target {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => Self::$variant),+ }
            }
        }

        impl From<$target> for $name {
            fn from(value: $target) -> Self {
                match value { $(<$target>::$variant => Self::$variant),+ }
            }
        }
    )+};
}
pub(super) use words;
