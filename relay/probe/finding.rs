//! Defines what one hop shows. Most other files here build on this one.

use serde::Serialize;

/// Tells what one hop showed. After trouble it has the likely cause too, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub status: HopStatus,
    pub seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Holds what a hop gives to the next one beside what it showed; or why the walk ends here.
pub(super) type HopOutcome<T> = Result<(T, Finding), Finding>;

/// The hops of a walk, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hop {
    Name,
    Ranges,
    Tcp,
    Tls,
    Http,
    Clock,
}

/// Tells how a hop came out. The variants are ordered from harmless to grave, because the greatest
/// status of a walk is the walk's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HopStatus {
    Skipped,
    Ok,
    Warn,
    Fail,
}

impl Finding {
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self::bare(HopStatus::Ok, seen)
    }

    pub(super) fn skipped(because: impl Into<String>) -> Self {
        Self::bare(HopStatus::Skipped, because)
    }

    pub(super) fn warn(
        seen: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            cause: Some(cause.into()),
            next: Some(next.into()),
            ..Self::bare(HopStatus::Warn, seen)
        }
    }

    pub(super) fn fail(
        seen: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            status: HopStatus::Fail,
            ..Self::warn(seen, cause, next)
        }
    }

    fn bare(status: HopStatus, seen: impl Into<String>) -> Self {
        Self {
            status,
            seen: seen.into(),
            cause: None,
            next: None,
        }
    }
}

impl Hop {
    pub(super) const ALL: [Self; 6] = [
        Self::Name,
        Self::Ranges,
        Self::Tcp,
        Self::Tls,
        Self::Http,
        Self::Clock,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Ranges => "ranges",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Clock => "clock",
        }
    }
}
