//! Names the ends of a session other than the close of a tunnel that carried bytes.

use std::sync::Arc;

use crate::policy::Client;
use crate::proxy_error::Refusal;
use crate::server::guards::LimitReached;
use crate::tunnel::ClosedBy;

/// How a session ends without the close of a tunnel that carried bytes. Every step gives it as its
/// error.
#[derive(Debug)]
pub(super) enum End {
    /// The request is refused, and the client gets an answer or an alert.
    Refused(Refusal),
    /// The client left before its tunnel carried anything.
    Left,
    /// No byte came.
    Silent,
    /// The client that the balancer announced has too many connections.
    TurnedAway(LimitReached),
    /// This client sent a GET or HEAD, and gets a page.
    Page(Arc<Client>),
    /// A new policy or the end of the relay stopped the open tunnel before it carried anything.
    Stopped(ClosedBy),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Takes the place of a session id in an answer where the trail has no record of the session.
pub(in crate::server) const NO_SESSION: &str = "-";
