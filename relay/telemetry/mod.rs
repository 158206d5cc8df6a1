//! What the operator sees of a running relay: the log and the metrics. The audit trail is neither;
//! it is in `audit`.

mod clients;
mod labels;
mod log;
mod metrics;

pub use clients::ClientMetrics;
pub use labels::ByteDirection;
pub use log::{Level, LogFormat, LogOptions, init};
pub use metrics::{Metrics, Shipping};
