//! The values of a mirror, which remember where in the file they were.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::form::Form;

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value itself.
    pub value: T,
    /// The bytes of the file that it was read from.
    pub span: Range<usize>,
}

/// A text that should be an `F`, with its place.
pub type Text<F> = At<Raw<F>>;

/// A list of such texts. Each one has its place, and so has the list.
pub type List<F> = At<Vec<Text<F>>>;

/// A text that should be an `F` and hasn't been read as one yet.
pub struct Raw<F> {
    /// What the file has between the quotes.
    pub text: String,
    // A function pointer, so that `Raw<F>` is Send and Sync whatever `F` is.
    form: PhantomData<fn() -> F>,
}

impl<T> At<T> {
    /// A value that comes from no file.
    pub fn nowhere(value: T) -> Self {
        Self { value, span: 0..0 }
    }
}

impl<F: Form> At<Raw<F>> {
    /// The canonical spelling of a value that comes from no file.
    pub fn of(value: &F) -> Self {
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
    fn new(text: String) -> Self {
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
