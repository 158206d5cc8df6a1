//! The sockets that clients connect to, and the certificates that are shown on them.

mod certificates;
mod listener;
mod passed;

pub use certificates::{CertificateError, Certificates};
pub use listener::BindError;
pub(super) use listener::{Listener, NO_SESSION};
pub use passed::PassedError;
pub(super) use passed::adopt;
