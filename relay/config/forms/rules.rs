//! Patterns, versions and rates of the policy.

use callhome_settings::{Form, Mistake};

use crate::policy::{HostPattern, NamePattern, PatternError, Rate, VersionRange, ZertoVersion};

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

impl Form for Rate {
    const NOUN: &'static str = "a rate";
    const EXAMPLE: &'static str = "20/s";
    const PATTERN: Option<&'static str> = Some("^[1-9][0-9]*/[smh]$");

    fn read(text: &str) -> Result<Self, Mistake> {
        text.parse()
            .map_err(|error: PatternError| Mistake::against(error))
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn rates() {
        for text in ["20/s", "5/m", "100/h"] {
            assert_eq!(Rate::read(text).unwrap().write(), text);
        }
        for text in [
            "", "20", "20/", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "20/d", "20 /s",
        ] {
            assert!(Rate::read(text).is_err(), "{text}");
        }
    }
}
