//! Holds sessions within bounds: limits per client, the review by a new policy, and loops back to
//! the relay.

mod hourly;
mod inside;
mod limits;
mod loops;
mod passing;
mod tunnels;
mod warnings;

pub(super) use limits::{Claim, ConnectionSlot, LimitReached, Limiter, TunnelSlot};
pub(super) use loops::Loops;
pub use loops::without_own;
pub(super) use passing::PassingHello;
pub(super) use tunnels::{Grounds, Outdated, Registration, StopSignal, Tunnels};
pub(super) use warnings::Warnings;
