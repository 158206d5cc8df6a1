//! TLS: the `ClientHello`, as far as it can be read without a key, and the relay's own end of a
//! connection.

mod certificate;
mod client_hello;
mod expired;
mod session;

pub use certificate::{ends_soon, host_names, not_after};
pub use client_hello::{ClientHello, HelloProgress, MAX_CLIENT_HELLO, Random, TlsVersion, parse};
pub use expired::ExpiryNotingVerifier;
pub use session::{MAX_WAITING, TlsSession};
