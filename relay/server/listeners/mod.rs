//! Holds the listening sockets of the server, and the certificates that are shown on them.

mod certificates;
mod listener;
mod passed;

pub use certificates::{CertificateError, Certificates};
pub use listener::BindError;
pub(super) use listener::Listener;
pub use passed::PassedError;
pub(super) use passed::adopt;
