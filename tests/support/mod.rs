//! What the tests are written in: a relay that runs, a name server that is told what to say, a TLS server, a client; trails that
//! are made up, and what hostile text looks like.
//!
//! All three targets include it, and `integration` uses all of it. What only `interop` or `system` uses is theirs.

pub(crate) mod certs;
pub(crate) mod client;
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
