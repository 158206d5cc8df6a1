//! The macro for keys that hold one of a few words.

/// Declares enums of the words that a key may hold, each with the type it is converted to and from.
///
/// A word of the file and the program's own type differ, so that no program's type has to know how
/// a file writes it. The two enums must have the same variants. The crate that calls this needs
/// serde, with `derive`, and schemars among its dependencies.
///
/// ```
/// # #[derive(Debug, PartialEq)]
/// # pub enum Level { Info, Debug }
/// callhome_settings::words! {
///     /// How much is logged.
///     pub LevelWord as Level { Info = "info", Debug = "debug" }
/// }
/// assert_eq!(Level::from(LevelWord::Debug), Level::Debug);
/// ```
#[macro_export]
macro_rules! words {
    ($(
        $(#[$doc:meta])*
        $visibility:vis $name:ident as $target:path { $($variant:ident = $word:literal),+ $(,)? }
    )+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            ::serde::Deserialize, ::serde::Serialize, ::schemars::JsonSchema,
        )]
        #[schemars(inline)]
        $visibility enum $name { $(#[serde(rename = $word)] $variant),+ }

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
