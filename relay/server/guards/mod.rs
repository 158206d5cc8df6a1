//! What holds a session within bounds: limits, the registry of tunnels, the guards against loops, and the warnings.

mod hourly;
mod inside;
mod limits;
mod passing;
mod tunnels;

pub(super) use hourly::Hourly;
pub(super) use inside::is_inside;
pub(super) use limits::{Claim, ConnectionSlot, Full, Limiter, TunnelSlot};
pub(super) use passing::{Passage, Passing};
pub(super) use tunnels::{Grounds, Outdated, Registration, Tunnels};
