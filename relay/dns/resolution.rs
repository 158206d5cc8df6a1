//! The result of a lookup: the addresses of a name, or why it has none.

use std::net::IpAddr;

use crate::proxy_error::{Reason, Refusal};

/// The addresses of a name, at least one, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub addresses: Vec<IpAddr>,
    pub source: AddressSource,
}

/// Where an address comes from, by its word in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The target was an address itself.
    Literal,
    /// The destination's `addresses`.
    Static,
    Hosts,
    Dns,
    Cache,
    /// An expired answer, because every server failed.
    Stale,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// A server answered that there is none. NOERROR means that the name exists without an address.
    #[error("the name server answered {rcode}, and no address")]
    Negative { rcode: &'static str },
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// Servers couldn't be reached, or what they sent was no answer.
    #[error("no name server gave an answer: {0}")]
    Unanswered(String),
}

impl AddressSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Static => "static",
            Self::Hosts => "hosts",
            Self::Dns => "dns",
            Self::Cache => "cache",
            Self::Stale => "stale",
        }
    }
}

impl LookupError {
    /// Picks the more telling of two failures: a server's answer, then an error on the way, then
    /// silence.
    pub(super) fn more_telling(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Negative { .. }, _)
            | (Self::Unanswered(_), Self::Timeout | Self::Unanswered(_)) => self,
            _ => other,
        }
    }
}

impl From<LookupError> for Refusal {
    fn from(failure: LookupError) -> Self {
        let (reason, rcode) = match failure {
            LookupError::Negative { rcode } => (Reason::DnsFailed, Some(rcode.into())),
            LookupError::Unanswered(_) => (Reason::DnsFailed, None),
            LookupError::Timeout => (Reason::DnsTimeout, None),
        };
        Self {
            rcode,
            ..Self::new(reason, failure.to_string())
        }
    }
}
