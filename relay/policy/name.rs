//! The small values of a rule that are written as text: name patterns, versions, rates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::authority::AuthorityError;

/// A pattern for the names of destinations: an exact name, or the start of a name and a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    start: Box<str>,
    open: bool,
}

/// A version of Zerto, in the order of the releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZertoVersion {
    pub major: u16,
    pub minor: u16,
}

/// The versions of Zerto that a destination counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionRange {
    /// `>=9`: this version and later.
    From(ZertoVersion),
    /// `<9`: earlier than this version.
    Before(ZertoVersion),
}

/// A number of events per second, minute or hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

/// Why a text is no such value. The message tells the form, and never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error(transparent)]
    Host(#[from] AuthorityError),
    #[error(
        "a wildcard stands for whole labels at the front and leaves two at least: \"*.example.com\""
    )]
    Wildcard,
    #[error("a name pattern is a name, and may end in one `*`: \"zerto-*\"")]
    NamePattern,
    #[error("a version is one number, or two with a dot: \"9\" or \"9.7\"")]
    Version,
    #[error("a range of versions is `>=` or `<` and a version: \">=9\" or \"<9\"")]
    VersionRange,
    #[error("a rate is a number above zero, a slash, and s, m or h: \"20/s\"")]
    Rate,
}

impl NamePattern {
    pub fn matches(&self, name: &str) -> bool {
        match name.strip_prefix(&*self.start) {
            Some(rest) => self.open || rest.is_empty(),
            None => false,
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let start = text.strip_suffix('*').unwrap_or(text);
        if text.is_empty() || start.contains('*') {
            return Err(PatternError::NamePattern);
        }
        Ok(Self {
            start: start.into(),
            open: start.len() < text.len(),
        })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

impl FromStr for ZertoVersion {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        match (decimal(major), decimal(minor)) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(PatternError::Version),
        }
    }
}

impl fmt::Display for ZertoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl VersionRange {
    pub fn contains(self, version: ZertoVersion) -> bool {
        match self {
            Self::From(first) => version >= first,
            Self::Before(end) => version < end,
        }
    }
}

impl FromStr for VersionRange {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (make, version): (fn(_) -> Self, _) = if let Some(version) = text.strip_prefix(">=") {
            (Self::From, version)
        } else if let Some(version) = text.strip_prefix('<') {
            (Self::Before, version)
        } else {
            return Err(PatternError::VersionRange);
        };
        version
            .trim_start()
            .parse()
            .map(make)
            .map_err(|_| PatternError::VersionRange)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, ">={first}"),
            Self::Before(end) => write!(f, "<{end}"),
        }
    }
}

impl FromStr for Rate {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, unit) = text.split_once('/').ok_or(PatternError::Rate)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(PatternError::Rate),
        };
        match decimal(count) {
            Some(count) if count > 0 => Ok(Self {
                count,
                per: Duration::from_secs(seconds),
            }),
            _ => Err(PatternError::Rate),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/m", self.count),
            3600 => write!(f, "{}/h", self.count),
            _ => write!(f, "{}/{:?}", self.count, self.per),
        }
    }
}

/// Parses a number of digits only, because `u16` and its like also accept a leading `+`.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn displayed<T: FromStr<Err = PatternError> + fmt::Display>(
        text: &str,
    ) -> Result<String, PatternError> {
        text.parse::<T>().map(|value| value.to_string())
    }

    #[test]
    fn name_patterns_open_only_at_the_end() {
        let pattern = |text: &str| text.parse::<NamePattern>().unwrap();
        assert!(pattern("zerto-*").matches("zerto-billing-9"));
        assert!(pattern("zerto-*").matches("zerto-"));
        assert!(!pattern("zerto-*").matches("my-zerto-9"));
        assert!(pattern("zerto").matches("zerto"));
        assert!(!pattern("zerto").matches("zerto-9"));
        assert!(pattern("*").matches("anything"));
        assert_eq!(pattern("zerto-*").to_string(), "zerto-*");
        for bad in ["", "*-9", "a*b", "**", "a**"] {
            assert_eq!(
                bad.parse::<NamePattern>(),
                Err(PatternError::NamePattern),
                "{bad}"
            );
        }
    }

    #[test]
    fn versions_are_numbers_and_so_ordered() {
        let version = |text: &str| text.parse::<ZertoVersion>().unwrap();
        assert!(version("9.7") < version("10"));
        assert!(version("9.7") < version("9.10"));
        assert_eq!(version("9"), version("9.0"));
        assert_eq!(displayed::<ZertoVersion>("9.7").as_deref(), Ok("9.7"));
        for bad in ["", "9.", ".7", "9.7.1", "+9", "9.-1", "nine", "70000", " 9"] {
            assert_eq!(
                bad.parse::<ZertoVersion>(),
                Err(PatternError::Version),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_range_of_versions_ends_where_the_other_begins() {
        let range = |text: &str| text.parse::<VersionRange>().unwrap();
        let version = |text: &str| text.parse::<ZertoVersion>().unwrap();
        for text in ["8.5", "8.9", "9", "9.7", "10"] {
            let late = range(">=9").contains(version(text));
            assert_ne!(late, range("<9").contains(version(text)), "{text}");
            assert_eq!(late, version(text).major >= 9, "{text}");
        }
        assert_eq!(displayed::<VersionRange>(">= 9.5").as_deref(), Ok(">=9.5"));
        for bad in ["", "9", ">9", "<=9", ">=", "<x", "=9"] {
            assert_eq!(
                bad.parse::<VersionRange>(),
                Err(PatternError::VersionRange),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_rate_has_a_count_and_a_unit() {
        for good in ["20/s", "5/m", "100/h"] {
            assert_eq!(displayed::<Rate>(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "20",
            "0/s",
            "-1/s",
            "+1/s",
            "20/d",
            "20/",
            "/s",
            "20/s/s",
            "99999999999/s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(PatternError::Rate), "{bad}");
        }
    }
}
