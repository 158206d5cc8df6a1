//! What the tests are written in: a relay that runs, a name server that is told what to say, a TLS server, a client; trails that
//! are made up, and what hostile text looks like.

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod dns;
pub(crate) mod haproxy;
pub(crate) mod hostile;
pub(crate) mod pki;
pub(crate) mod plain;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod schema;
pub(crate) mod tls;
pub(crate) mod trail;
