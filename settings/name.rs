//! Names of things.

use std::sync::Arc;

use crate::form::{Form, Mistake};

/// What the site calls a thing. It is shown in records, metrics and tables, so it is short and
/// printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Arc<str>);

impl Form for Name {
    const NOUN: &'static str = "a name";
    const EXAMPLE: &'static str = "dmz-1";
    const PATTERN: Option<&'static str> = Some(r"^[A-Za-z0-9._-]{1,64}$");

    fn read(text: &str) -> Result<Self, Mistake> {
        const HELP: &str = "write 1 to 64 letters, digits, dots, hyphens or underscores";
        if text.is_empty() || text.len() > LONGEST {
            return Err(Mistake::new("empty, or longer than 64 characters", HELP));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(Mistake::new("a character that no name has", HELP));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        let longest = "a".repeat(64);
        for good in ["dmz-1", "A", "zvm_ams.1", longest.as_str()] {
            assert!(Name::read(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in [
            "",
            "a b",
            "a*",
            "a\n",
            "a\"",
            "\u{e4}",
            "\u{202e}a",
            too_long.as_str(),
        ] {
            assert!(Name::read(bad).is_err(), "{bad}");
        }
    }
}
