//! The ways to a relay: what a listener is configured to, and what a client is told.

use std::net::SocketAddr;

pub(super) struct Way {
    /// Keys of the relay; with a `[[listener]]` among them, that is the one used.
    pub(super) keys: &'static str,
    /// The proxy's URL.
    pub(super) proxy: fn(SocketAddr) -> String,
}

pub(super) fn http() -> Way {
    Way {
        keys: "",
        proxy: |address| format!("http://{address}"),
    }
}

/// As for a proxy that wants some. The relay wants none, and they must not be found in its trail.
pub(super) fn http_with_credentials() -> Way {
    Way {
        keys: "",
        proxy: |address| format!("http://user:{SECRET}@{address}"),
    }
}

pub(super) const SECRET: &str = "S3CRET";
