//! The vocabulary of the tests: a relay, a name server, a TLS server, a client, made-up trails,
//! hostile text.
//!
//! All three targets include this folder, and `integration` uses all of it. What only `interop` or
//! `system` uses is in their folders, and what both use in `foreign`.

pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod demo;
pub(crate) mod dns;
pub(crate) mod echo;
pub(crate) mod greeter;
pub(crate) mod hostile;
pub(crate) mod manager;
pub(crate) mod pages;
pub(crate) mod pki;
pub(crate) mod plain;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod schema;
pub(crate) mod sni;
pub(crate) mod tls;
pub(crate) mod trail;
pub(crate) mod units;
pub(crate) mod wait;
pub(crate) mod written;
