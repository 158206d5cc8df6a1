//! Names, patterns and versions, as the file writes them.

use std::sync::Arc;

use super::value::{Form, Mistake};
use crate::authority::{AuthorityError, DnsName};
use crate::policy::{HostPattern, NamePattern, PatternError, VersionRange, ZertoVersion};

/// What the site calls a thing. It ends in records, metrics and tables, so it is short and printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) Arc<str>);

impl Form for Name {
    const NOUN: &'static str = "a name";
    const EXAMPLE: &'static str = "dmz-1";
    const PATTERN: Option<&'static str> = Some(r"^[A-Za-z0-9._-]{1,64}$");

    fn read(text: &str) -> Result<Self, Mistake> {
        const HELP: &str = "write 1 to 64 letters, digits, dots, hyphens or underscores";
        if text.is_empty() || text.len() > LONGEST_NAME {
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

/// An account of this machine, as useradd(8) takes their names; or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountName(pub(super) Box<str>);

impl Form for AccountName {
    const NOUN: &'static str = "an account";
    const EXAMPLE: &'static str = "callhome-relay";
    const PATTERN: Option<&'static str> = Some(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let starts = text.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_');
        if !starts || text.len() > LONGEST_ACCOUNT || !text.bytes().all(plain) {
            let label = "no account has such a name";
            return Err(Mistake::new(label, "write one of /etc/passwd, or a number"));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

impl Form for DnsName {
    const NOUN: &'static str = "a host name";
    const EXAMPLE: &'static str = "zvm-ams-1";

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|error: AuthorityError| {
            Mistake::new(
                error.to_string(),
                "write a host name as the certificate has it",
            )
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

macro_rules! forms_of_policy {
    ($($form:ty, $noun:literal, $example:literal;)+) => {$(
        impl Form for $form {
            const NOUN: &'static str = $noun;
            const EXAMPLE: &'static str = $example;

            fn read(text: &str) -> Result<Self, Mistake> {
                text.parse().map_err(|error: PatternError| Mistake::against(error))
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

forms_of_policy! {
    HostPattern, "a host pattern", "*.example.com";
    NamePattern, "a pattern for names", "zerto-*";
    ZertoVersion, "a version of Zerto", "9.7";
    VersionRange, "a range of versions", ">=9";
}

const LONGEST_NAME: usize = 64;
const LONGEST_ACCOUNT: usize = 32;

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

    #[test]
    fn patterns_and_versions() {
        for good in ["ch3.zerto.com", "*.example.com", "*.a.example.com"] {
            assert_eq!(HostPattern::read(good).unwrap().write(), good);
        }
        for bad in [
            "",
            "*",
            "*.com",
            "*.",
            "a.*.example",
            "*a.example.com",
            "**.example.com",
            "10.0.0.1",
            "a b",
            "https://a.example",
        ] {
            assert!(HostPattern::read(bad).is_err(), "{bad}");
        }
        for bad in ["a*b", "**", "*a", ""] {
            assert!(NamePattern::read(bad).is_err(), "{bad}");
        }
        for bad in ["", "9.", ".9", "9.x", "v9", "9.7.1"] {
            assert!(ZertoVersion::read(bad).is_err(), "{bad}");
        }
        for bad in ["", "9", "<=9", ">9", "=9", ">=", "< 9x"] {
            assert!(VersionRange::read(bad).is_err(), "{bad}");
        }
    }
}
