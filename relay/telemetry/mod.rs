//! What the operator sees of a running relay: the log and the metrics. The audit trail is neither; it is `audit`'s.

mod log;
mod metrics;

pub use log::{Level, LogFormat, LogOptions, init};
pub use metrics::{Direction, Metrics, Shipping};
