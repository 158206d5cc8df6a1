//! A refused or failed request, and the vocabulary of reasons that the trail has too.

use std::borrow::Cow;
use std::fmt;

pub use callhome_trail::{Alert, ProxyErrorType, Reason, Verdict};

/// A refused or failed request: the public reason, and the detail for the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub detail: Option<Cow<'static, str>>,
    /// The resolver's answer, for the `rcode` parameter of `dns_error` (RFC 9209, 2.3.2).
    pub rcode: Option<Box<str>>,
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: Some(detail.into()),
            rcode: None,
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            rcode: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}
