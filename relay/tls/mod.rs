//! TLS as far as it can be read without a key: the `ClientHello`.

mod client_hello;

pub use client_hello::{ClientHello, MAX_CLIENT_HELLO, Progress, Random, Version, parse};
